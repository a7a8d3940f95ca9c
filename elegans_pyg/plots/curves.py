"""Accuracies of families of wirings, along the training and at its end."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from elegans_pyg.analysis.arms import check_columns, check_once, check_results, family_names, family_seed, units_by_family
from elegans_pyg.analysis.inference import Values, bootstrap_interval
from elegans_pyg.plots.style import INK, OPAQUE, canvas, dress, family_styles, mean_and_interval, mean_and_spread, reference_first


def accuracy_curves(
    metrics: pd.DataFrame, reference: str | None = "connectome", split: str = "validation", value: str = "accuracy"
) -> Figure:
    """Accuracy against iteration: the reference's mean dashed red over each family's mean and band of one standard deviation, as in figure
    2 of "ElegansNet" (2023); from four evaluations on, a second panel enlarges the last third of the training.

    Args:
        metrics: one row per evaluation, with columns ``iteration``, ``variant``, ``family``, ``split`` and ``accuracy`` (0 to 1). A ``nan``
            accuracy (a variant that was stopped) is left out, and the legend counts the variants that the last evaluation still holds.
        reference: family drawn in dashed red; ``None`` for none.
        split, value: ``"train"``, ``"validation"`` or ``"test"``, whichever the metrics hold; and the column drawn, a share (0 to 1).
    """
    check_columns("metrics", metrics, ("iteration", "variant", "family", "split", value))
    splits = [str(name) for name in metrics["split"].unique()]
    if split not in splits:
        raise ValueError(f"split must be one of those in metrics, got {split!r}; choose from {', '.join(splits)}")
    metrics = metrics[metrics["split"] == split]
    families = family_names("metrics", metrics, reference)
    check_once("metrics", metrics, ("iteration", "variant"), "number the variants of several runs anew")
    styles = family_styles(families, reference)
    iterations = np.sort(metrics["iteration"].unique())
    zoomed = len(iterations) >= 4

    figure, (panels,) = canvas(11 if zoomed else 7, 4.6, 1, 1 + zoomed, width_ratios=[1.15, 1] if zoomed else None, squeeze=False)
    late = iterations[0] + (iterations[-1] - iterations[0]) * 2 / 3
    ends = []
    for name in sorted(families, key=lambda name: name == reference):
        runs = 100 * metrics[metrics["family"] == name].pivot(index="iteration", columns="variant", values=value)
        finished, started = int(runs.iloc[-1].notna().sum()), runs.shape[1]
        label = f"{name} (n = {finished}{f' of {started}' if finished < started else ''})"
        marker = "o" if len(runs) < 4 else None
        for axes in panels:
            mean, sd = mean_and_spread(axes, runs, styles[name], name == reference, marker=marker, ms=4, label=label)
        ends.append(((mean - sd)[mean.index >= late].min(), (mean + sd)[mean.index >= late].max()))

    for axes, title in zip(panels, ("mean and standard deviation over variants", "the last third, enlarged"), strict=False):
        dress(axes, title, xlabel="iteration")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panels[0].set_ylabel(f"{split} {value.replace('_', ' ')} (%)")
    panels[0].legend(*reference_first(panels[0], reference), loc="lower right", **OPAQUE)
    panels[0].margins(x=0.01)
    if zoomed:
        # A family that never learned would flatten the differences the enlargement is for.
        ceiling = np.nanmax(ends)
        bottom = max(np.nanmin(ends), ceiling - 10)
        margin = max(0.06 * (ceiling - bottom), 0.05)
        panels[1].set(xlim=(late, iterations[-1]), ylim=(bottom - margin, min(ceiling + margin, 100 + margin)))
        panels[0].axvspan(late, iterations[-1], color="#F3F4F6", lw=0, zorder=0)
    return figure


def family_accuracies(results: pd.DataFrame, reference: str | None = "connectome", value: str = "accuracy", seed: int = 0) -> Figure:
    """Every run of every family as a dot, with the mean and its 95 % bootstrap interval below, as :func:`elegans_pyg.analysis.compare`
    computes them (where seeds share a wiring, from the wirings' means, drawn as rings).

    Args:
        results: one row per variant, as :func:`elegans_pyg.analysis.compare` takes it; runs without a value are left out.
        reference: family whose mean is drawn through all the others; ``None`` for none.
        value, seed: column of accuracies (0 to 1), and seed of the bootstrap.
    """
    check_results(results, value)
    finished = results[results[value].notna()]
    if finished.empty:
        raise ValueError(f"results column {value!r} must hold at least one number, got none; give runs that finished")
    families = family_names("results", finished, reference)
    units = units_by_family(results, value)
    styles = family_styles(families, reference)
    figure, axes = canvas(8.5, 1.1 + 0.75 * len(families))
    everything = 100 * finished[value].to_numpy()
    span = max(float(np.ptp(everything)), 0.1)
    counts = []
    for row, name in enumerate(families):
        colour, runs, wirings = styles[name][0], np.sort(everything[finished["family"] == name]), 100 * units[name]
        low, high = (100 * end for end in bootstrap_interval(units[name], seed=family_seed(seed, name)))
        axes.scatter(runs, row - 0.13 - _swarm(runs, span / 90), s=22, color=colour, alpha=0.75, lw=0, zorder=3)
        counts.append(f"{name}\n{len(runs)} run{'s' if len(runs) > 1 else ''}")
        if len(wirings) < len(runs):
            counts[-1] += f", {len(wirings)} wirings"
            axes.scatter(wirings, np.full(len(wirings), row + 0.05), s=34, facecolors="white", edgecolors=colour, lw=1.2, zorder=3)
        mean_and_interval(axes, wirings.mean(), (low, high), row + 0.22, colour, name == reference)
        text = f"{wirings.mean():.2f}" + ("" if np.isnan(low) else f"  [{low:.2f}, {high:.2f}]")
        axes.text(1.01, row + 0.02, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(families)), counts, fontsize=9)
    label = f"{value.replace('_', ' ')} (%), one dot per run; diamond and bar: mean and 95 % bootstrap interval"
    limits = (everything.min() - 0.06 * span, everything.max() + 0.06 * span)
    dress(axes, grid="x", xlabel=label, xlim=limits, ylim=(len(families) - 0.45, -0.75))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _swarm(values: Values, apart: float) -> Values:
    """Heights at which sorted values nearer than ``apart`` stack instead of covering each other, within 0 to 0.45."""
    heights = np.zeros(len(values), dtype=np.int64)
    for index in range(len(values)):
        near = {int(heights[other]) for other in range(index) if values[index] - values[other] < apart}
        heights[index] = next(height for height in range(len(values)) if height not in near)
    return np.asarray(heights * min(0.09, 0.45 / max(int(heights.max(initial=0)), 1)), dtype=np.float64)
