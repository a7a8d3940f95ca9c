"""Echo-state networks on the connectome and on its controls: memory and other tasks in time, over spectral radius and leak."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text
from torch_geometric.data import Batch, Data

from elegans_pyg import plots
from elegans_pyg.analysis import Comparison, compare
from elegans_pyg.datasets import Connectome, SequenceTask, sequence_task
from elegans_pyg.datasets.sequences import METRICS, SEQUENCE_TASKS
from elegans_pyg.models import Reservoir, RidgeReadout
from elegans_pyg.models.reservoir import READOUTS
from elegans_pyg.recipes import environment
from elegans_pyg.recipes.config import absolute, read_settings
from elegans_pyg.recipes.run import say
from elegans_pyg.recipes.run_folder import RunFolder
from elegans_pyg.transforms import FAMILIES

CHUNK = 5
"""Variants whose states are held at once; after each chunk the sweep is saved."""

SWEEP_COLUMNS = ("variant", "family", "wiring_seed", "seed", "wiring_radius", "task", "radius", "leak", "validation", "test")
_LISTS = ("families", "tasks", "radii", "leaks")


@dataclass(frozen=True)
class EchoConfig:
    """Everything that repeats a sweep.

    Args:
        connectome: name from :meth:`~elegans_pyg.datasets.Connectome.names`, or a file that
            :meth:`~elegans_pyg.datasets.Connectome.from_files` reads.
        neuron_table: CSV file with the neuron types of a ``connectome`` given as an edge list.
        synapses: ``"chemical"``, ``"electrical"`` or ``"both"``.
        families: families of control wirings; ``random_dag`` is none here, since no activity returns in a DAG.
        variants: wirings drawn from each family, and runs of the connectome, which differ in input weights and biases.
        seed: start of all seeds: wirings, input weights and biases, sequences.
        tasks: names from :data:`~elegans_pyg.datasets.sequences.SEQUENCE_TASKS`.
        radii, leaks: the grid.
        train: time steps to learn from; a third of it is for validation, two thirds are for the test.
        readout, signed, input_scale, bias_scale: of :class:`~elegans_pyg.models.Reservoir`.

    Raises:
        TypeError: if a field has the wrong type.
        ValueError: if a field is out of range or names an unknown choice.
    """

    connectome: str = "cook2019-hermaphrodite"
    neuron_table: str | None = None
    synapses: str = "chemical"
    families: tuple[str, ...] = ("ws", "er", "ba", "rewired")
    variants: int = 30
    seed: int = 0
    tasks: tuple[str, ...] = tuple(SEQUENCE_TASKS)
    radii: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4)
    leaks: tuple[float, ...] = (1.0, 0.5)
    train: int = 1_500
    readout: str = "motor"
    signed: bool = True
    input_scale: float = 0.3
    bias_scale: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (("variants", 1), ("seed", 0), ("train", 30)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name}: expected a whole number, got {value!r}; give one of at least {least}")
            if value < least:
                raise ValueError(f"{name}: expected at least {least}, got {value}; raise it")
        for name in ("input_scale", "bias_scale"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name}: expected a number, got {value!r}; write it in digits")
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name}: expected a finite number of at least 0, got {value}; change it")
        if not isinstance(self.signed, bool):
            raise TypeError(f"signed: expected true or false, got {self.signed!r}; write one of them")
        for name in _LISTS:
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, list | tuple):
                raise TypeError(f"{name}: expected a list, got {value!r}; write it as [{', '.join(map(str, value[:2]))}]")
            if len(set(value)) < len(value) or (not value and name != "families"):
                raise ValueError(f"{name}: expected each value once and at least one, got {list(value)}; mend the list")
            object.__setattr__(self, name, tuple(value))
        # A DAG has no spectral radius to scale.
        known = [name for name, family in FAMILIES.items() if family.rewiring is not None]
        for name, choices in (("families", known), ("tasks", list(SEQUENCE_TASKS)), ("readout", list(READOUTS))):
            given = getattr(self, name)
            for value in [given] if isinstance(given, str) else given:
                if value not in choices:
                    raise ValueError(f"{name}: unknown choice {value!r}; choose from {', '.join(choices)}")
        for name in ("radii", "leaks"):
            most = 1.0 if name == "leaks" else float("inf")
            for value in getattr(self, name):
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise TypeError(f"{name}: expected numbers, got {value!r}; write them in digits")
                if not 0 < value <= most or value == float("inf"):
                    raise ValueError(
                        f"{name}: expected numbers above 0{' and at most 1' if name == 'leaks' else ''}, got {value}; change it"
                    )

    def with_absolute_paths(self) -> EchoConfig:
        """The same settings with every file that is there named in full, so that they repeat the run from anywhere."""
        table = None if self.neuron_table is None else absolute(self.neuron_table)
        return replace(self, connectome=absolute(self.connectome, Connectome.names()), neuron_table=table)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> EchoConfig:
        """Settings left out keep their defaults.

        Raises:
            ValueError: if a key is no setting; the message lists the settings.
        """
        names = [item.name for item in fields(cls)]
        unknown = [str(key) for key in settings if key not in names]
        if unknown:
            raise ValueError(f"settings: unknown key {', '.join(map(repr, unknown))}; choose from {', '.join(names)}")
        return cls(**settings)


@dataclass(frozen=True)
class EchoResult:
    """What a sweep ends in.

    Attributes:
        config: the settings.
        sweep: one row a variant, task and grid point, :data:`SWEEP_COLUMNS`: the metric on the validation and on the test segment.
        results: one row a variant and task: the grid point that its validation segment chose, and ``score``, its metric on the test
            segment.
        comparisons: by task, the families against the connectome; empty without families.
        notes: what a reader has to know.
        seconds: spent on the sweep, by this call.
        out: the run folder.
        figures: the figures' files, without their suffixes.
    """

    config: EchoConfig
    sweep: pd.DataFrame
    results: pd.DataFrame
    comparisons: dict[str, Comparison]
    notes: list[str]
    seconds: float
    out: Path | None
    figures: list[Path]

    def tables(self) -> list[Table]:
        """For the terminal: scores by task, and memory capacity by spectral radius where it was measured."""
        families = list(dict.fromkeys(self.results["family"]))
        scores = Table(title="Test score, mean ± SD over variants", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
        for heading in ("task", "metric", *families):
            scores.add_column(heading, justify="left" if heading in ("task", "metric") else "right")
        for task in self.config.tasks:
            metric = SEQUENCE_TASKS[task][1]
            groups = self.results[self.results["task"] == task].groupby("family")["score"]
            scores.add_row(task, f"{metric} {_arrow(metric)}", *(_mean(groups.get_group(family)) for family in families))
        tables = [scores]
        if self.comparisons:
            against = Table(
                title="Difference from the connectome (permutation p, Holm's correction over families)",
                title_justify="left",
                box=box.SIMPLE_HEAD,
                padding=(0, 1),
            )
            for heading in ("task", *families[1:]):
                against.add_column(heading, justify="left" if heading == "task" else "right")
            for task, comparison in self.comparisons.items():
                rows = {row["family"]: row for row in comparison.to_dict()["families"]}
                against.add_row(task, *(_difference(rows[family]) for family in families[1:]))
            tables.append(against)
        if "memory" not in self.config.tasks:
            return tables
        memory = Table(
            title="Memory capacity by spectral radius, mean ± SD over variants (test segment)",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1),
        )
        for heading in ("leak", "radius", *families):
            memory.add_column(heading, justify="right")
        points = self.sweep[self.sweep["task"] == "memory"]
        for leak in self.config.leaks:
            for radius in self.config.radii:
                groups = points[(points["radius"] == radius) & (points["leak"] == leak)].groupby("family")["test"]
                memory.add_row(f"{leak:g}", f"{radius:g}", *(_mean(groups.get_group(family)) for family in families))
        return [*tables, memory]


class EchoFolder(RunFolder):
    """The folder of a sweep: ``config.yaml``, ``sweep.csv``, ``results.csv``, ``comparisons.md``,
    ``summary.json`` and ``figures/``."""

    def write_settings(self, config: EchoConfig) -> None:
        content = {name: list(value) if name in _LISTS else value for name, value in asdict(config).items()}
        head = "# Settings of: elegans-pyg reproduce elegans-echo\n"
        self._write("config.yaml", (head + yaml.safe_dump(content, sort_keys=False, default_flow_style=None)).encode())

    def read_settings(self) -> EchoConfig:
        if not (self.path / "config.yaml").is_file():
            raise FileNotFoundError(f"out: {self.path} holds no run, it has no config.yaml; give a folder that a run was written to")
        return EchoConfig.from_dict(read_settings(self.path / "config.yaml"))

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        self._write(name, table.to_csv(index=False).encode())

    def read_sweep(self) -> pd.DataFrame:
        """What has been measured so far."""
        if not (self.path / "sweep.csv").is_file():
            return pd.DataFrame(columns=list(SWEEP_COLUMNS))
        table = self._read_table("sweep.csv", SWEEP_COLUMNS)
        return table.astype({name: float for name in ("wiring_radius", "radius", "leak", "validation", "test")})

    def write_comparisons(self, comparisons: Mapping[str, Comparison]) -> None:
        parts = [f"## {comparison.value}\n\n{comparison.to_markdown()}" for comparison in comparisons.values()]
        self._write("comparisons.md", "\n".join(parts).encode())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        self._write("summary.json", (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())


def echo_variants(config: EchoConfig) -> tuple[list[Data], pd.DataFrame]:
    """The cyclic wirings of a sweep, and one row each: ``variant``, ``family``, ``wiring_seed``, ``seed``.

    The connectome comes first, ``variants`` times. A wiring depends on ``seed``, its family and its number alone, as in a
    :class:`~elegans_pyg.datasets.WiringEnsemble`; the same number seeds its input weights and biases.
    """
    path = Path(config.connectome).expanduser()
    if config.connectome in Connectome.names() or not (path.exists() or path.suffix):
        base = Connectome(config.connectome, synapses=config.synapses)[0]
    else:
        base = Connectome.from_files(path, neurons=config.neuron_table, synapses=config.synapses)
    graphs: list[Data] = []
    rows = []
    for family in ("connectome", *config.families):
        rewiring = FAMILIES[family].rewiring
        for number in range(config.variants):
            seed = int(np.random.SeedSequence([config.seed, zlib.crc32(family.encode()), number]).generate_state(1)[0])
            graphs.append(base if rewiring is None else rewiring(seed=seed)(base))
            rows.append((family, 0 if rewiring is None else seed, seed))
    variants = pd.DataFrame(rows, columns=["family", "wiring_seed", "seed"])
    variants.insert(0, "variant", range(len(variants)))
    return graphs, variants


def sweep_chunk(
    graphs: Sequence[Data], variants: pd.DataFrame, tasks: Sequence[SequenceTask], config: EchoConfig, progress: Progress | None = None
) -> pd.DataFrame:
    """Measure some variants at every grid point: the tasks run side by side as sequences, and each has its own readout.

    Args:
        graphs: their wirings.
        variants: one row each.
        tasks: of equal lengths.
        config: grid and settings of the reservoirs.
        progress: a bar whose first task is moved on.
    """
    reservoir = Reservoir(
        Batch.from_data_list(list(graphs)),
        input_scale=config.input_scale,
        bias_scale=config.bias_scale,
        signed=config.signed,
        readout=config.readout,
        seeds=variants["seed"].tolist(),
        dtype=torch.float64,
    )
    inputs = torch.stack([task.inputs for task in tasks])
    parts = []
    for radius in config.radii:
        for leak in config.leaks:
            states = reservoir.with_settings(radius=radius, leak=leak)(inputs)
            for number, task in enumerate(tasks):
                x, y = states[:, number], task.targets
                readout = RidgeReadout.select(x[:, task.train], y[task.train], x[:, task.validation], y[task.validation])
                parts.append(
                    variants.assign(
                        wiring_radius=reservoir.wiring_radius.numpy(),
                        task=task.name,
                        radius=radius,
                        leak=leak,
                        validation=task.score(readout(x[:, task.validation]), task.validation).numpy(),
                        test=task.score(readout(x[:, task.test]), task.test).numpy(),
                    )
                )
            if progress is not None:
                progress.advance(progress.task_ids[0], len(variants))
    return pd.concat(parts, ignore_index=True)


def choose_by_validation(sweep: pd.DataFrame) -> pd.DataFrame:
    """Of each variant and task, the grid point that is best on the validation segment (of equal ones, the first), with the test segment's
    metric as ``score``."""
    signs = sweep["task"].map(lambda task: 1.0 if METRICS[SEQUENCE_TASKS[task][1]][1] else -1.0)
    best = (signs * sweep["validation"]).groupby([sweep["task"], sweep["variant"]], sort=False).idxmax()
    return sweep.loc[best].rename(columns={"test": "score"}).reset_index(drop=True)


def run_echo(config: EchoConfig, out: str | Path | None = None, *, resume: bool = False, quiet: bool = False) -> EchoResult:
    """Sweep all variants over the grid, choose each one's grid point on its validation segment, and compare families on the test segment.

    Args:
        config: the settings; a resumed run goes on with its own.
        out: run folder; ``None`` writes nothing.
        resume: go on with the run in ``out``, from the last variants that were saved.
        quiet: no progress.

    Raises:
        ValueError, TypeError: if the settings do not fit together.
        OSError: if a file cannot be read or written.
    """
    folder = None if out is None else EchoFolder(out)
    if resume and folder is None:
        raise ValueError("out: expected the folder of the run to resume, got none; give it")
    if folder is not None:
        if resume:
            config = folder.read_settings()
        else:
            folder.check_unused()
    config = config.with_absolute_paths()
    lengths = {"train": config.train, "validation": max(config.train // 3, 2), "test": max(2 * config.train // 3, 2)}
    tasks = [sequence_task(name, config.seed, **lengths) for name in config.tasks]
    graphs, variants = echo_variants(config)
    if folder is not None and not resume:
        folder.write_settings(config)
    sweep = folder.read_sweep() if folder is not None and resume else pd.DataFrame(columns=list(SWEEP_COLUMNS))
    _check_sweep(sweep, variants, config, folder)
    done = set(sweep["variant"])
    todo = [number for number in range(len(graphs)) if number not in done]
    points = len(config.radii) * len(config.leaks)
    if not quiet:
        counts = ", ".join(f"{count} {family}" for family, count in variants["family"].value_counts(sort=False).items())
        say(f"{len(variants)} variants ({counts}), {points} settings each, {len(tasks)} tasks; {len(done)} variants done before")
    started = time.monotonic()
    console = Console(stderr=True)
    with Progress(console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        progress.add_task("sweep", total=len(graphs) * points, completed=len(done) * points)
        for first in range(0, len(todo), CHUNK):
            chunk = todo[first : first + CHUNK]
            try:
                rows = sweep_chunk([graphs[number] for number in chunk], variants.iloc[chunk], tasks, config, progress)
            except (ValueError, TypeError):
                if folder is not None and sweep.empty:
                    # Wirings that reservoirs refuse would otherwise leave a folder behind that is neither empty nor a run.
                    folder.discard_start()
                raise
            sweep = rows if sweep.empty else pd.concat([sweep, rows], ignore_index=True)
            if folder is not None:
                folder.write_table("sweep.csv", sweep)
            if not quiet and not console.is_terminal and (first // CHUNK) % 5 == 4:
                say(f"{len(done) + first + len(chunk)}/{len(graphs)} variants, {time.monotonic() - started:.0f} s")
    seconds = time.monotonic() - started

    results = choose_by_validation(sweep)
    comparisons = {task.name: _compare(results, task.name) for task in tasks} if config.families else {}
    notes = _notes(config, tasks, results, sweep)
    figures: list[Path] = []
    if folder is not None:
        folder.write_table("results.csv", results)
        if comparisons:
            folder.write_comparisons(comparisons)
        folder.write_summary(
            {
                "versions": environment.versions(),
                "device": environment.device_name(torch.device("cpu")),
                "variants": len(variants),
                "seconds": round(seconds, 1),
                "comparisons": {task: comparison.to_dict() for task, comparison in comparisons.items()},
                "notes": notes,
            }
        )
        figures = _draw(folder, sweep, results, config)
    return EchoResult(config, sweep, results, comparisons, notes, seconds, None if folder is None else folder.path, figures)


def _check_sweep(sweep: pd.DataFrame, variants: pd.DataFrame, config: EchoConfig, folder: EchoFolder | None) -> None:
    """Refuse what was measured with other settings than these."""
    known = sweep.merge(variants, on=list(variants.columns))
    grid = pd.MultiIndex.from_product([config.tasks, map(float, config.radii), map(float, config.leaks)])
    whole = sweep.groupby("variant").size().eq(len(grid)).all()
    measured = pd.MultiIndex.from_frame(sweep[["task", "radius", "leak"]]).unique()
    if len(known) != len(sweep) or not whole or not measured.isin(grid).all():
        path = None if folder is None else folder.path
        raise ValueError(f"out: sweep.csv in {path} was measured with other settings than config.yaml has; put them back, or begin anew")


def _compare(results: pd.DataFrame, task: str) -> Comparison:
    metric = SEQUENCE_TASKS[task][1]
    value = metric if task in metric else f"{task} {metric}"
    rows = results[results["task"] == task].rename(columns={"score": value})
    return compare(rows, value=value, share=metric == "accuracy")


def _draw(folder: EchoFolder, sweep: pd.DataFrame, results: pd.DataFrame, config: EchoConfig) -> list[Path]:
    folder.figures.mkdir(parents=True, exist_ok=True)
    metrics = {task: SEQUENCE_TASKS[task][1] for task in config.tasks}
    figures = {task: plots.sweep_curves(sweep[sweep["task"] == task], "test", metric) for task, metric in metrics.items()}
    figures["scores"] = plots.task_scores(results, {task: f"{metric} {_arrow(metric)}" for task, metric in metrics.items()})
    for name, figure in figures.items():
        plots.save(figure, folder.figures / name)
    return [folder.figures / name for name in figures]


def _notes(config: EchoConfig, tasks: Sequence[SequenceTask], results: pd.DataFrame, sweep: pd.DataFrame) -> list[str]:
    full = EchoConfig()
    task = tasks[0]
    notes = [
        "No published numbers stand beside these: the 'echo' version of ElegansNet is a frozen tensor network, not an echo-state network.",
        f"Inputs reach the sensory neurons, {config.readout} neurons are read; every wiring is scaled to the same"
        " spectral radius. Radius, leak and ridge penalty are chosen on the validation segment, of each variant and task apart; the test"
        " segment is scored once with them. The tables and figures over the grid show the test segment at every point, and choose nothing.",
        f"{task.train.stop - task.train.start:,} training, {task.validation.stop - task.validation.start:,} validation and"
        f" {task.test.stop - task.test.start:,} test steps; every variant sees the same sequences.",
    ]
    for name, measure in METRICS.items():
        if name in {task.metric for task in tasks}:
            notes.append(f"{name}: {measure[0]}; {'more' if measure[1] else 'less'} is better.")
    if config.families and len(tasks) > 1:
        notes.append("Holm's correction covers the families of a task, not the tasks.")
    radius = sweep.drop_duplicates("variant").groupby("family", sort=False)["wiring_radius"].mean()
    notes.append("Spectral radius before scaling, mean: " + ", ".join(f"{family} {value:.1f}" for family, value in radius.items()) + ".")
    for name in config.tasks:
        chosen = results.loc[results["task"] == name, "radius"]
        edge = int((chosen == max(config.radii)).sum())
        if len(config.radii) > 1 and 2 * edge > len(chosen):
            notes.append(
                f"{name}: {edge} of {len(chosen)} variants chose the largest radius of the grid; a larger one may suit them better."
            )
    if config.variants < full.variants or config.train < full.train or len(config.radii) * len(config.leaks) < 14:
        notes.append(
            f"Shortened: {config.variants} of {full.variants} variants a family, {len(config.radii) * len(config.leaks)} of"
            f" {len(full.radii) * len(full.leaks)} settings, {config.train:,} of {full.train:,} training steps."
        )
    return notes


def _arrow(metric: str) -> str:
    """Which way is better."""
    return "↑" if METRICS[metric][1] else "↓"


def _mean(values: pd.Series) -> Text:
    digits = 3 if abs(values.mean()) < 1 else 2
    spread = "" if len(values) < 2 else f" ± {values.std():.{digits}f}"
    return Text(f"{values.mean():.{digits}f}{spread}")


def _difference(row: Mapping[str, Any]) -> Text:
    p = row["p_holm"]
    digits = 3 if abs(row["mean"]) < 1 else 2
    return Text(f"{row['difference']:+.{digits}f}" + ("" if p is None else f" ({p:.3f})" if p >= 0.001 else f" ({p:.0e})"))
