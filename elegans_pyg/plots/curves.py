"""Accuracies of families of wirings, along the training and at its end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from elegans_pyg.analysis.compare import check_results, family_seed, units_by_family
from elegans_pyg.analysis.inference import bootstrap_interval
from elegans_pyg.plots.style import INK, MUTED, RED, RULE, clean, family_styles


def accuracy_curves(
    metrics: pd.DataFrame, reference: str | None = "connectome", split: str = "validation", value: str = "accuracy"
) -> Figure:
    """Accuracy against iteration: the reference's mean dashed red over each family's mean and band of one standard deviation, as in figure
    2 of "ElegansNet" (2023); from four evaluations on, a second panel enlarges the last third of the training.

    Args:
        metrics: one row an evaluation, with columns ``iteration``, ``variant``, ``family``, ``split`` and ``accuracy`` (0 to 1). A ``nan``
            accuracy (a variant that was stopped) is left out, and the legend counts the variants that the last evaluation still holds.
        reference: family drawn in dashed red; ``None`` for none.
        split: ``"train"``, ``"validation"`` or ``"test"``, whichever the metrics hold.
        value: column to draw in the place of ``accuracy``, a share (0 to 1) too.

    Raises:
        ValueError: for a missing column, no rows, an unknown family or split, or an evaluation given twice.
    """
    for column in ("iteration", "variant", "family", "split", value):
        if column not in metrics.columns:
            raise ValueError(f"metrics must have a column {column!r}, got {', '.join(map(str, metrics.columns)) or 'none'}; add it")
    if metrics.empty:
        raise ValueError("metrics must hold at least one row, got none; give the metrics of a run")
    splits = [str(name) for name in metrics["split"].unique()]
    if split not in splits:
        raise ValueError(f"split must be one of those in metrics, got {split!r}; choose from {', '.join(splits)}")
    metrics = metrics[metrics["split"] == split]
    families = [str(name) for name in metrics["family"].unique()]
    if reference is not None and reference not in families:
        raise ValueError(f"reference must be one of the families in metrics, got {reference!r}; choose from {', '.join(families)}")
    repeated = metrics[metrics.duplicated(["iteration", "variant"])]
    if len(repeated):
        row = repeated.iloc[0]
        raise ValueError(
            f"metrics must hold each evaluation once, got iteration {row['iteration']} of variant {row['variant']} twice; "
            "number the variants of several runs anew"
        )
    styles = family_styles(families, reference)
    iterations = np.sort(metrics["iteration"].unique())
    zoomed = len(iterations) >= 4

    figure = Figure(figsize=(11 if zoomed else 7, 4.6), layout="constrained")
    panels = figure.subplots(1, 2 if zoomed else 1, width_ratios=[1.15, 1] if zoomed else None, squeeze=False)[0]
    late = iterations[0] + (iterations[-1] - iterations[0]) * 2 / 3
    band = 0.16 if len(families) <= 4 else 0.09
    lowest, highest = [], []
    for name in sorted(families, key=lambda name: name == reference):
        runs = 100 * metrics[metrics["family"] == name].pivot(index="iteration", columns="variant", values=value)
        mean, sd = runs.mean(axis=1), runs.std(axis=1, ddof=1).fillna(0)
        colour, style = styles[name]
        finished, started = int(runs.iloc[-1].notna().sum()), runs.shape[1]
        label = f"{name} (n = {finished}{f' of {started}' if finished < started else ''})"
        top = name == reference
        for axes in panels:
            axes.fill_between(mean.index, mean - sd, mean + sd, color=colour, alpha=band, linewidth=0, zorder=1)
            marker = "o" if len(mean) < 4 else None
            axes.plot(
                mean.index, mean, color=colour, ls=style, lw=2.2 if top else 1.7, marker=marker, ms=4, label=label, zorder=4 if top else 3
            )
        final = mean.index >= late
        lowest.append((mean - sd)[final].min())
        highest.append((mean + sd)[final].max())

    for axes in panels:
        clean(axes)
        axes.set_xlabel("iteration")
        axes.grid(axis="y", color=RULE, lw=0.6)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panels[0].set_ylabel(f"{split} {value.replace('_', ' ')} (%)")
    panels[0].set_title("mean and standard deviation over variants", loc="left", fontsize=10, color=MUTED)
    handles, labels = panels[0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: not labels[i].startswith(f"{reference} "))
    panels[0].legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="lower right",
        frameon=True,
        facecolor="white",
        edgecolor="none",
        framealpha=0.9,
        handlelength=3.2,
        fontsize=9,
    )
    panels[0].margins(x=0.01)
    if zoomed:
        # A family that never learned would flatten the differences the enlargement is for.
        bottom, ceiling = max(np.nanmin(lowest), np.nanmax(highest) - 10), np.nanmax(highest)
        margin = max(0.06 * (ceiling - bottom), 0.05)
        panels[1].set_ylim(bottom - margin, min(ceiling + margin, 100 + margin))
        panels[1].set_xlim(late, iterations[-1])
        panels[1].set_title("the last third, enlarged", loc="left", fontsize=10, color=MUTED)
        panels[0].axvspan(late, iterations[-1], color="#F3F4F6", lw=0, zorder=0)
    return figure


def family_accuracies(results: pd.DataFrame, reference: str | None = "connectome", value: str = "accuracy", seed: int = 0) -> Figure:
    """Every run of every family as a dot, with the mean and its 95 % bootstrap interval below, as :func:`elegans_pyg.analysis.compare`
    reckons them (where seeds share a wiring, from the wirings' means, drawn as rings).

    Args:
        results: one row a variant, as :func:`elegans_pyg.analysis.compare` takes it; runs without a value are left out.
        reference: family whose mean is drawn through all the others; ``None`` for none.
        value: column of accuracies (0 to 1).
        seed: of the bootstrap.

    Raises:
        ValueError: for an unknown reference, no finished run, or a table that :func:`elegans_pyg.analysis.compare` would refuse.
    """
    check_results(results, value)
    units = {name: values for name, values in units_by_family(results, value).items() if len(values)}
    if not units:
        raise ValueError(f"results column {value!r} must hold at least one number, got none; give runs that finished")
    if reference is not None and reference not in units:
        raise ValueError(f"reference must be one of the families with a finished run, got {reference!r}; choose from {', '.join(units)}")
    families = sorted(units, key=lambda name: name != reference)
    styles = family_styles(families, reference)
    figure = Figure(figsize=(8.5, 1.1 + 0.75 * len(families)), layout="constrained")
    axes = figure.subplots()
    everything = 100 * results[value].dropna().to_numpy()
    span = max(float(np.ptp(everything)), 0.1)
    counts = []
    for row, name in enumerate(families):
        colour = styles[name][0]
        runs = np.sort(100 * results.loc[results["family"] == name, value].dropna().to_numpy())
        low, high = (100 * end for end in bootstrap_interval(units[name], seed=family_seed(seed, name)))
        mean = 100 * units[name].mean()
        axes.scatter(runs, row - 0.13 - _swarm(runs, span / 90), s=22, color=colour, alpha=0.75, lw=0, zorder=3)
        counts.append(f"{name}\n{len(runs)} run{'s' if len(runs) > 1 else ''}")
        if len(units[name]) < len(runs):
            counts[-1] += f", {len(units[name])} wirings"
            axes.scatter(
                100 * units[name], np.full(len(units[name]), row + 0.05), s=34, facecolors="white", edgecolors=colour, lw=1.2, zorder=3
            )
        axes.plot([low, high], [row + 0.22] * 2, color=INK, lw=2.4, solid_capstyle="butt", zorder=4)
        axes.plot(mean, row + 0.22, marker="D", ms=6, color=colour, mec="white", mew=0.8, zorder=5)
        interval = "" if np.isnan(low) else f"  [{low:.2f}, {high:.2f}]"
        axes.annotate(
            f"{mean:.2f}{interval}",
            (1.01, row + 0.02),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
            color=INK,
            annotation_clip=False,
        )
        if name == reference:
            axes.axvline(mean, color=RED, ls="--", lw=1.2, zorder=1)
    axes.set_yticks(range(len(families)), counts, fontsize=9)
    axes.set_ylim(len(families) - 0.45, -0.75)
    axes.set_xlim(everything.min() - 0.06 * span, everything.max() + 0.06 * span)
    axes.set_xlabel(f"{value.replace('_', ' ')} (%), one dot a run; diamond and bar: mean and 95 % bootstrap interval")
    axes.grid(axis="x", color=RULE, lw=0.6)
    clean(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _swarm(values: npt.NDArray[np.float64], apart: float) -> npt.NDArray[np.float64]:
    """Heights at which sorted values nearer than ``apart`` stack instead of covering each other, within 0 to 0.45."""
    heights = np.zeros(len(values), dtype=np.int64)
    for index in range(len(values)):
        near = {int(heights[other]) for other in range(index) if values[index] - values[other] < apart}
        heights[index] = next(height for height in range(len(values)) if height not in near)
    return np.asarray(heights * min(0.09, 0.45 / max(int(heights.max(initial=0)), 1)), dtype=np.float64)
