"""Reduced-order models: losses, predicted voltages and errors per output."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from elegans_pyg.analysis.arms import check_columns
from elegans_pyg.plots.style import BARE, INK, LINE_STYLES, OPAQUE, RED, Array, canvas, checked, dress, numbers

_SPLITS = {"train": "training", "validation": "validation"}
_RMSE = "RMSE (share of the widest output's range)"


def loss_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """RMSE against epoch, training left and validation right: of each model the mean over its runs and the band they lie in. ``histories``
    have, by model, one row per epoch and run, with columns ``epoch``, ``replica``, ``train`` and ``validation``."""
    if not histories:
        raise ValueError("histories: expected one model or more, got none; give those of fitted models")
    for model, history in histories.items():
        check_columns(f"histories of {model}", history, ("epoch", "replica", *_SPLITS))
    figure, panels = canvas(11, 4.4, 1, 2, sharey=True)
    for axes, (split, title) in zip(panels, _SPLITS.items(), strict=True):
        for (model, history), (colour, style) in zip(histories.items(), cycle(LINE_STYLES)):
            runs = history.pivot(index="epoch", columns="replica", values=split)
            axes.fill_between(runs.index, runs.min(axis=1), runs.max(axis=1), color=colour, alpha=0.12, lw=0)
            axes.plot(runs.index, runs.mean(axis=1), color=colour, ls=style, lw=1.6, label=f"{model} (n = {runs.shape[1]})")
        dress(axes, title, xlabel="epoch", yscale="log")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.margins(x=0.01)
    panels[0].set_ylabel(_RMSE)
    panels[1].legend(**OPAQUE)
    return figure


def predicted_traces(
    time_ms: Array,
    current_pA: Array,
    voltage_mV: Array | None,
    predicted_mV: Mapping[str, Array],
    inputs: Sequence[str],
    outputs: Sequence[str],
    titles: Sequence[str],
) -> Figure:
    """Predicted voltages over the true ones, the currents beneath: one column per stimulus.

    Args:
        time_ms, current_pA, voltage_mV: ``(T,)``, ``(S, T, I)`` and ``(S, T, O)``; voltages ``None`` if not known.
        predicted_mV: by model, ``(S, T, O)``.
        inputs, outputs: names of the neurons; inputs without any current in a column are left out there.
        titles: of the columns.
    """
    time, stimuli = numbers(time_ms), len(titles)
    current = checked("current_pA", current_pA, (stimuli, len(time), len(inputs)))
    shape = (stimuli, len(time), len(outputs))
    true = None if voltage_mV is None else checked("voltage_mV", voltage_mV, shape)
    predicted = {model: checked("predicted_mV", array, shape, f" for {model}") for model, array in predicted_mV.items()}
    rows = len(outputs) + 1
    figure, grid = canvas(1.2 + 3.9 * stimuli, 0.7 + 1.35 * rows, rows, stimuli, sharex=True, sharey="row", squeeze=False)
    for column, title in enumerate(titles):
        for row, axes in enumerate(grid[:-1, column]):
            dress(axes, "" if row else title, None)
            if true is not None:
                axes.plot(time, true[column, :, row], color="#B0B4BA", lw=3.2, solid_capstyle="round", label="simulated")
            for (model, array), (colour, style) in zip(predicted.items(), cycle(LINE_STYLES)):
                axes.plot(time, array[column, :, row], color=colour, ls=style, lw=1.3, label=model)
        axes = grid[-1, column]
        for number, (name, (colour, style)) in enumerate(zip(inputs, cycle(LINE_STYLES))):
            if np.abs(current[column, :, number]).max() > 0:
                axes.plot(time, current[column, :, number], color=colour, lw=1, ls=style, label=name)
        dress(axes, grid=None, xlabel="time (ms)")
        axes.legend(frameon=False, fontsize=7, ncols=2, loc="upper right", handlelength=2)
    for axes, label in zip(grid[:, 0], [*(f"{output}\n(mV)" for output in outputs), "current\n(pA)"], strict=True):
        axes.set_ylabel(label)
    # Room above the curves for their names; the columns share the axis.
    low, high = grid[-1, 0].get_ylim()
    grid[-1, 0].set_ylim(low, high + 0.5 * (high - low))
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=len(labels), **BARE)
    return figure


def size_curve(table: pd.DataFrame, bound: float | None = None) -> Figure:
    """RMSE against the number of units, with the standard deviation over the runs, and the published ``bound`` as a dashed line. ``table``
    has one row per size: ``hidden``, ``train``, ``train_sd``, ``validation``, ..., ``test``, ``test_sd``."""
    splits = (*_SPLITS, "test")
    check_columns("table", table, ("hidden", *splits, *(f"{split}_sd" for split in splits)))
    figure, axes = canvas(6.4, 4.2)
    places = np.arange(len(table))
    for number, (split, marker) in enumerate(zip(splits, "os^", strict=True)):
        at, sd, colour = places + 0.08 * (number - 1), table[f"{split}_sd"].fillna(0), LINE_STYLES[number][0]
        axes.errorbar(at, table[split], sd, color=colour, marker=marker, ms=6, lw=1.4, capsize=3, label=split)
    if bound is not None:
        axes.axhline(bound, color=RED, ls="--", lw=1.2)
        axes.annotate(f"{bound:g}", (0.995, bound), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=RED, fontsize=9)
    axes.set_xticks(places, [f"{size}" for size in table["hidden"]])
    dress(axes, xlabel="units of the recurrent layer", ylabel=_RMSE, ylim=(0, None))
    axes.legend(**BARE)
    return figure


def output_errors(table: pd.DataFrame) -> Figure:
    """Test RMSE of every output, one dot per model, one colour per setting: how much each output misses the inputs that were left out.
    ``table`` has columns ``setting``, ``model``, ``output`` and ``rmse``."""
    check_columns("table", table, ("setting", "model", "output", "rmse"))
    outputs, settings = list(dict.fromkeys(table["output"])), list(dict.fromkeys(table["setting"]))
    figure, axes = canvas(max(6.4, 0.5 * len(outputs) + 2.5), 4.2)
    width = 0.7 / len(settings)
    for number, (setting, (colour, _)) in enumerate(zip(settings, cycle(LINE_STYLES))):
        rows = table[table["setting"] == setting]
        offset = (number - (len(settings) - 1) / 2) * width
        place = rows["output"].map(outputs.index).to_numpy() + offset
        # Models side by side within their setting, so that no dot hides another.
        models = list(dict.fromkeys(rows["model"]))
        spread = rows["model"].map(models.index).to_numpy() - (len(models) - 1) / 2
        axes.scatter(place + spread * width / (len(models) + 2), rows["rmse"], s=26, color=colour, alpha=0.8, lw=0, label=setting, zorder=3)
        for output, mean in rows.groupby("output")["rmse"].mean().items():
            middle = outputs.index(output) + offset
            axes.plot([middle - width * 0.42, middle + width * 0.42], [mean] * 2, color=INK, lw=1.4, zorder=4)
    axes.set_xticks(range(len(outputs)), outputs, rotation=0 if len(outputs) <= 8 else 90)
    title = "one dot per model, mean over its runs; bar: mean over models"
    dress(axes, title, xlim=(-0.6, len(outputs) - 0.4), ylim=(0, None), ylabel="test RMSE (share of the output's range)")
    axes.legend(**OPAQUE)
    return figure
