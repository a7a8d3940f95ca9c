"""Reduced-order models: how they learned, what they predict, what each output costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from elegans_pyg.plots.style import INK, MUTED, RED, RULE, Array, clean, numbers

# Okabe and Ito's colours in an order of their own, each with a line style, for models as for neurons.
_STYLES: tuple[tuple[str, Any], ...] = (
    ("#0072B2", "-"),
    ("#D55E00", (0, (6, 1.5))),
    ("#009E73", (0, (1, 1.2))),
    ("#CC79A7", (0, (6, 1.5, 1, 1.5))),
    ("#E69F00", (0, (3, 1, 1, 1, 1, 1))),
    ("#56B4E9", (0, (8, 2))),
)


def loss_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """RMSE against epoch, training left and validation right: of each model the mean over its runs and the band they lie in.

    Args:
        histories: by model, one row an epoch and run, with columns ``epoch``, ``replica``, ``train`` and ``validation``.

    Raises:
        ValueError: if there is none, or a column is missing.
    """
    if not histories:
        raise ValueError("histories: expected one model or more, got none; give those of fitted models")
    for model, history in histories.items():
        missing = [column for column in ("epoch", "replica", "train", "validation") if column not in history.columns]
        if missing:
            raise ValueError(f"histories: expected a column {missing[0]!r} for {model}, got {', '.join(map(str, history.columns))}; add it")
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, split in zip(panels, ("train", "validation"), strict=True):
        for number, (model, history) in enumerate(histories.items()):
            colour, style = _STYLES[number % len(_STYLES)]
            runs = history.pivot(index="epoch", columns="replica", values=split)
            axes.fill_between(runs.index, runs.min(axis=1), runs.max(axis=1), color=colour, alpha=0.12, lw=0)
            axes.plot(runs.index, runs.mean(axis=1), color=colour, ls=style, lw=1.6, label=f"{model} (n = {runs.shape[1]})")
        axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_title({"train": "training", "validation": "validation"}[split], loc="left", fontsize=10, color=MUTED)
        axes.grid(axis="y", which="both", color=RULE, lw=0.5)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.margins(x=0.01)
        clean(axes)
    panels[0].set_ylabel("RMSE (share of the widest output's range)")
    panels[1].legend(frameon=True, facecolor="white", edgecolor="none", framealpha=0.9, fontsize=9, handlelength=3)
    return figure


def predicted_traces(
    time_ms: Array,
    current_pA: Array,
    voltage_mV: Array,
    predicted_mV: Mapping[str, Array],
    inputs: Sequence[str],
    outputs: Sequence[str],
    titles: Sequence[str],
) -> Figure:
    """Predicted voltages over the true ones, the currents beneath: one column a stimulus.

    Args:
        time_ms: ``(T,)``.
        current_pA: ``(S, T, I)``; ``voltage_mV``: ``(S, T, O)``.
        predicted_mV: by model, ``(S, T, O)``.
        inputs, outputs: names of the neurons; inputs without any current in a column are left out there.
        titles: of the columns.

    Raises:
        ValueError: if the shapes do not fit.
    """
    time, current, true = numbers(time_ms), numbers(current_pA), numbers(voltage_mV)
    stimuli = len(titles)
    expected = {"current_pA": (stimuli, len(time), len(inputs)), "voltage_mV": (stimuli, len(time), len(outputs))}
    for name, array in (("current_pA", current), ("voltage_mV", true)):
        if array.shape != expected[name]:
            raise ValueError(f"{name}: expected the shape {expected[name]}, got {array.shape}; give a row a title and a column a neuron")
    predicted = {model: numbers(array) for model, array in predicted_mV.items()}
    for model, array in predicted.items():
        if array.shape != true.shape:
            raise ValueError(f"predicted_mV: expected the shape {true.shape} for {model}, got {array.shape}; predict those stimuli")
    rows = len(outputs) + 1
    figure = Figure(figsize=(1.2 + 3.9 * stimuli, 0.7 + 1.35 * rows), layout="constrained")
    grid = figure.subplots(rows, stimuli, sharex=True, sharey="row", squeeze=False)
    for column in range(stimuli):
        for row, output in enumerate(outputs):
            axes = grid[row, column]
            axes.plot(time, true[column, :, row], color="#B0B4BA", lw=3.2, solid_capstyle="round", label="simulated")
            for number, (model, array) in enumerate(predicted.items()):
                colour, style = _STYLES[number % len(_STYLES)]
                axes.plot(time, array[column, :, row], color=colour, ls=style, lw=1.3, label=model)
            if column == 0:
                axes.set_ylabel(f"{output}\n(mV)")
            clean(axes)
        axes = grid[-1, column]
        for number, name in enumerate(inputs):
            if np.abs(current[column, :, number]).max() > 0:
                colour, style = _STYLES[number % len(_STYLES)]
                axes.plot(time, current[column, :, number], color=colour, lw=1, ls=style, label=name)
        axes.set_xlabel("time (ms)")
        axes.legend(frameon=False, fontsize=7, ncols=2, loc="upper right", handlelength=2)
        clean(axes)
        grid[0, column].set_title(titles[column], loc="left", fontsize=10, color=MUTED)
    grid[-1, 0].set_ylabel("current\n(pA)")
    # Room above the curves for their names; the columns share the axis.
    low, high = grid[-1, 0].get_ylim()
    grid[-1, 0].set_ylim(low, high + 0.5 * (high - low))
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), frameon=False, fontsize=9, handlelength=3)
    return figure


def size_curve(table: pd.DataFrame, bound: float | None = None) -> Figure:
    """RMSE against the number of units, with the standard deviation over the runs.

    Args:
        table: one row a size: ``hidden``, ``train``, ``train_sd``, ``validation``, ..., ``test``, ``test_sd``.
        bound: drawn as a dashed line: the published one.

    Raises:
        ValueError: if a column is missing.
    """
    splits = ("train", "validation", "test")
    for column in ("hidden", *splits, *(f"{split}_sd" for split in splits)):
        if column not in table.columns:
            raise ValueError(f"table: expected a column {column!r}, got {', '.join(map(str, table.columns))}; add it")
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(table))
    for number, (split, marker) in enumerate(zip(splits, "os^", strict=True)):
        colour = _STYLES[number][0]
        at = places + 0.08 * (number - 1)
        axes.errorbar(at, table[split], table[f"{split}_sd"].fillna(0), color=colour, marker=marker, ms=6, lw=1.4, capsize=3, label=split)
    if bound is not None:
        axes.axhline(bound, color=RED, ls="--", lw=1.2)
        axes.annotate(f"{bound:g}", (0.995, bound), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=RED, fontsize=9)
    axes.set_xticks(places, [f"{size}" for size in table["hidden"]])
    axes.set_xlabel("units of the recurrent layer")
    axes.set_ylabel("RMSE (share of the widest output's range)")
    axes.set_ylim(0, None)
    axes.grid(axis="y", color=RULE, lw=0.6)
    axes.legend(frameon=False, fontsize=9)
    clean(axes)
    return figure


def output_errors(table: pd.DataFrame) -> Figure:
    """Test RMSE of every output, one dot a model, one colour a setting: how much each output misses the inputs that were left out.

    Args:
        table: columns ``setting``, ``model``, ``output`` and ``rmse``.

    Raises:
        ValueError: if a column is missing or there is no row.
    """
    for column in ("setting", "model", "output", "rmse"):
        if column not in table.columns:
            raise ValueError(f"table: expected a column {column!r}, got {', '.join(map(str, table.columns))}; add it")
    if table.empty:
        raise ValueError("table: expected one row or more, got none; give the errors of fitted models")
    outputs, settings = list(dict.fromkeys(table["output"])), list(dict.fromkeys(table["setting"]))
    figure = Figure(figsize=(max(6.4, 0.5 * len(outputs) + 2.5), 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.7 / len(settings)
    for number, setting in enumerate(settings):
        colour = _STYLES[number % len(_STYLES)][0]
        rows = table[table["setting"] == setting]
        offset = (number - (len(settings) - 1) / 2) * width
        place = rows["output"].map(outputs.index).to_numpy() + offset
        # Models side by side within their setting, so that no dot hides another.
        models = list(dict.fromkeys(rows["model"]))
        spread = rows["model"].map(models.index).to_numpy() - (len(models) - 1) / 2
        axes.scatter(place + spread * width / (len(models) + 2), rows["rmse"], s=26, color=colour, alpha=0.8, lw=0, label=setting, zorder=3)
        means = rows.groupby("output")["rmse"].mean()
        for index, output in enumerate(outputs):
            if output in means:
                middle = index + offset
                axes.plot([middle - width * 0.42, middle + width * 0.42], [means[output]] * 2, color=INK, lw=1.4, zorder=4)
    axes.set_xticks(range(len(outputs)), outputs, rotation=0 if len(outputs) <= 8 else 90)
    axes.set_xlim(-0.6, len(outputs) - 0.4)
    axes.set_ylabel("test RMSE (share of the output's range)")
    axes.set_ylim(0, None)
    axes.set_title("one dot a model, mean over its runs; bar: mean over models", loc="left", fontsize=10, color=MUTED)
    axes.grid(axis="y", color=RULE, lw=0.6)
    axes.legend(frameon=True, facecolor="white", edgecolor="none", framealpha=0.9, fontsize=9)
    clean(axes)
    return figure
