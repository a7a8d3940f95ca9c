"""Fitting one kind of reduced-order model to one set of waveforms, from several seeds at once, in a folder that can be gone on with."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from elegans_pyg.datasets.waveforms import SPLITS, Waveforms
from elegans_pyg.models.reduced_order import ReducedOrder
from elegans_pyg.training.sequences import SequenceFitConfig, fit_sequences, replica_rmse

_COLUMNS = {
    "history": ("epoch", "replica", "seed", "train", "validation"),
    "results": ("seed", "best_epoch", *SPLITS),
    "outputs": ("seed", "output", "rmse", "rmse_mV"),
}


@dataclass(frozen=True)
class FittedRuns:
    """A finished, or interrupted, fit.

    Attributes:
        folder: where it is kept: ``model.safetensors`` and ``model.json``, ``history.csv``, ``results.csv``, ``outputs.csv``, ``fit.json``
            and ``checkpoint/``.
        model: all runs, each with the parameters of its best epoch.
        history: see :class:`~elegans_pyg.training.sequences.SequenceFit`.
        results: one row a run: ``seed``, ``best_epoch``, and the RMSE ``train``, ``validation``, ``test``, in units of the widest
            output's range over the training stimuli.
        outputs: one row a run and output, on the test stimuli: ``seed``, ``output``, ``rmse`` in units of its own range over the
            training stimuli (NaN if it never moved there), ``rmse_mV``.
        seconds: of training, all runs together.
        interrupted: whether Ctrl-C ended it early; then only the checkpoint was kept.
    """

    folder: Path
    model: ReducedOrder
    history: pd.DataFrame
    results: pd.DataFrame
    outputs: pd.DataFrame
    seconds: float
    interrupted: bool = False

    def rmse(self, split: str) -> str:
        """Mean and standard deviation over the runs."""
        values = self.results[split]
        mean, sd = values.mean(), values.std()
        return f"{mean:.4f}" + ("" if pd.isna(sd) else f" ± {sd:.4f}")


def fit_runs(
    waveforms: Waveforms,
    folder: str | Path,
    cell: str = "gru",
    hidden: int = 4,
    runs: int = 10,
    seed: int = 0,
    config: SequenceFitConfig | None = None,
    *,
    quiet: bool = False,
) -> FittedRuns:
    """Fit ``runs`` models from the seeds ``seed, seed + 1, ...``; what ``folder`` holds of the same fit is gone on with, or read.

    Args:
        waveforms: what to learn.
        folder: made when missing.
        cell, hidden: see :class:`~elegans_pyg.models.ReducedOrder`.
        runs: models from different first parameters.
        seed: of the first one.
        config: of the training; ``None`` for the published one.
        quiet: no progress.

    Raises:
        ValueError: if the folder holds another fit, or one of its files is damaged.
        OSError: if it cannot be written.
    """
    folder, config = Path(folder), config or SequenceFitConfig()
    identity = _identity(waveforms, cell, hidden, [seed + k for k in range(runs)], config)
    if (folder / "fit.json").is_file():
        return _read(folder, identity)
    if folder.is_dir() and any(folder.iterdir()) and not any(folder.glob("checkpoint*")):
        raise FileExistsError(f"out: {folder} is not empty and holds no fit to go on with; give another folder")
    model = ReducedOrder(cell, waveforms.input_names, waveforms.output_names, hidden, runs, seed)
    model.set_scaling(*waveforms.scaling())
    train, validation = waveforms.scaled("train"), waveforms.scaled("validation")
    fit = fit_sequences(model, train, validation, config, folder / "checkpoint", resume=True, quiet=quiet)
    results, outputs = evaluate_runs(model, waveforms)
    results.insert(1, "best_epoch", fit.best_epoch)
    if not fit.interrupted:
        model.save(folder, dt_ms=waveforms.dt_ms, scenario=waveforms.scenario)
        for name, table in (("history", fit.history), ("results", results), ("outputs", outputs)):
            write_file(folder / f"{name}.csv", table.to_csv(index=False).encode())
        # Last, since it says that everything else is there.
        content = {"identity": identity, "seconds": fit.seconds}
        write_file(folder / "fit.json", json.dumps(content, indent=1, allow_nan=False).encode())
    return FittedRuns(folder, model, fit.history, results, outputs, fit.seconds, fit.interrupted)


@torch.no_grad()
def evaluate_runs(model: ReducedOrder, waveforms: Waveforms) -> tuple[pd.DataFrame, pd.DataFrame]:
    """RMSE of each replica on each split, and on the test stimuli of each output, see :class:`FittedRuns`."""
    results: dict[str, Any] = {"seed": model.seeds}
    for split in SPLITS:
        inputs, targets = waveforms.scaled(split)
        predicted = model(inputs)
        results[split] = replica_rmse(predicted, targets).tolist()
    # The last split is the test.
    ranges = waveforms.ranges_mV()
    in_mV = (predicted - targets).square().mean((1, 2)).sqrt() * model.output_scale
    outputs = pd.DataFrame(
        {
            "seed": [seed for seed in model.seeds for _ in model.output_names],
            "output": model.output_names * model.replicas,
            "rmse": (in_mV / ranges.where(ranges > 0, torch.nan)).flatten().tolist(),
            "rmse_mV": in_mV.flatten().tolist(),
        }
    )
    return pd.DataFrame(results), outputs


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole: a crash leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _identity(waveforms: Waveforms, cell: str, hidden: int, seeds: list[int], config: SequenceFitConfig) -> dict[str, Any]:
    digest = hashlib.sha256("".join(waveforms.split).encode())
    for part in (waveforms.current_pA, waveforms.voltage_mV):
        digest.update(part.contiguous().numpy().tobytes())
    settings = {name: value for name, value in asdict(config).items() if name != "checkpoint_every"}
    return {
        "cell": cell,
        "hidden": hidden,
        "seeds": seeds,
        "training": settings,
        "inputs": waveforms.input_names,
        "outputs": waveforms.output_names,
        "dt_ms": waveforms.dt_ms,
        "waveforms": digest.hexdigest(),
    }


def _read(folder: Path, identity: dict[str, Any]) -> FittedRuns:
    try:
        kept = json.loads((folder / "fit.json").read_bytes())
        theirs, seconds = dict(kept["identity"]), float(kept["seconds"])
        tables = {name: pd.read_csv(folder / f"{name}.csv") for name in _COLUMNS}
        seeds, epochs = theirs["seeds"], theirs["training"]["epochs"]
        rows = {"history": len(seeds) * epochs, "results": len(seeds), "outputs": len(seeds) * len(theirs["outputs"])}
        for name, table in tables.items():
            if list(table.columns) != list(_COLUMNS[name]) or len(table) != rows[name]:
                raise ValueError(f"{name}.csv has {len(table)} rows of {', '.join(table.columns)}")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"out: {folder} holds no whole fit ({error}); delete it, and it is fitted again") from error
    different = [name for name, value in identity.items() if theirs.get(name) != value]
    if different:
        name = different[0]
        raise ValueError(f"out: {folder} holds a fit with {name} {theirs.get(name)} instead of {identity[name]}; give another folder")
    return FittedRuns(folder, ReducedOrder.load(folder), tables["history"], tables["results"], tables["outputs"], seconds)
