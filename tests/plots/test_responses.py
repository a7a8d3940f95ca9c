from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from elegans_pyg.plots import effect_intervals, effect_panels


def effects() -> pd.DataFrame:
    rows = [("none", "rewired", 5.0, 3.0, 7.0), ("none", "mine", -1.0, -2.0, 0.5), ("edge", "rewired", 2.0, np.nan, np.nan)]
    return pd.DataFrame(rows, columns=["freedom", "family", "effect", "fold_low", "fold_high"])


def test_a_diamond_at_every_effect_and_a_bar_over_its_interval() -> None:
    figure = effect_intervals(effects(), "freedom", "SD of the nulls")
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["none", "edge"]
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["rewired", "mine"]
    assert figure.get_supxlabel() == "SD of the nulls"
    drawn = [(line.get_xdata()[0], line.get_ydata()[0]) for line in first.get_lines() if line.get_marker() == "D"]
    assert drawn == [(5.0, 0), (-1.0, 1)]
    bars = [tuple(line.get_xdata()) for line in first.get_lines() if line.get_linewidth() == 2]
    assert bars == [(3.0, 7.0), (-2.0, 0.5)]
    # Without an interval, such as of a single fold, there is no bar.
    assert [line.get_marker() for line in second.get_lines()].count("D") == 1
    assert not [line for line in second.get_lines() if line.get_linewidth() == 2]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="effects must have a column 'effect'"):
        effect_intervals(effects().drop(columns="effect"), "freedom", "x")
    with pytest.raises(ValueError, match="got family rewired, freedom none twice; give one arm"):
        effect_intervals(pd.concat([effects(), effects()]), "freedom", "x")


def test_panels_have_rows_and_scales_of_their_own() -> None:
    rows = [("Time", "memory", "rewired", -3.0, -4.0, -2.0), ("Time", "memory", "er", -5.0, -6.0, -4.0)]
    rows += [("Time", "parity", "er", 1.0, 0.5, 1.5), ("Pictures", "digits", "er", 0.1, np.nan, np.nan)]
    figure = effect_panels(pd.DataFrame(rows, columns=["panel", "row", "family", "effect", "effect_low", "effect_high"]))
    time, pictures = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Time", "Pictures"]
    assert time.get_xlim() != pictures.get_xlim()
    assert [[patch.get_x(), patch.get_width()] for axes in figure.axes for patch in axes.patches] == [[-2, 4]] * 2
    assert {tick.get_text(): tick.get_position()[1] for tick in time.get_yticklabels()} == {"memory": 0.5, "parity": 3}
    drawn = [(line.get_xdata()[0], line.get_ydata()[0]) for line in time.get_lines() if line.get_marker() == "D"]
    assert drawn == [(-3.0, 0), (-5.0, 1), (1.0, 3)]
    colours = [line.get_color() for axes in figure.axes for line in axes.get_lines() if line.get_marker() == "D"]
    assert colours[1] == colours[2] == colours[3] != colours[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["rewired", "er"]
