"""Fit one kind of reduced-order model to one set of waveforms, in several runs that train side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

import elegans_pyg as ep
from elegans_pyg._files import sha256
from elegans_pyg._settings import Count, Names, Settings, Whole
from elegans_pyg.studies.settings import OptionalFile
from elegans_pyg.studies.study import Finished, Memory, Report, Shard, Study
from elegans_pyg.training.settings import SequenceSettings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SPLITS = ("train", "validation", "test")
RUNS, STIMULI = 10, 40
"""The published numbers of runs and stimuli."""
SHOWN_OUTPUTS, SHOWN_STIMULI = 6, 4


class WaveformSettings(Settings):
    """The waveforms to learn: simulated, or from files."""

    group: ClassVar[str] = "Waveforms"

    scenario: Literal["fcm", "fcm16", "fcm-no-avb", "fcm-no-ava", "nictation"] = Field("fcm", description="Scenario to simulate.")
    dt_ms: float = Field(0.5, ge=0.05, le=500, description="Time between samples in ms, a multiple of 0.05 that divides 500.")
    count: int = Field(STIMULI, ge=4, le=2**53, description="Number of stimuli.")
    amplitude: float | None = Field(None, gt=0, description="Largest current in pA (default: the scenario's).")
    files: OptionalFile = Field(
        None, description="Folder of .dat files with waveforms, read in order of name, instead of a scenario; needs inputs and outputs."
    )
    inputs: Names = Field((), description="Neurons of the currents in the files.")
    outputs: Names = Field((), description="Neurons of the voltages in the files.")

    @model_validator(mode="after")
    def _names_go_with_files(self) -> WaveformSettings:
        if self.files is None and (self.inputs or self.outputs):
            raise ValueError("inputs: --inputs and --outputs name the columns of --files, which is not given; leave them out")
        if self.files is not None and not (self.inputs and self.outputs):
            raise ValueError("files: expected --inputs and --outputs with the neurons of the columns; add them")
        return self


class FitRnnSettings(WaveformSettings):
    """The model, and its runs."""

    group: ClassVar[str] = "Model"

    cell: Literal["rnn", "lstm", "gru"] = Field("gru", description="Kind of recurrent layer.")
    hidden: Count = Field(4, description="Units of the recurrent layer.")
    runs: Count = Field(RUNS, description="Runs, each from its own seed.")
    seed: Whole = Field(0, description="Base of all seeds: stimuli and initial parameters.")
    training: SequenceSettings = SequenceSettings()


def units_of_models(models: Iterable[dict[str, object]], runs: int, seed: int) -> ep.studies.Units:
    """One unit per run of each model, given as a row; models share the seeds of their runs, so that they can be compared run by run."""
    seeds = [ep.studies.unit_seed(seed, "connectome", 0, run) for run in range(runs)]
    rows = [{"family": model["family"], "wiring_seed": 0, "seed": own, **model} for model in models for own in seeds]
    return ep.studies.Units.build(rows, [None] * len(rows))


def fit_rnn_units(settings: FitRnnSettings) -> ep.studies.Units:
    return units_of_models([{"family": f"{settings.cell.upper()}-{settings.hidden}"}], settings.runs, settings.seed)


def waveforms_of(settings: FitRnnSettings, shard: Path | None = None, quiet: bool = True) -> ep.dynamics.Waveforms:
    """The waveforms of the settings, simulated or from files. Simulated ones are cached beside the folder of a ``shard``, under a name that
    identifies them, so all shards share one copy."""
    if settings.files is None:
        chosen = (settings.scenario, settings.dt_ms, settings.count, settings.seed, settings.amplitude)
        return ep.dynamics.Waveforms(*chosen, root=shard and shard.parent / "waveforms", quiet=quiet)
    found = sorted(Path(settings.files).glob("*.dat"))
    if not found:
        raise FileNotFoundError(f"files: {settings.files} holds no .dat file; give the folder that does")
    return ep.dynamics.Waveforms.from_files(found, settings.inputs, settings.outputs)


def waveform_hash(waveforms: ep.dynamics.Waveforms) -> str:
    """SHA-256 of currents, voltages and splits."""
    from elegans_pyg._tensor_files import checksum

    return checksum({"current_pA": waveforms.current_pA, "voltage_mV": waveforms.voltage_mV}, " ".join(waveforms.split))


def worm_hash(worm: ep.dynamics.Worm | None = None) -> dict[str, str]:
    """SHA-256 of the simulated nervous system, by default ``c302-C1``: its wiring, its constants and its compartments."""
    from elegans_pyg.datasets.graph_cache import hash_graph

    worm = worm or ep.dynamics.Worm()
    described = [hash_graph(worm.data), asdict(worm.membrane), worm.compartments]
    return {"worm": sha256(json.dumps(described, sort_keys=True).encode())}


def what_is_learned(settings: FitRnnSettings) -> dict[str, str]:
    """Hash the waveforms in files, or the nervous system that is simulated."""
    from elegans_pyg.dynamics.waveforms import count_samples

    if settings.files is not None:
        return {"waveforms": waveform_hash(waveforms_of(settings))}
    count_samples(settings.dt_ms)
    return worm_hash()


def memory_of_runs(
    cell: str, hidden: int, inputs: int, outputs: int, batch_size: int, count: int, steps: int, scenarios: int = 1
) -> Memory:
    """Peak memory. Per run: parameters with Adam's moments and the best epoch's copy, and the states of one training step for a batch of
    training stimuli and the validation stimuli. For all: currents and voltages at every simulation step, in double precision."""
    from elegans_pyg.dynamics.waveforms import DURATION_MS, REST_MS, STEP_MS
    from elegans_pyg.nn.recurrent import GATES

    simulated = 8 * scenarios * count * round((REST_MS + DURATION_MS) / STEP_MS) * (3 * inputs + 2 * outputs)
    gates, sequences = GATES[cell] * hidden, scenarios * (min(batch_size, count // 2) + -(-count // 4))
    parameters = gates * (inputs + hidden + 1) + outputs * (hidden + 1)
    return Memory(simulated, 56 * parameters + 4 * sequences * steps * (inputs + gates + 4 * hidden + 6 * outputs))


def fit_rnn_memory(settings: FitRnnSettings, units: ep.studies.Units) -> Memory:
    from elegans_pyg.dynamics.waveforms import count_samples

    cell, hidden, batch_size = settings.cell, settings.hidden, settings.training.batch_size
    if settings.files is None:
        scenario, steps = ep.dynamics.SCENARIOS[settings.scenario], count_samples(settings.dt_ms)[1]
        return memory_of_runs(cell, hidden, len(scenario.input_names), len(scenario.outputs), batch_size, settings.count, steps)
    waveforms, inputs, outputs = waveforms_of(settings), len(settings.inputs), len(settings.outputs)
    return replace(memory_of_runs(cell, hidden, inputs, outputs, batch_size, len(waveforms), len(waveforms.time_ms)), fixed=0)


def replicas(cell: str, hidden: int, names: tuple[Sequence[str], Sequence[str]], shard: Shard) -> ep.models.ReducedOrder:
    """The runs of a shard as one untrained model; ``names`` are those of inputs and outputs."""
    seeds = shard.units["seed"].tolist()
    return ep.models.ReducedOrder(cell, *names, hidden, len(seeds), seeds)


def network(settings: FitRnnSettings, shard: Shard) -> ep.models.ReducedOrder:
    scenario = ep.dynamics.SCENARIOS[settings.scenario]
    names = (scenario.input_names, scenario.outputs) if settings.files is None else (settings.inputs, settings.outputs)
    return replicas(settings.cell, settings.hidden, names, shard)


def fit_replicas(shard: Shard, waveforms: ep.dynamics.Waveforms, cell: str, hidden: int, training: SequenceSettings) -> pd.DataFrame:
    """Fit the runs of a shard side by side, or resume from their checkpoint.

    Written to the shard's folder: ``model.safetensors`` and ``model.json`` (all runs, each with the parameters of its best epoch, see
    :meth:`~elegans_pyg.models.ReducedOrder.load`), ``history.csv``, ``outputs.csv`` (RMSE of each run and output on the test stimuli:
    ``rmse`` relative to the output's range over the training stimuli, NaN if it is constant there, and ``rmse_mV``), and ``fit.json``
    with the seconds of training. Added to the rows: ``best_epoch``, the RMSE ``train``, ``validation`` and ``test`` relative to the largest
    output range over the training stimuli, ``parameters``, and ``stopped``, the reason why a run was stopped; its errors are NaN.
    """
    import pandas as pd
    import torch

    from elegans_pyg.training.data import FitData
    from elegans_pyg.training.objective import SequenceRegression, epoch_table, replica_rmse

    runs, model = range(len(shard.units)), replicas(cell, hidden, (waveforms.input_names, waveforms.output_names), shard)
    model.set_scaling(*waveforms.scaling())
    parts = {split: waveforms.scaled(split) for split in SPLITS}
    count, data = len(parts["train"][0]), FitData(waveforms.scenario, parts["train"], parts["test"], parts["validation"])
    fit = ep.studies.fit_shard(shard, model, data, training.fit_settings(cell, count), SequenceRegression())
    steps = training.steps(count)
    rows = shard.units.assign(best_epoch=fit.tested_at // steps)
    with torch.no_grad():
        for split, (inputs, targets) in parts.items():
            predicted = model(inputs)
            rows[split] = replica_rmse(predicted, targets).tolist()
        # The last split is the test.
        in_mV = (predicted - targets).square().mean((1, 2)).sqrt() * model.output_scale
    rows["parameters"] = model.parameters_per_replica()
    rows["stopped"] = [fit.stopped.get(run, "") for run in runs]
    stopped = (rows["stopped"] != "").tolist()
    rows.loc[stopped, list(SPLITS)] = float("nan")
    in_mV[torch.tensor(stopped)] = float("nan")
    ranges = waveforms.ranges_mV()
    outputs = pd.DataFrame([(run, name) for run in runs for name in model.output_names], columns=["variant", "output"])
    outputs = outputs.assign(rmse=(in_mV / ranges.where(ranges > 0, torch.nan)).flatten().tolist(), rmse_mV=in_mV.flatten().tolist())
    history = epoch_table(fit.metrics, steps).rename(columns={"replica": "variant"}).drop(columns="seed")
    labels = shard.units[[name for name in ("family", "task", "seed") if name in shard.units]]
    shard.write("history.csv", history.join(labels, on="variant"))
    shard.write("outputs.csv", outputs.join(labels, on="variant"))
    model.save(shard.folder, dt_ms=waveforms.dt_ms, scenario=waveforms.scenario, waveforms=waveform_hash(waveforms))
    shard.write("fit.json", json.dumps({"seconds": fit.seconds}).encode())
    return rows


def seconds_of(folders: Iterable[Path]) -> float:
    """Seconds of training, summed over all shards and resumed parts."""
    return sum(float(json.loads((folder / "fit.json").read_bytes())["seconds"]) for folder in folders)


def traces(models: Mapping[str, ep.models.ReducedOrder], waveforms: ep.dynamics.Waveforms, outputs: Sequence[str]) -> Figure:
    """Draw the first test stimulus of each kind and scenario, and its prediction by the first run of each model; none is a best one."""
    import torch

    chosen: dict[tuple[Any, ...], int] = {}
    for row in waveforms.indices("test"):
        chosen.setdefault((waveforms.kind[row], *(waveforms.current_pA[row].abs().amax(0) > 0).tolist()), row)
    shown = list(chosen.values())[:SHOWN_STIMULI]
    columns = [waveforms.output_names.index(name) for name in outputs]
    current, voltage = waveforms.current_pA[shown], waveforms.voltage_mV[shown][..., columns]
    with torch.no_grad():
        predicted = {name: model.select(0).predict_mV(current)[0][..., columns] for name, model in models.items()}
    titles = [f"test: {waveforms.kind[row]}" for row in shown]
    figure = ep.plots.predicted_traces(waveforms.time_ms, current, voltage, predicted, waveforms.input_names, outputs, titles)
    return ep.plots.titled(figure, f"{', '.join(models)}, first run of each, first test stimulus of each kind")


def report(done: Finished[FitRnnSettings]) -> Report:
    """Report the errors by split and by output, loss curves and traces."""
    rows, name, first = done.rows, str(done.rows["family"].iloc[0]), done.shards[0]
    measured = [ep.studies.mean_and_sd(rows[split].mean(), rows[split].std(), 4) for split in SPLITS]
    runs = int(rows["test"].notna().sum())
    cells = (name, f"{rows['parameters'].iloc[0]:,}", str(runs), *measured, f"{seconds_of(done.shards):,.0f}")
    title = "RMSE, in units of the widest output's range over the training stimuli, mean ± SD"
    history, outputs = done.joined("history.csv"), done.joined("outputs.csv")
    found = []
    for output, own in outputs.dropna(subset=["rmse_mV"]).groupby("output", sort=False):
        share = f"{own['rmse'].mean():.2%} of its range" if own["rmse"].notna().all() else "and it is constant in training"
        found.append(f"test RMSE of {output}: {own['rmse_mV'].mean():.3f} mV, {share}")
    waveforms = waveforms_of(done.settings, first)
    # The model of a single shard is also written to the run folder.
    models = {file: (first / file).read_bytes() for file in ("model.safetensors", "model.json")} if len(done.shards) == 1 else {}
    losses = ep.plots.loss_curves({name: history.rename(columns={"variant": "replica"})})
    drawn = traces({name: ep.models.ReducedOrder.load(first)}, waveforms, waveforms.output_names[:SHOWN_OUTPUTS])
    return Report(
        [ep.studies.make_table(title, ("model", "parameters", "runs", *SPLITS, "seconds"), [cells]), ep.studies.bullets(found)],
        ep.studies.stopped_notes(rows, "Run"),
        {"history.csv": history, "outputs.csv": outputs, **models},
        {"losses": losses, "traces": drawn},
        {split: float(rows[split].mean()) for split in SPLITS if rows[split].notna().any()},
        answer=[f"Mean over {runs} runs: {'; '.join(found[:3])}. No hypothesis was tested."] if found else [],
    )


FIT_RNN: Study[FitRnnSettings] = Study(
    "fit-rnn",
    FitRnnSettings,
    fit_rnn_units,
    lambda own, shard: fit_replicas(shard, waveforms_of(own, shard.folder, shard.quiet), own.cell, own.hidden, own.training),
    report,
    data=what_is_learned,
    memory=fit_rnn_memory,
    network=network,
    predicts="voltages",
    score="test",
    text="""Fit a small recurrent network to the nervous system: voltages of a few neurons from currents into a few others.

    By default: ten GRUs of 4 units for forward crawling (fcm), 1,000 epochs, some minutes.""",
)
