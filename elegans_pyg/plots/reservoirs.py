"""Reservoirs: their scores over spectral radius and leak, and by task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from elegans_pyg.analysis.compare import family_seed
from elegans_pyg.analysis.inference import bootstrap_interval
from elegans_pyg.plots.style import INK, MUTED, RED, RULE, clean, family_styles


def sweep_curves(sweep: pd.DataFrame, value: str, label: str, reference: str | None = "connectome") -> Figure:
    """A score against the spectral radius, one panel a leak: families' means with bands of one standard deviation over variants.

    Args:
        sweep: one row a variant and grid point, with columns ``variant``, ``family``, ``radius``, ``leak`` and ``value``.
        value: column of scores.
        label: of the axis.
        reference: family drawn in dashed red; ``None`` for none.

    Raises:
        ValueError: for a missing column, no rows, an unknown reference, or a grid point given twice.
    """
    _check_columns("sweep", sweep, ("variant", "family", "radius", "leak", value))
    families = _families("sweep", sweep, reference)
    repeated = sweep[sweep.duplicated(["variant", "radius", "leak"])]
    if len(repeated):
        row = repeated.iloc[0]
        raise ValueError(
            f"sweep must hold each point once, got variant {row['variant']}, radius {row['radius']}, leak {row['leak']} twice; give one"
            " task"
        )
    leaks = sorted(sweep["leak"].unique(), reverse=True)
    styles = family_styles(families, reference)
    figure = Figure(figsize=(1.6 + 4.2 * len(leaks), 4.2), layout="constrained")
    panels = figure.subplots(1, len(leaks), sharey=True, squeeze=False)[0]
    for axes, leak in zip(panels, leaks, strict=True):
        clean(axes)
        axes.grid(axis="y", color=RULE, lw=0.6)
        here = sweep[sweep["leak"] == leak]
        for name in sorted(families, key=lambda name: name == reference):
            runs = here[here["family"] == name].pivot(index="radius", columns="variant", values=value)
            if runs.empty:
                continue
            mean, sd = runs.mean(axis=1), runs.std(axis=1, ddof=1).fillna(0)
            colour, style = styles[name]
            top = name == reference
            axes.fill_between(mean.index, mean - sd, mean + sd, color=colour, alpha=0.13, linewidth=0, zorder=1)
            axes.plot(
                mean.index,
                mean,
                color=colour,
                ls=style,
                lw=2.2 if top else 1.7,
                marker="o",
                ms=3.5,
                label=f"{name} (n = {runs.shape[1]})",
                zorder=4 if top else 3,
            )
        axes.set_xlabel("spectral radius")
        axes.set_title(f"leak {leak:g}" + (" (none)" if leak == 1 else ""), loc="left", fontsize=10, color=MUTED)
    panels[0].set_ylabel(label)
    handles, labels = panels[0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: not labels[i].startswith(f"{reference} "))
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside upper center",
        ncols=min(len(order), 5 if len(leaks) > 1 else 3),
        frameon=False,
        handlelength=3.2,
        fontsize=9,
    )
    return figure


def task_scores(results: pd.DataFrame, metrics: Mapping[str, str], reference: str | None = "connectome", seed: int = 0) -> Figure:
    """Every variant's score as a dot, one panel a task, with families' means and their 95 % bootstrap intervals.

    Args:
        results: one row a variant and task, with columns ``variant``, ``family``, ``task`` and ``score``.
        metrics: what each task's score is called, in the order of the panels.
        reference: family whose mean is drawn through all the others; ``None`` for none.
        seed: of the bootstrap.

    Raises:
        ValueError: for a missing column, no rows, an unknown reference or task.
    """
    _check_columns("results", results, ("variant", "family", "task", "score"))
    families = sorted(_families("results", results, reference), key=lambda name: name != reference)
    missing = [task for task in metrics if task not in set(results["task"])]
    if missing or not metrics:
        known = ", ".join(dict.fromkeys(results["task"]))
        raise ValueError(f"metrics must name tasks in results, got {', '.join(missing) or 'none'}; choose from {known}")
    styles = family_styles(families, reference)
    figure = Figure(figsize=(1.4 + 2.5 * len(metrics), 1.3 + 0.45 * len(families)), layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, (task, metric) in zip(panels, metrics.items(), strict=True):
        clean(axes)
        axes.grid(axis="x", color=RULE, lw=0.6)
        for row, name in enumerate(families):
            values = results.loc[(results["task"] == task) & (results["family"] == name), "score"].to_numpy(dtype=np.float64)
            if not len(values):
                continue
            colour = styles[name][0]
            # Fixed steps to and fro, so that equal scores do not hide each other.
            axes.scatter(values, row - 0.12 + 0.16 * (np.arange(len(values)) % 5 / 2 - 1), s=13, color=colour, alpha=0.6, lw=0, zorder=3)
            low, high = bootstrap_interval(values, seed=family_seed(seed, name))
            axes.plot([low, high], [row + 0.26] * 2, color=INK, lw=2.2, solid_capstyle="butt", zorder=4)
            axes.plot(values.mean(), row + 0.26, marker="D", ms=5, color=colour, mec="white", mew=0.7, zorder=5)
            if name == reference:
                axes.axvline(values.mean(), color=RED, ls="--", lw=1.1, zorder=1)
        axes.set_title(task, loc="left", fontsize=10, color=INK)
        axes.set_xlabel(metric, fontsize=9)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(families)), families, fontsize=9)
    panels[0].set_ylim(len(families) - 0.5, -0.6)
    return figure


def _check_columns(argument: str, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    for column in columns:
        if column not in table.columns:
            raise ValueError(f"{argument} must have a column {column!r}, got {', '.join(map(str, table.columns)) or 'none'}; add it")
    if table.empty:
        raise ValueError(f"{argument} must hold at least one row, got none; give the table of a run")


def _families(argument: str, table: pd.DataFrame, reference: str | None) -> list[str]:
    families = [str(name) for name in table["family"].unique()]
    if reference is not None and reference not in families:
        raise ValueError(f"reference must be one of the families in {argument}, got {reference!r}; choose from {', '.join(families)}")
    return families
