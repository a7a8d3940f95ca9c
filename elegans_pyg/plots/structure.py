"""The structure of wirings: against accuracy, and against how much of a wiring was redrawn."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from elegans_pyg.analysis.relate import Relation
from elegans_pyg.plots.style import INK, MUTED, RULE, clean, family_styles


def value_against_measures(variants: pd.DataFrame, relation: Relation, reference: str | None = None) -> Figure:
    """One panel a measure, the strongest correlation first: every run as a dot, every wiring with several runs as a ring at their mean.

    Args:
        variants: what :func:`~elegans_pyg.analysis.relate.relate` was given.
        relation: what it returned.
        reference: family drawn in red (default: the first).

    Raises:
        ValueError: if the relation has no measures.
    """
    if relation.table.empty:
        raise ValueError("relation: expected at least one measure, got none; relate wirings that differ")
    variants = variants[variants[relation.value].notna()]
    families = [str(name) for name in variants["family"].unique()]
    styles = family_styles(families, families[0] if reference is None else reference)
    names = relation.table["measure"].tolist()
    width = min(4, len(names))
    height = math.ceil(len(names) / width)
    figure = Figure(figsize=(max(3.1 * width, 5.0), 2.55 * height + 0.6), layout="constrained")
    panels = figure.subplots(height, width, squeeze=False, sharey=True)
    for axes, row in zip(panels.flat, relation.table.itertuples(), strict=False):
        for family in reversed(families):
            runs = variants[variants["family"] == family]
            colour = styles[family][0]
            axes.scatter(runs[row.measure], 100 * runs[relation.value], s=14, color=colour, alpha=0.6, lw=0, zorder=3)
            wirings = runs.groupby("wiring")[[row.measure, relation.value]].agg(["mean", "size"])
            several = wirings[wirings[(row.measure, "size")] > 1]
            axes.scatter(
                several[(row.measure, "mean")],
                100 * several[(relation.value, "mean")],
                s=34,
                facecolors="none",
                edgecolors=colour,
                lw=1.1,
                zorder=4,
            )
        clean(axes)
        axes.grid(color=RULE, lw=0.5)
        axes.set_title(row.measure.replace("_", " "), loc="left", fontsize=9, color=INK)
        p = "" if math.isnan(row.p_holm) else f", p = {row.p_holm:.2g}"
        inside = "" if math.isnan(row.rho_within) else f"; inside families {row.rho_within:+.2f}"
        axes.set_xlabel(f"ρ = {row.rho:+.2f}{p}{inside}", fontsize=8, color=MUTED)
        axes.tick_params(labelsize=8)
        axes.locator_params(axis="x", nbins=5)
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    figure.supylabel(f"{relation.value} (%)", fontsize=10)
    handles = [Line2D([], [], marker="o", ls="", ms=5, color=styles[family][0], label=family) for family in families]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(families), 8), frameon=False, fontsize=9)
    return figure
