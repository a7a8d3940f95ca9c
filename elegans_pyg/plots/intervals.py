"""Values of any kind with their intervals."""

from itertools import cycle

import pandas as pd
from matplotlib.figure import Figure

from elegans_pyg.analysis.arms import check_columns, check_once
from elegans_pyg.plots.style import BARE, INK, LINE_STYLES, RED, canvas, dot, dress


def value_intervals(table: pd.DataFrame, label: str, line: float | None = None) -> Figure:
    """A diamond at every value and a bar over its interval, in panels side by side with the same rows.

    Args:
        table: one row per panel and row: ``panel``, ``row``, ``kind`` (which has the colour), ``value``, and the ends ``low`` and ``high``
            of its interval (NaN where there is none).
        label, line: the name of the axes, and a value to mark across all rows.
    """
    check_columns("table", table, ("panel", "row", "kind", "value", "low", "high"))
    check_once("table", table, ("panel", "row"), "give one value each")
    rows, panels = list(dict.fromkeys(table["row"])), dict(list(table.groupby("panel", sort=False)))
    colours = {kind: colour for kind, (colour, _) in zip(dict.fromkeys(table["kind"]), cycle(LINE_STYLES))}
    figure, (axes,) = canvas(1.8 + 3.2 * len(panels), 1.2 + 0.23 * len(rows), 1, len(panels), sharex=True, sharey=True, squeeze=False)
    for place, (name, own) in zip(axes, panels.items(), strict=True):
        dress(place, str(name), "x", INK)
        place.set_xlabel(label, fontsize=9)
        place.spines["left"].set_visible(False)
        place.tick_params(axis="y", length=0)
        if line is not None:
            place.axvline(line, color=RED, ls="--", lw=1.2)
        for one in own.itertuples():
            height, colour = rows.index(one.row), colours[one.kind]
            place.plot([one.low, one.high], [height] * 2, color=colour, lw=2, solid_capstyle="butt")
            place.plot(one.value, height, marker="D", ms=5, color=colour, mec="white", mew=0.6)
    axes[0].set_yticks(range(len(rows)), rows, fontsize=9)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    if len(colours) > 1:
        figure.legend(handles=[dot(colour, kind, 6) for kind, colour in colours.items()], loc="outside lower center", ncols=4, **BARE)
    return figure
