"""Reservoirs: their scores over spectral radius and leak, and by task."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from elegans_pyg.analysis.arms import check_columns, check_once, family_names, family_seed
from elegans_pyg.analysis.inference import bootstrap_interval
from elegans_pyg.plots.style import (
    BARE,
    INK,
    Array,
    canvas,
    checked,
    dress,
    family_styles,
    mean_and_interval,
    mean_and_spread,
    numbers,
    reference_first,
)


def sweep_curves(sweep: pd.DataFrame, value: str, label: str, reference: str | None = "connectome") -> Figure:
    """A score against the spectral radius, one panel per leak: families' means with bands of one standard deviation over variants.

    Args:
        sweep: one row per variant and grid point, with columns ``variant``, ``family``, ``radius``, ``leak`` and ``value``.
        value, label, reference: column of scores, the name of their axis, and the family drawn in dashed red, ``None`` for none.
    """
    check_columns("sweep", sweep, ("variant", "family", "radius", "leak", value))
    families = family_names("sweep", sweep, reference)
    check_once("sweep", sweep, ("variant", "radius", "leak"), "give one task")
    leaks = sorted(sweep["leak"].unique(), reverse=True)
    styles = family_styles(families, reference)
    figure, (panels,) = canvas(1.6 + 4.2 * len(leaks), 4.2, 1, len(leaks), sharey=True, squeeze=False)
    for axes, leak in zip(panels, leaks, strict=True):
        dress(axes, f"leak {leak:g}" + (" (none)" if leak == 1 else ""), xlabel="spectral radius")
        here = sweep[sweep["leak"] == leak]
        for name in sorted(families, key=lambda name: name == reference):
            runs = here[here["family"] == name].pivot(index="radius", columns="variant", values=value)
            if len(runs):
                mean_and_spread(axes, runs, styles[name], name == reference, marker="o", ms=3.5, label=f"{name} (n = {runs.shape[1]})")
    panels[0].set_ylabel(label)
    ncols = min(len(families), 5 if len(leaks) > 1 else 3)
    figure.legend(*reference_first(panels[0], reference), loc="outside lower center", ncols=ncols, **BARE)
    return figure


def task_scores(results: pd.DataFrame, metrics: Mapping[str, str], reference: str | None = "connectome", seed: int = 0) -> Figure:
    """Every variant's score as a dot, one panel per task, with families' means and their 95 % bootstrap intervals.

    Args:
        results: one row per variant and task, with columns ``variant``, ``family``, ``task`` and ``score``.
        metrics: what each task's score is called, in the order of the panels.
        reference, seed: family whose mean is drawn through all the others, ``None`` for none; and the seed of the bootstrap.
    """
    check_columns("results", results, ("variant", "family", "task", "score"))
    families = family_names("results", results, reference)
    missing = [task for task in metrics if task not in set(results["task"])]
    if missing or not metrics:
        known = ", ".join(dict.fromkeys(results["task"]))
        raise ValueError(f"metrics must name tasks in results, got {', '.join(missing) or 'none'}; choose from {known}")
    styles = family_styles(families, reference)
    size = 1.4 + 2.5 * len(metrics), 1.3 + 0.45 * len(families)
    figure, (panels,) = canvas(*size, 1, len(metrics), sharey=True, squeeze=False)
    for axes, (task, metric) in zip(panels, metrics.items(), strict=True):
        dress(axes, task, "x", INK)
        axes.set_xlabel(metric, fontsize=9)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        for row, name in enumerate(families):
            values = results.loc[(results["task"] == task) & (results["family"] == name), "score"].to_numpy(dtype=np.float64)
            if not len(values):
                continue
            colour = styles[name][0]
            # Fixed steps to and fro, so that equal scores do not hide each other.
            axes.scatter(values, row - 0.12 + 0.16 * (np.arange(len(values)) % 5 / 2 - 1), s=13, color=colour, alpha=0.6, lw=0, zorder=3)
            interval = bootstrap_interval(values, seed=family_seed(seed, name))
            mean_and_interval(axes, values.mean(), interval, row + 0.26, colour, name == reference)
    panels[0].set_yticks(range(len(families)), families, fontsize=9)
    panels[0].set_ylim(len(families) - 0.5, -0.6)
    return figure


def sequence_outputs(
    inputs: Array, names: Sequence[str], outputs: Mapping[str, Array], reference: str | None = "connectome", most: int = 4
) -> Figure:
    """Outputs of readouts step by step, one panel per output for the first ``most`` of them, or bars of all after the whole sequence, and
    the inputs beneath.

    Args:
        inputs, names: ``(T, F)``, and the inputs' names.
        outputs: by family, ``(T, K)``, or ``(K,)`` after the whole sequence.
        reference: family in dashed red; ``None`` for none.
    """
    given = numbers(inputs)
    first = numbers(next(iter(outputs.values())))
    traces = {family: checked("outputs", own, first.shape, f" for {family}") for family, own in outputs.items()}
    whole, styles = first.ndim == 1, family_styles(list(traces), reference if reference in traces else None)
    shown = 1 if whole else min(most, first.shape[1])
    figure, panels = canvas(9, 0.8 + 1.4 * (shown + 1), shown + 1, 1, sharex=not whole)
    if whole:
        dress(panels[0], xlabel="output", ylabel="at the end")
        panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
        left, width = np.arange(len(first)) + 0.6, 0.8 / len(traces)
        for place, (family, own) in enumerate(traces.items()):
            panels[0].bar(left + place * width, own, width, align="edge", color=styles[family][0], label=family)
    else:
        for number, axes in enumerate(panels[:-1]):
            dress(axes, ylabel=f"output {number + 1}")
            for family, own in traces.items():
                axes.plot(own[:, number], color=styles[family][0], ls=styles[family][1], lw=1.3, label=family)
    for name, own in zip(names, given.T, strict=True):
        panels[-1].plot(own, color=INK, lw=1, label=name)
    dress(panels[-1], xlabel="step", ylabel="input")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=min(len(labels), 5), **BARE)
    return figure
