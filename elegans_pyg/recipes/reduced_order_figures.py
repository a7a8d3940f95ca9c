"""The figures of reduced-order models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure

from elegans_pyg import plots

if TYPE_CHECKING:
    import pandas as pd

    from elegans_pyg.dynamics import Waveforms
    from elegans_pyg.models import ReducedOrder
    from elegans_pyg.recipes.barbulescu import Fitted

_SHOWN_OUTPUTS = ("DB1", "LUAL", "PVR", "VB1")
_SHOWN_OF_TWO = ("DB1", "LUAL", "VB2", "RMER", "RMEL", "URAVL")
_SHOWN_STIMULI = 4


def traces(models: Mapping[str, ReducedOrder], waveforms: Waveforms, outputs: Sequence[str]) -> Figure:
    """The first test stimulus of each kind and scenario, by the first run of each model: not the best one of either."""
    rows = waveforms.indices("test")
    chosen: dict[tuple[str, tuple[bool, ...]], int] = {}
    for row in rows:
        driven = tuple((waveforms.current_pA[row].abs().amax(0) > 0).tolist())
        chosen.setdefault((waveforms.kind[row], driven), row)
    shown = list(chosen.values())[:_SHOWN_STIMULI]
    columns = [waveforms.output_names.index(name) for name in outputs]
    current, voltage = waveforms.current_pA[shown], waveforms.voltage_mV[shown][..., columns]
    with torch.no_grad():
        predicted = {name: model.select(0).predict_mV(current)[0][..., columns] for name, model in models.items()}
    titles = [f"test: {waveforms.kind[row]}" for row in shown]
    return plots.predicted_traces(waveforms.time_ms, current, voltage, predicted, waveforms.input_names, outputs, titles)


def experiment_figures(number: int, fits: Sequence[Fitted], table: pd.DataFrame, outputs: pd.DataFrame, bound: float) -> dict[str, Figure]:
    """Loss curves and traces of each kind of data, and what else belongs to an experiment, by name.

    Args:
        number: of the experiment.
        fits: one a job.
        table: one row a job, see :func:`elegans_pyg.recipes.barbulescu.job_table`.
        outputs: one row a job and output.
        bound: the published one on the test RMSE.
    """
    figures: dict[str, Figure] = {}
    groups: dict[tuple[str, float], list[Fitted]] = {}
    for fit in fits:
        groups.setdefault((fit.job.data, fit.job.dt_ms), []).append(fit)
    several = len({fit.job.dt_ms for fit in fits}) > 1
    for (data, dt_ms), own in groups.items():
        suffix = f"-{data.replace(' ', '-')}-{dt_ms:g}ms" if len(groups) > 1 else ""
        figures[f"losses{suffix}"] = plots.loss_curves({_label(fit, several): fit.history for fit in own})
        shown = own if len(own) <= 3 else own[:3] if number == 1 else [own[0], own[len(own) // 2], own[-1]]
        names = _SHOWN_OF_TWO if number == 5 else _SHOWN_OUTPUTS
        figures[f"traces{suffix}"] = traces({_label(fit, several): fit.model for fit in shown}, own[0].waveforms, names)
    if number == 2:
        figures["sizes"] = plots.size_curve(table, bound)
    if number in (4, 5):
        figures["outputs"] = plots.output_errors(outputs.rename(columns={"data": "setting"}))
    return figures


def _label(fit: Fitted, several: bool) -> str:
    step = f", {fit.job.dt_ms:g} ms" if several else ""
    return fit.job.name + step + (f", {fit.job.times_epochs}x epochs" if fit.job.times_epochs > 1 else "")
