"""Fitting one kind of reduced-order model to one set of waveforms, in several runs that train as one computation."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from elegans_pyg._settings import Count, Names, Settings, Whole
from elegans_pyg.studies.settings import OptionalFile
from elegans_pyg.studies.study import Finished, Memory, Report, Shard, Study
from elegans_pyg.training.settings import SequenceSettings

if TYPE_CHECKING:
    import pandas as pd

    from elegans_pyg.dynamics import Waveforms
    from elegans_pyg.models import ReducedOrder
    from elegans_pyg.studies.units import Units

SPLITS = ("train", "validation", "test")
RUNS, STIMULI = 10, 40
"""The published ones."""
SHOWN_OUTPUTS = 6


class WaveformSettings(Settings):
    """What is learned: simulated waveforms, or one's own."""

    group: ClassVar[str] = "Waveforms"

    scenario: Literal["fcm", "fcm16", "fcm-no-avb", "fcm-no-ava", "nictation"] = Field("fcm", description="What is simulated.")
    dt_ms: float = Field(0.5, ge=0.05, le=500, description="Time between samples in ms, a multiple of 0.05 that divides 500.")
    count: int = Field(STIMULI, ge=4, le=2**53, description="Stimuli.")
    amplitude: float | None = Field(None, gt=0, description="Largest current in pA (default: the scenario's).")
    files: OptionalFile = Field(
        None, description="Folder of .dat files with waveforms, in order of name, in place of a scenario; with inputs and outputs."
    )
    inputs: Names = Field((), description="Neurons of the currents in the files.")
    outputs: Names = Field((), description="Neurons of the voltages in the files.")

    @model_validator(mode="after")
    def _names_go_with_files(self) -> WaveformSettings:
        if self.files is None and (self.inputs or self.outputs):
            raise ValueError("inputs: --inputs and --outputs name the columns of --files, and there is none; leave them out")
        if self.files is not None and not (self.inputs and self.outputs):
            raise ValueError("files: expected --inputs and --outputs with the neurons of the columns; add them")
        return self


class FitRnnSettings(WaveformSettings):
    """One kind of model, in several runs."""

    group: ClassVar[str] = "Model"

    cell: Literal["rnn", "lstm", "gru"] = Field("gru", description="Kind of recurrent layer.")
    hidden: Count = Field(4, description="Units of the recurrent layer.")
    runs: Count = Field(RUNS, description="Runs, each from its own seed.")
    seed: Whole = Field(0, description="Start of all seeds: stimuli and first parameters.")
    training: SequenceSettings = SequenceSettings()


def model_name(cell: str, hidden: int) -> str:
    return f"{cell.upper()}-{hidden}"


def run_rows(family: str, runs: int, seed: int, **more: object) -> list[dict[str, object]]:
    """One row a run; models share the seeds of their runs, so that they can be compared run by run."""
    from elegans_pyg.studies.units import unit_seed

    return [{"family": family, "wiring_seed": 0, "seed": unit_seed(seed, "connectome", 0, run), **more} for run in range(runs)]


def fit_rnn_units(settings: FitRnnSettings) -> Units:
    from elegans_pyg.studies.units import Units

    rows = run_rows(model_name(settings.cell, settings.hidden), settings.runs, settings.seed)
    return Units.build(rows, [None] * len(rows))


def waveform_folder(folder: Path) -> Path:
    """Where the shards of a run keep what they have simulated: their names say what they hold, so one copy serves all.

    Args:
        folder: of a shard.
    """
    return folder.parent / "waveforms"


def waveforms_of(settings: FitRnnSettings, root: Path | None = None, quiet: bool = True) -> Waveforms:
    """The waveforms that the settings name, simulated or from files.

    Args:
        settings: of the study.
        root: folder in which simulated ones are kept.
        quiet: say nothing while it simulates.
    """
    from elegans_pyg.dynamics import Waveforms

    if settings.files is None:
        chosen = (settings.scenario, settings.dt_ms, settings.count, settings.seed, settings.amplitude)
        return Waveforms(*chosen, root=root, quiet=quiet)
    found = sorted(Path(settings.files).glob("*.dat"))
    if not found:
        raise FileNotFoundError(f"files: {settings.files} holds no .dat file; give the folder that does")
    return Waveforms.from_files(found, settings.inputs, settings.outputs)


def waveform_hash(waveforms: Waveforms) -> str:
    """SHA-256 of currents, voltages and splits."""
    from elegans_pyg._tensor_files import checksum

    return checksum({"current_pA": waveforms.current_pA, "voltage_mV": waveforms.voltage_mV}, " ".join(waveforms.split))


def worm_hash() -> str:
    """SHA-256 of the nervous system that is simulated: its wiring and its constants."""
    from elegans_pyg._files import sha256
    from elegans_pyg.datasets.graph_cache import hash_graph
    from elegans_pyg.dynamics import Worm

    worm = Worm()
    return sha256(json.dumps([hash_graph(worm.data), asdict(worm.membrane)], sort_keys=True).encode())


def what_is_learned(settings: FitRnnSettings) -> dict[str, str]:
    """Hash of the files, or of what is simulated."""
    from elegans_pyg.dynamics.waveforms import count_samples

    if settings.files is not None:
        return {"waveforms": waveform_hash(waveforms_of(settings))}
    count_samples(settings.dt_ms)
    return {"worm": worm_hash()}


def run_bytes(cell: str, hidden: int, inputs: int, outputs: int, sequences: int, steps: int) -> int:
    """Memory of one run at its peak: parameters with what Adam and the best epoch keep beside them, and a step's history of states."""
    from elegans_pyg.nn.recurrent import GATES

    gates = GATES[cell] * hidden
    parameters = gates * (inputs + hidden + 1) + outputs * (hidden + 1)
    return 56 * parameters + 4 * sequences * steps * (inputs + gates + 4 * hidden + 6 * outputs)


def simulation_bytes(count: int, inputs: int, outputs: int) -> int:
    """Memory of currents and voltages at every step of the simulation, in double precision."""
    from elegans_pyg.dynamics.waveforms import DURATION_MS, REST_MS, STEP_MS

    return 8 * count * round((REST_MS + DURATION_MS) / STEP_MS) * (3 * inputs + 2 * outputs)


def sequences_in_a_step(count: int, batch_size: int) -> int:
    """Training stimuli of a batch, and beside them those of the validation."""
    return min(batch_size, count // 2) + -(-count // 4)


def fit_rnn_memory(settings: FitRnnSettings, units: Units) -> Memory:
    from elegans_pyg.dynamics import SCENARIOS
    from elegans_pyg.dynamics.waveforms import count_samples

    if settings.files is None:
        scenario, count, steps = SCENARIOS[settings.scenario], settings.count, count_samples(settings.dt_ms)[1]
        inputs, outputs = len(scenario.input_names), len(scenario.outputs)
        fixed = simulation_bytes(count, inputs, outputs)
    else:
        waveforms = waveforms_of(settings)
        inputs, outputs = len(settings.inputs), len(settings.outputs)
        count, steps, fixed = len(waveforms), len(waveforms.time_ms), 0
    sequences = sequences_in_a_step(count, settings.training.batch_size)
    return Memory(fixed, run_bytes(settings.cell, settings.hidden, inputs, outputs, sequences, steps))


def fit_replicas(shard: Shard, waveforms: Waveforms, cell: str, hidden: int, training: SequenceSettings) -> pd.DataFrame:
    """Fit the runs of a shard as one computation, or go on with them from their checkpoint.

    The shard's folder gets ``model.safetensors`` and ``model.json`` (all runs, each with the parameters of its best epoch, see
    :meth:`~elegans_pyg.models.ReducedOrder.load`), ``history.csv``, ``outputs.csv``, and ``fit.json`` with the seconds of training.

    Returns:
        the shard's rows with ``best_epoch``, ``parameters``, the RMSE ``train``, ``validation`` and ``test``, in units of the widest
        output's range over the training stimuli, and why a run was stopped, ``stopped``; its errors are NaN.

    Raises:
        Interrupted: if a signal ended it early, after a checkpoint.
    """
    from elegans_pyg._files import write_atomic
    from elegans_pyg.models import ReducedOrder
    from elegans_pyg.studies.fitting import fit_shard
    from elegans_pyg.training.data import FitData
    from elegans_pyg.training.sequences import SequenceRegression, epoch_table

    seeds = shard.units["seed"].tolist()
    model = ReducedOrder(cell, waveforms.input_names, waveforms.output_names, hidden, len(seeds), seeds)
    model.set_scaling(*waveforms.scaling())
    train, validation, test = (waveforms.scaled(split) for split in SPLITS)
    data, settings = FitData(waveforms.scenario, train, test, validation), training.fit_settings(cell, len(train[0]))
    fit = fit_shard(shard, model, data, settings, SequenceRegression())
    steps = training.steps(len(train[0]))
    errors, outputs = evaluate(model, waveforms)
    rows = shard.units.assign(best_epoch=fit.tested_at // steps, **errors, parameters=model.parameters_per_replica())
    rows["stopped"] = [fit.stopped.get(run, "") for run in range(len(rows))]
    rows.loc[rows["stopped"] != "", list(SPLITS)] = float("nan")
    names = [name for name in ("family", "task", "seed") if name in shard.units]
    history = epoch_table(fit.metrics, steps).rename(columns={"replica": "variant"}).drop(columns="seed")
    for name, table in (("history", history), ("outputs", outputs)):
        labelled = table.join(shard.units[names], on="variant")
        write_atomic(shard.folder / f"{name}.csv", labelled.to_csv(index=False, na_rep="nan").encode())
    model.save(shard.folder, dt_ms=waveforms.dt_ms, scenario=waveforms.scenario, waveforms=waveform_hash(waveforms))
    write_atomic(shard.folder / "fit.json", json.dumps({"seconds": fit.seconds}).encode())
    return rows


def evaluate(model: ReducedOrder, waveforms: Waveforms) -> tuple[dict[str, list[float]], pd.DataFrame]:
    """RMSE of each run on each split; and of each run and output on the test stimuli.

    Returns:
        by split, one number a run; and a table ``variant``, ``output``, ``rmse`` in units of the output's own range over the training
        stimuli (NaN if it never moved there), ``rmse_mV``.
    """
    import pandas as pd
    import torch

    from elegans_pyg.training.sequences import replica_rmse

    errors = {}
    with torch.no_grad():
        for split in SPLITS:
            inputs, targets = waveforms.scaled(split)
            predicted = model(inputs)
            errors[split] = replica_rmse(predicted, targets).tolist()
        # The last split is the test.
        ranges = waveforms.ranges_mV()
        in_mV = (predicted - targets).square().mean((1, 2)).sqrt() * model.output_scale
    outputs = {
        "variant": [run for run in range(model.replicas) for _ in model.output_names],
        "output": model.output_names * model.replicas,
        "rmse": (in_mV / ranges.where(ranges > 0, torch.nan)).flatten().tolist(),
        "rmse_mV": in_mV.flatten().tolist(),
    }
    return errors, pd.DataFrame(outputs)


def measure(settings: FitRnnSettings, shard: Shard) -> pd.DataFrame:
    waveforms = waveforms_of(settings, waveform_folder(shard.folder), shard.quiet)
    return fit_replicas(shard, waveforms, settings.cell, settings.hidden, settings.training)


def seconds_of(folders: list[Path]) -> float:
    """Of training, all sessions of all shards together."""
    return sum(float(json.loads((folder / "fit.json").read_bytes())["seconds"]) for folder in folders)


def stopped_runs(rows: pd.DataFrame) -> list[str]:
    """A note for each run that was stopped."""
    return [f"Run {row.variant} ({row.family}) was stopped: {row.stopped}." for row in rows.itertuples() if row.stopped]


def mean_and_sd(mean: float, sd: float) -> str:
    """In words; of a single run there is no ``sd``, but NaN."""
    return f"{mean:.4f}" if isnan(sd) else f"{mean:.4f} ± {sd:.4f}"


def report(done: Finished[FitRnnSettings]) -> Report:
    """Errors on each split and of each output, loss curves and traces."""
    from elegans_pyg import plots
    from elegans_pyg.models import ReducedOrder
    from elegans_pyg.recipes.reduced_order_figures import traces
    from elegans_pyg.studies.tables import bullets, make_table

    rows, name = done.rows, str(done.rows["family"].iloc[0])
    measured = [mean_and_sd(rows[split].mean(), rows[split].std()) for split in SPLITS]
    cells = (name, f"{rows['parameters'].iloc[0]:,}", str(len(rows)), *measured, f"{seconds_of(done.shards):,.0f}")
    title = "RMSE, in units of the widest output's range over the training stimuli"
    history, outputs = done.joined("history.csv"), done.joined("outputs.csv")
    waveforms = waveforms_of(done.settings, waveform_folder(done.shards[0]))
    # What there is only one of lies in the run's own folder too.
    models = {file: (done.shards[0] / file).read_bytes() for file in ("model.safetensors", "model.json")} if len(done.shards) == 1 else {}
    return Report(
        [
            make_table(title, ("model", "parameters", "runs", *SPLITS, "seconds"), [cells]),
            bullets(_in_words(str(output), own) for output, own in outputs.groupby("output", sort=False)),
        ],
        stopped_runs(rows),
        files={"history.csv": history, "outputs.csv": outputs, **models},
        figures={
            "losses": plots.loss_curves({name: history.rename(columns={"variant": "replica"})}),
            "traces": traces({name: ReducedOrder.load(done.shards[0])}, waveforms, waveforms.output_names[:SHOWN_OUTPUTS]),
        },
        findings={split: float(rows[split].mean()) for split in SPLITS if rows[split].notna().any()},
    )


def _in_words(output: str, rows: pd.DataFrame) -> str:
    share = f"{rows['rmse'].mean():.2%} of its range" if rows["rmse"].notna().all() else "and it never moves in training"
    return f"test RMSE of {output}: {rows['rmse_mV'].mean():.3f} mV, {share}"


FIT_RNN: Study[FitRnnSettings] = Study(
    "fit-rnn",
    FitRnnSettings,
    fit_rnn_units,
    measure,
    report,
    data=what_is_learned,
    memory=fit_rnn_memory,
    score="test",
    text="""Fit a small recurrent network to the nervous system: voltages of a few neurons from currents into a few others.

    By default: ten GRUs of 4 units for forward crawling (fcm), 1,000 epochs, some minutes.""",
)
