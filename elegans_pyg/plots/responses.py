"""Effects of the real wiring among its nulls."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from elegans_pyg.analysis.arms import check_columns, check_once
from elegans_pyg.plots.style import INK, MUTED, canvas, dress, family_styles


def effect_intervals(effects: pd.DataFrame, panel: str, label: str) -> Figure:
    """How far the real wiring lies from each family's wirings, one panel a value of a column, with intervals over folds.

    Args:
        effects: one row a family and panel: ``family``, ``effect``, ``fold_low``, ``fold_high`` and the column ``panel``.
        panel, label: that column, and the name of the axis.
    """
    check_columns("effects", effects, ("family", "effect", "fold_low", "fold_high", panel))
    check_once("effects", effects, ("family", panel), "give one arm")
    families, panels = list(dict.fromkeys(effects["family"])), list(dict.fromkeys(effects[panel]))
    styles = family_styles(families, None)
    figure, (axes,) = canvas(1.4 + 2.5 * len(panels), 1.3 + 0.4 * len(families), 1, len(panels), sharey=True, sharex=True, squeeze=False)
    for place, name in zip(axes, panels, strict=True):
        dress(place, str(name), "x", INK)
        place.axvline(0, color=MUTED, lw=1)
        place.spines["left"].set_visible(False)
        place.tick_params(axis="y", length=0)
        for row in effects[effects[panel] == name].itertuples():
            height, colour = families.index(row.family), styles[row.family][0]
            if np.isfinite(row.fold_low):
                place.plot([row.fold_low, row.fold_high], [height] * 2, color=colour, lw=2, solid_capstyle="butt")
            place.plot(row.effect, height, marker="D", ms=6, color=colour, mec="white", mew=0.8)
    axes[0].set_yticks(range(len(families)), families, fontsize=9)
    axes[0].set_ylim(len(families) - 0.5, -0.5)
    figure.supxlabel(label, fontsize=9)
    return figure
