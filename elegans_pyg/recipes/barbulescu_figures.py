"""The figures of reduced-order models."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from elegans_pyg.datasets.waveforms import Waveforms
from elegans_pyg.plots.reduced_order import loss_curves, output_errors, predicted_traces, size_curve
from elegans_pyg.plots.style import save
from elegans_pyg.recipes.barbulescu import PUBLISHED_BOUND, Experiment, Job
from elegans_pyg.recipes.reduced_order import FittedRuns

_SHOWN_OUTPUTS = ("DB1", "LUAL", "PVR", "VB1")
_SHOWN_OF_TWO = ("DB1", "LUAL", "VB2", "RMER", "RMEL", "URAVL")


def draw_fit(fit: FittedRuns, waveforms: Waveforms) -> list[Path]:
    """Loss curves and test traces of one fit, into its folder's ``figures/``; returns the files without suffixes."""
    name = f"{fit.model.cell.upper()}-{fit.model.hidden}"
    figures = {
        "losses": loss_curves({name: fit.history}),
        "traces": _traces({name: fit}, waveforms, waveforms.output_names[:6]),
    }
    return [_saved(figure, fit.folder / "figures" / key) for key, figure in figures.items()]


def draw_experiment(done: Experiment, folder: Path) -> list[Path]:
    """All figures of an experiment; returns the files without suffixes."""
    names = {job: _label(job, done) for job in done.fits}
    figures = {}
    groups: dict[tuple[str, float], list[Job]] = {}
    for job in done.fits:
        groups.setdefault((job.data, job.dt_ms), []).append(job)
    for (data, dt_ms), jobs in groups.items():
        suffix = f"-{data.replace(' ', '-')}-{dt_ms:g}ms" if len(groups) > 1 else ""
        figures[f"losses{suffix}"] = loss_curves({names[job]: done.fits[job].history for job in jobs})
        shown = jobs if len(jobs) <= 3 else jobs[:3] if done.number == 1 else [jobs[0], jobs[len(jobs) // 2], jobs[-1]]
        outputs = _SHOWN_OF_TWO if done.number == 5 else _SHOWN_OUTPUTS
        fits = {names[job]: done.fits[job] for job in shown}
        figures[f"traces{suffix}"] = _traces(fits, done.waveforms[jobs[0]], list(outputs))
    if done.number == 2:
        figures["sizes"] = size_curve(done.table, PUBLISHED_BOUND)
    if done.number in (4, 5):
        figures["outputs"] = output_errors(done.outputs.rename(columns={"data": "setting"}))
    return [_saved(figure, folder / f"experiment-{done.number}-{key}") for key, figure in figures.items()]


def _label(job: Job, done: Experiment) -> str:
    step = f", {job.dt_ms:g} ms" if len({other.dt_ms for other in done.fits}) > 1 else ""
    return job.name + step + (f", {job.times_epochs}x epochs" if job.times_epochs > 1 else "")


def _traces(fits: dict[str, FittedRuns], waveforms: Waveforms, outputs: list[str]) -> Figure:
    """The first test stimulus of each kind and scenario, by the first run of each model: not the best one of either."""
    rows = waveforms.indices("test")
    chosen: dict[tuple[str, tuple[bool, ...]], int] = {}
    for row in rows:
        driven = tuple((waveforms.current_pA[row].abs().amax(0) > 0).tolist())
        chosen.setdefault((waveforms.kind[row], driven), row)
    shown = list(chosen.values())[:4]
    columns = [waveforms.output_names.index(name) for name in outputs]
    predicted: dict[str, Tensor] = {}
    for name, fit in fits.items():
        with torch.no_grad():
            predicted[name] = fit.model.select(0).predict_mV(waveforms.current_pA[shown])[0][..., columns]
    titles = [f"test: {waveforms.kind[row]}" for row in shown]
    voltage = waveforms.voltage_mV[shown][..., columns]
    return predicted_traces(waveforms.time_ms, waveforms.current_pA[shown], voltage, predicted, waveforms.input_names, outputs, titles)


def _saved(figure: Figure, path: Path) -> Path:
    save(figure, path)
    return path
