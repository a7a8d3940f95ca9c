"""Effect sizes of the real wiring against its null models."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from elegans_pyg.analysis.arms import check_columns, check_once
from elegans_pyg.plots.style import BARE, INK, MUTED, canvas, dot, dress, family_styles


def effect_intervals(effects: pd.DataFrame, panel: str, label: str) -> Figure:
    """How far the real wiring lies from each family's wirings, one panel per value of a column, with intervals over folds.

    Args:
        effects: one row per family and panel: ``family``, ``effect``, ``fold_low``, ``fold_high`` and the column ``panel``.
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


def effect_panels(effects: pd.DataFrame) -> Figure:
    """How far a wiring lies from those of each family, in their standard deviations: panels side by side, rows and scales of their own;
    a band from -2 to 2, where most of the wirings lie, is the same in all.

    Args:
        effects: one row per panel, row and family: ``panel``, ``row``, ``family``, ``effect``, and the ends ``effect_low`` and
            ``effect_high`` of its interval (missing where there is none).
    """
    check_columns("effects", effects, ("panel", "row", "family", "effect", "effect_low", "effect_high"))
    check_once("effects", effects, ("panel", "row", "family"), "give one effect each")
    families = list(dict.fromkeys(effects["family"]))
    colours = {name: family_styles(families, None)[name][0] for name in families}
    panels = dict(list(effects.groupby("panel", sort=False)))
    tallest = max(own.groupby("row", sort=False)["family"].nunique().add(1).sum() for own in panels.values())
    figure, (axes,) = canvas(1.2 + 3.3 * len(panels), 1.5 + 0.14 * tallest, 1, len(panels), squeeze=False)
    for place, (name, own) in zip(axes, panels.items(), strict=True):
        dress(place, str(name), "x", INK)
        place.axvspan(-2, 2, color=MUTED, alpha=0.12, lw=0)
        place.axvline(0, color=MUTED, lw=1)
        place.spines["left"].set_visible(False)
        place.tick_params(axis="y", length=0)
        height, ticks = 0, {}
        for row, members in own.groupby("row", sort=False):
            ticks[str(row)] = height + (len(members) - 1) / 2
            for member in members.itertuples():
                colour = colours[member.family]
                place.plot([member.effect_low, member.effect_high], [height] * 2, color=colour, lw=1.8, solid_capstyle="butt")
                place.plot(member.effect, height, marker="D", ms=4.5, color=colour, mec="white", mew=0.6)
                height += 1
            height += 1
        place.set_yticks(list(ticks.values()), list(ticks), fontsize=9)
        place.set_ylim(tallest - 1, -1)
    figure.supxlabel("effect of the real wiring, in standard deviations of its nulls (right: better than they; band: -2 to 2)", fontsize=9)
    figure.legend(handles=[dot(colour, name, 6) for name, colour in colours.items()], loc="outside upper center", ncols=4, **BARE)
    return figure
