"""The structure of wirings: against accuracy, and against how much of a wiring was redrawn."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from elegans_pyg.analysis.dyads import TYPES, dyad_columns
from elegans_pyg.analysis.relate import Relation
from elegans_pyg.plots.style import (
    BARE,
    INK,
    MUTED,
    RED,
    RULE,
    TYPE_COLOURS,
    canvas,
    colour_bar,
    dot,
    dress,
    family_styles,
    heat_axes,
    titled,
)
from elegans_pyg.wirings import NEURON_TYPES

_TARGET_DASHES = {"sensory": "-", "inter": (0, (5, 1.5)), "motor": (0, (1, 1.2))}
_REWIRINGS = {"rewired": "degrees kept", "random_rewired": "degrees lost"}


def value_against_measures(variants: pd.DataFrame, relation: Relation, reference: str | None = None, most: int = 12) -> Figure:
    """One panel per measure, for the ``most`` strongest correlations, the strongest first: every run as a dot, every wiring with several
    runs as a ring at their mean. ``variants`` is what :func:`~elegans_pyg.analysis.relate.relate` was given, ``relation`` what it returned;
    the ``reference``, by default the first family, is drawn in red."""
    if relation.table.empty:
        raise ValueError("relation: expected at least one measure, got none; relate wirings that differ")
    variants = variants[variants[relation.value].notna()]
    families = [str(name) for name in variants["family"].unique()]
    styles = family_styles(families, families[0] if reference is None else reference)
    strongest = relation.table.head(most)
    figure, panels = _panels(strongest["measure"].tolist(), 4, 3.1, 2.55, sharey=True)
    for axes, row in zip(panels, strongest.itertuples(), strict=True):
        for family in reversed(families):
            runs = variants[variants["family"] == family]
            colour = styles[family][0]
            axes.scatter(runs[row.measure], 100 * runs[relation.value], s=14, color=colour, alpha=0.6, lw=0, zorder=3)
            shared = runs[runs["wiring"].duplicated(keep=False)].groupby("wiring")
            means = shared[row.measure].mean(), 100 * shared[relation.value].mean()
            axes.scatter(*means, s=34, facecolors="none", edgecolors=colour, lw=1.1, zorder=4)
        p = "" if math.isnan(row.p_holm) else f", p = {row.p_holm:.2g}"
        inside = "" if math.isnan(row.rho_within) else f"; within families {row.rho_within:+.2f}"
        axes.set_xlabel(f"ρ = {row.rho:+.2f}{p}{inside}", fontsize=8, color=MUTED)
    figure.supylabel(f"{relation.value} (%)", fontsize=10)
    handles = [dot(styles[family][0], family, 5) for family in families]
    figure.legend(handles=handles, loc="outside lower left", ncols=min(len(families), 8), frameon=False, fontsize=9)
    total, count = len(relation.table), len(strongest)
    which = f"the {count} of {total} measures with the largest |ρ|" if count < total else f"all {total} measures"
    return titled(figure, f"{relation.value} against {which} ({', '.join(families)})")


def fading_dyads(curves: pd.DataFrame, effects: pd.DataFrame) -> Figure:
    """How the dyadic effects of a connectome fade with the share of edges redrawn: the share of the effect that is left, and the share of
    graphs in which it is still significant, along edges and along shortest paths of 2 and 3. ``curves`` are of one connectome and family:
    ``fraction``, ``measure``, ``left``, ``unusual``; ``effects`` say which measures to draw: ``measure``, ``length``."""
    if effects.empty:
        raise ValueError("effects: expected at least one, got none; there is nothing to draw")
    # Each length has effects of its own size; shares all lie between 0 and 100.
    figure, panels = canvas(11.5, 6.4, 2, 3, sharex=True)
    for (upper, lower), length in zip(panels.T, (1, 2, 3), strict=True):
        chosen = effects[effects["length"] == length]["measure"]
        pairs = dict(zip(dyad_columns(length), product(TYPES, repeat=2), strict=True))
        for name in chosen:
            source, target = pairs[name]
            curve = curves[curves["measure"] == name].sort_values("fraction")
            for axes, value in ((upper, "left"), (lower, "unusual")):
                axes.plot(100 * curve["fraction"], 100 * curve[value], color=TYPE_COLOURS[source], ls=_TARGET_DASHES[target], lw=1.8)
        title = "along edges" if length == 1 else f"along shortest paths of {length} edges"
        dress(upper, f"{title}: {len(chosen)} of 9 pairs", "both")
        dress(lower, grid="both", xlabel="edges redrawn (%)", ylim=(-3, 103))
        upper.axhline(0, color=MUTED, lw=0.8)
        lower.axhline(2.5, color=MUTED, lw=0.8, ls=(0, (2, 2)))
        for axes in (upper, lower):
            axes.margins(x=0.01)
    panels[1, 0].annotate("expected by chance", (1, 4), ha="left", va="bottom", fontsize=8, color=MUTED)
    panels[0, 0].set_ylabel("effect left (%)")
    panels[1, 0].set_ylabel("graphs significant at 0.05 (%)")
    handles = [Line2D([], [], color=TYPE_COLOURS[name], lw=2, label=f"from {name}") for name in _TARGET_DASHES]
    handles += [Line2D([], [], color=INK, ls=dash, lw=1.6, label=f"to {name}") for name, dash in _TARGET_DASHES.items()]
    family = str(curves["family"].iloc[0])
    figure.legend(handles=handles, loc="outside upper right", ncols=6, frameon=False, fontsize=9, handlelength=2.6)
    return titled(figure, f"{curves['connectome'].iloc[0]}, {family} ({_REWIRINGS[family]})")


def measures_by_fraction(curves: pd.DataFrame) -> Figure:
    """One panel per measure: mean and middle 95 % of the graphs against the share of edges redrawn, with degrees kept and lost. ``curves``
    are of one connectome: ``family``, ``fraction``, ``measure``, ``mean``, ``low``, ``high``. Measures that no rewiring changes are left
    out."""
    spread = curves.groupby("measure", sort=False)[["low", "high"]].agg(["min", "max"])
    changes = spread["high"]["max"] - spread["low"]["min"] > 1e-9 * spread["high"]["max"].abs().clip(lower=1)
    names = changes[changes].index.tolist()
    if not names:
        raise ValueError("curves: expected a measure that changes, got none; redraw more edges")
    figure, panels = _panels(names, 5, 2.6, 2.0, sharex=True)
    families = [str(name) for name in curves["family"].unique()]
    styles = family_styles(families, None)
    for axes, name in zip(panels, names, strict=True):
        for family in families:
            rows = curves[(curves["measure"] == name) & (curves["family"] == family)].sort_values("fraction")
            colour, dash = styles[family]
            axes.fill_between(100 * rows["fraction"], rows["low"], rows["high"], color=colour, alpha=0.2, lw=0)
            axes.plot(100 * rows["fraction"], rows["mean"], color=colour, ls=dash, lw=1.7)
        axes.margins(x=0.01)
    figure.supxlabel("edges redrawn (%)", fontsize=10)
    lines = [(_REWIRINGS.get(name, name), *styles[name]) for name in families]
    handles = [Line2D([], [], color=colour, ls=dash, lw=2, label=label) for label, colour, dash in lines]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), **BARE)
    return titled(figure, f"{curves['connectome'].iloc[0]}, {', '.join(families)}")


def score_map(scores: pd.DataFrame, families: pd.DataFrame | None = None) -> Figure:
    """How far connectomes, and the means of generated families, are from rewired graphs: a coloured table of z, with a dot where p after
    Holm's correction is at most 0.05. ``scores`` has columns ``connectome``, ``measure``, ``z``, ``p_holm``; ``families``, of which those
    of the first connectome are drawn, has ``connectome``, ``family``, ``measure``, ``z``."""
    columns = {str(name): rows.set_index("measure") for name, rows in scores.groupby("connectome", sort=False)}
    boundary = len(columns)
    if families is not None:
        first = families[families["connectome"] == families["connectome"].iloc[0]]
        columns |= {f"{name} (mean)": rows.set_index("measure") for name, rows in first.groupby("family", sort=False)}
    names = scores.loc[scores["z"].notna(), "measure"].unique().tolist()
    if not names:
        raise ValueError("scores: expected at least one measure with a z, got none; take measures that rewiring changes")
    z = np.array([rows["z"].reindex(names).to_numpy(dtype=np.float64) for rows in columns.values()]).T
    figure, axes = canvas(4.2 + 0.5 * len(columns), 1.8 + 0.2 * len(names))
    norm = SymLogNorm(linthresh=2, vmin=-100, vmax=100, base=10)
    image = axes.imshow(z, cmap="RdBu_r", norm=norm, aspect="auto", interpolation="none")
    axes.set_facecolor("#E5E7EB")
    for place, rows in enumerate(columns.values()):
        if "p_holm" in rows:
            significant = np.flatnonzero(rows["p_holm"].reindex(names).to_numpy(dtype=np.float64) <= 0.05)
            dark = np.abs(z[significant, place]) > 20
            axes.scatter(np.full(len(significant), place), significant, s=5, c=np.where(dark, "white", INK), lw=0)
    if boundary < len(columns):
        axes.axvline(boundary - 0.5, color="white", lw=4)
    heat_axes(axes, [name.replace("_", " ") for name in names], list(columns))
    ticks = {float(z): f"{z}".replace("-", "−") for z in (-100, -10, -2, 0, 2, 10, 100)}
    colour_bar(figure, image, axes, "z against rewired graphs (degrees kept)", ticks, fraction=0.03, pad=0.02, shrink=0.5)
    return figure


def score_dots(scores: pd.DataFrame) -> Figure:
    """One connectome's measures against its null model: z as a dot, filled where p after Holm's correction is at most 0.05. ``scores`` are
    from :func:`~elegans_pyg.analysis.null_model.against_null`: ``measure``, ``z``, ``p_holm``."""
    rows = scores[scores["z"].notna()]
    if rows.empty:
        raise ValueError("scores: expected at least one measure with a z, got none; take measures that rewiring changes")
    figure, axes = canvas(7.5, 1.2 + 0.19 * len(rows))
    height = np.arange(len(rows))
    axes.axvspan(-2, 2, color="#F3F4F6", lw=0, zorder=0)
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.hlines(height, 0, rows["z"], color=RULE, lw=1.2, zorder=1)
    significant = (rows["p_holm"] <= 0.05).to_numpy()
    axes.scatter(rows["z"], height, s=24, facecolors=np.where(significant, RED, "white"), edgecolors=RED, lw=1.1, zorder=3)
    axes.set_xscale("symlog", linthresh=10)
    axes.set_yticks(height, [str(name).replace("_", " ") for name in rows["measure"]], fontsize=8)
    label = "z against the null model (filled: p after Holm's correction ≤ 0.05; grey: −2 to 2)"
    dress(axes, grid="x", xlabel=label, ylim=(len(rows) - 0.4, -0.6))
    axes.tick_params(axis="y", length=0)
    return figure


def type_pairs(dyads: pd.DataFrame) -> Figure:
    """Dyadicity and heterophilicity of every ordered pair of neuron types, one table per path length, from what
    :func:`~elegans_pyg.analysis.dyads` gives: ``length``, ``source``, ``target``, ``ratio``, ``z``."""
    lengths = [int(length) for length in dyads["length"].unique()]
    types = [name for name in NEURON_TYPES if name in set(dyads["source"])]
    size = 1.6 + (0.55 * len(types) + 1.1) * len(lengths), 1.7 + 0.5 * len(types)
    figure, (panels,) = canvas(*size, 1, len(lengths), squeeze=False)
    for axes, length in zip(panels, lengths, strict=True):
        table = dyads[dyads["length"] == length].pivot(index="source", columns="target", values="ratio").loc[types, types]
        shown = np.log2(np.clip(table.to_numpy(dtype=np.float64), 1 / 8, 8))
        image = axes.imshow(shown, cmap="RdBu_r", vmin=-2, vmax=2)
        for (row, column), ratio in np.ndenumerate(table.to_numpy()):
            colour = "white" if abs(shown[row, column]) > 1.4 else INK
            axes.text(column, row, f"{ratio:.2f}", ha="center", va="center", fontsize=8, color=colour)
        heat_axes(axes, types, types)
        axes.tick_params(labelleft=axes is panels[0])
        axes.set_title("edges" if length == 1 else f"shortest paths of {length}", loc="left", fontsize=10, color=MUTED)
    panels[0].set_ylabel("from")
    figure.supxlabel("to", fontsize=10)
    ticks = {-2.0: "¼", -1.0: "½", 0.0: "1", 1.0: "2", 2.0: "4"}
    colour_bar(figure, image, list(panels), "observed / expected", ticks, fraction=0.02, pad=0.01)
    return figure


def measures_by_family(table: pd.DataFrame, measures: list[str]) -> Figure:
    """The measures of a run's wirings, one panel per measure and one row of dots per family. ``table`` has one row per wiring, with
    ``family`` and the columns ``measures``; measures that are the same for all wirings are left out."""
    names = [name for name in measures if np.ptp(table[name]) > 1e-9 * max(1.0, float(table[name].abs().max()))]
    if not names:
        raise ValueError("table: expected wirings that differ in a measure, got none; there is nothing to draw")
    families = [str(name) for name in table["family"].unique()]
    styles = family_styles(families, families[0])
    figure, panels = _panels(names, 4, 2.9, 0.75 + 0.22 * len(families), sharey=True)
    for axes, name in zip(panels, names, strict=True):
        for row, family in enumerate(families):
            values = table.loc[table["family"] == family, name]
            axes.scatter(values, np.full(len(values), row), s=18, color=styles[family][0], alpha=0.6, lw=0)
        axes.set_yticks(range(len(families)), families, fontsize=8)
        axes.set_ylim(len(families) - 0.5, -0.5)
    return figure


def _panels(names: Sequence[str], most: int, width: float, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of small panels of ``width`` by ``height`` inches, at most ``most`` in a row, each named after its measure."""
    across = min(most, len(names))
    down = math.ceil(len(names) / across)
    figure, grid = canvas(max(width * across, 5.0), height * down + 0.6, down, across, squeeze=False, **shared)
    panels = list(grid.flat)
    for axes, name in zip(panels, names, strict=False):
        dress(axes, name.replace("_", " "), "both", INK, 9)
        axes.tick_params(labelsize=8)
        axes.locator_params(nbins=5)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    return figure, panels[: len(names)]
