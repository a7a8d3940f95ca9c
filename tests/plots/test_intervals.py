from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from elegans_pyg.plots import value_intervals


def table() -> pd.DataFrame:
    rows = [("one", "a", "x", 0.5, 0.3, 0.7), ("one", "b", "y", 0.9, 0.8, 1.0), ("two", "b", "y", 0.2, np.nan, np.nan)]
    return pd.DataFrame(rows, columns=["panel", "row", "kind", "value", "low", "high"])


def test_a_diamond_at_every_value_and_a_bar_over_its_interval() -> None:
    figure = value_intervals(table(), "share", line=0.8)
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["one", "two"]
    assert [tick.get_text() for tick in first.get_yticklabels()] == ["a", "b"]
    diamonds = [[line for line in axes.get_lines() if line.get_marker() == "D"] for axes in (first, second)]
    assert [[(line.get_xdata()[0], line.get_ydata()[0]) for line in own] for own in diamonds] == [[(0.5, 0), (0.9, 1)], [(0.2, 1)]]
    bars = [tuple(line.get_xdata()) for line in first.get_lines() if line.get_linewidth() == 2]
    assert bars == [(0.3, 0.7), (0.8, 1.0)]
    assert all(list(axes.get_lines()[0].get_xdata()) == [0.8, 0.8] for axes in figure.axes)
    colours = [line.get_color() for own in diamonds for line in own]
    assert colours[0] != colours[1] == colours[2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x", "y"]
    assert not value_intervals(table().assign(kind="x"), "share").legends


def test_refusals() -> None:
    with pytest.raises(ValueError, match="table must have a column 'kind'"):
        value_intervals(table().drop(columns="kind"), "share")
    with pytest.raises(ValueError, match="got panel one, row a twice; give one value each"):
        value_intervals(pd.concat([table(), table()]), "share")
