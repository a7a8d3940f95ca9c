from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from elegans_pyg.plots import effect_intervals


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
