"""Recurrent networks on the connectome and its nulls, trained through time: memory, NARMA, parity, and digits row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

import elegans_pyg as ep
from elegans_pyg._settings import Count, Names, Whole
from elegans_pyg.recipes.ensemble import REFERENCE, load_wiring
from elegans_pyg.recipes.task_comparison import arrows, compare_tasks
from elegans_pyg.studies.settings import CyclicFamilies, WiringSettings, check_some_unit, some_of, training_for
from elegans_pyg.studies.study import Finished, Memory, Report, Shard, Study
from elegans_pyg.training.settings import FitSettings

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from elegans_pyg.training.data import FitData

METRICS = {"memory": "memory capacity", "narma10": "NRMSE", "parity": "accuracy", "digits": "accuracy"}
"""The tasks and their scores."""
MARGINS = {"memory": 2.3, "narma10": 0.027, "parity": 0.096, "digits": 0.036}
"""Margins below which differences do not matter; registered before any run in docs/preregistration.md."""
OPTIONS: dict[str, dict[str, Any]] = {"memory": {"delays": 60}, "parity": {"order": 4, "delays": 20}}
"""Options of tasks; with the defaults, trained networks of any wiring solve them, as null wirings showed."""
PAUSE = 4
"""Blank steps after a digit's last row, so that it can reach the motor neurons."""
# Learning rate and batch size were chosen on null wirings only.
TRAINING: dict[str, Any] = {"batch_size": 8, "learning_rate": 0.03, "schedule": "cosine", "clip_norm": 1.0}
ITERATIONS, FEW = 1_000, 100


class TimeSettings(WiringSettings):
    """The tasks and the networks."""

    group: ClassVar[str] = "Tasks and networks"

    families: CyclicFamilies = Field(
        ("rewired", "type_rewired", "strength_rewired"), description="Families of nulls, such as rewired,er,ws."
    )
    seeds: Whole = Field(30, description="Runs of the connectome, each from its own initial parameters; 0 leaves it out.")
    variants: Count = Field(30, description="Wirings drawn from each family, each with the seed of a run of the connectome.")
    tasks: Annotated[Names, Field(min_length=1), some_of(METRICS)] = Field(tuple(METRICS), description=f"Tasks, of {', '.join(METRICS)}.")
    steps: Count = Field(100, description="Scored time steps of a sequence; for digits, the rows are the steps.")
    washout: Whole = Field(60, description="Time steps before these, in which the initial state is forgotten.")
    train: Count = Field(200, description="Training sequences; validation and test have a tenth as many each.")
    share: Literal["edge", "class", "type", "global"] = Field("edge", description="Level at which parameters are shared.")
    dale: bool = Field(True, description="Whether synapses keep their sign; GABAergic neurons inhibit.")
    readout: Literal["motor", "all"] = Field("motor", description="Neurons that the readout uses.")
    at_once: Count = Field(30, description="Networks trained side by side.")
    training: FitSettings = FitSettings(**TRAINING, **training_for({}, ITERATIONS))

    @model_validator(mode="after")
    def _used(self) -> TimeSettings:
        check_some_unit(self.seeds, self.families)
        fit = self.training
        if fit.precision == "bfloat16":
            raise ValueError("precision: recurrent networks compute in float32 or float64, got bfloat16; choose one of these")
        for name, unused, why in (
            ("weight_decay", 0.0, "it decays kernels and stacked matrices, and recurrent connectomes have none"),
            ("augment", "none", "it is for images, and the tasks are sequences"),
            ("data_order", "shared", "the networks trained together read the same sequences"),
        ):
            if getattr(fit, name) != unused:
                raise ValueError(f"{name}: expected {unused}, got {getattr(fit, name)}: {why}; leave it out")
        return self


def time_settings(given: Mapping[str, Any], quick: bool) -> TimeSettings:
    """The defaults, with the schedule scaled to the number of iterations given; ``quick``: fewer seeds, wirings and iterations."""
    short: dict[str, Any] = {"seeds": 6, "variants": 6} if quick else {}
    return TimeSettings(**short, training=FitSettings(**TRAINING, **training_for(dict(given), FEW if quick else ITERATIONS)))


@dataclass(frozen=True)
class Lesson:
    """A task as networks learn it: sequences with targets, the number of outputs, whether only the last step has an output, the objective,
    and a function from outputs ``(V, ...)`` for the test sequences to scores ``(V,)``."""

    data: FitData
    outputs: int
    last: bool
    objective: ep.training.Objective
    score: Callable[[Tensor], Tensor]


def time_units(settings: TimeSettings) -> ep.studies.Units:
    """For each task the connectome, then the wirings of each family. A wiring depends only on ``seed``, its family and its number. Wiring
    ``k`` of every family has the seed of the connectome's run ``k``, so that they share their initial parameters."""
    base = load_wiring(settings.connectome, settings)
    ep.studies.check_room(base, len(settings.families) * settings.variants, "variants")
    # Raise the model's errors before anything is drawn.
    _model(settings, [base], [0], _lesson(settings.tasks[0], *_lengths(settings)))
    wirings = []
    for family in (REFERENCE, *settings.families):
        drawn = ep.studies.drawings(base, family, settings.seed, settings.seeds if family == REFERENCE else settings.variants)
        for number, (row, graph) in enumerate(drawn):
            wirings.append(({**row, "seed": ep.studies.unit_seed(settings.seed, REFERENCE, number)}, graph))
    # The units of a shard are one model, and so have the same task.
    rows = [{**row, "task": task, "job": task} for task in settings.tasks for row, _ in wirings]
    return ep.studies.Units.build(rows, [graph for _ in settings.tasks for _, graph in wirings])


def time_memory(settings: TimeSettings, units: ep.studies.Units) -> Memory:
    """Count voltages of all steps of a batch, readouts with their gradients, and parameters with Adam's moments."""
    lessons = [_lesson(task, *_lengths(settings)) for task in settings.tasks]
    nodes, edges = (max(int(getattr(graph, name) or 0) for graph in units.wirings) for name in ("num_nodes", "num_edges"))
    most = 0
    for lesson in lessons:
        # A training step with the validation beside it, or all test sequences.
        beside = 0 if lesson.data.validation is None else len(lesson.data.validation[0])
        sequences = max(settings.training.batch_size + beside, len(lesson.data.test[0]))
        kept = sequences * lesson.data.train[0].size(1) * (3 * nodes + 6 * lesson.outputs)
        most = max(most, kept + 8 * (edges + nodes * (3 + lesson.outputs)))
    fixed = 4 * sum(part.numel() for lesson in lessons for pair in lesson.data.splits().values() for part in pair)
    return Memory(fixed, 4 * most)


def what_is_learned(settings: TimeSettings) -> dict[str, str]:
    """Hash the tasks' sequences."""
    from elegans_pyg._tensor_files import checksum

    found = {}
    for task in settings.tasks:
        splits = _lesson(task, *_lengths(settings)).data.splits()
        found[task] = checksum({f"{name}{place}": part for name, pair in splits.items() for place, part in enumerate(pair)}, task)
    return found


def network(settings: TimeSettings, shard: Shard) -> ep.models.ConnectomeRNN:
    """The shard's networks, untrained; raises ``ValueError`` if they are of several tasks."""
    name, *others = shard.units["task"].unique()
    if others:
        listed = ", ".join((name, *others))
        raise ValueError(f"task: networks of different tasks do not fit in one model ({listed}); choose one of these tasks")
    return _model(settings, shard.graphs(), shard.units["seed"].tolist(), _lesson(name, *_lengths(settings)))


def measure(settings: TimeSettings, shard: Shard) -> pd.DataFrame:
    """Train the shard's networks side by side, and score them on the test sequences."""
    import torch

    lesson, model = _lesson(shard.units["task"].iloc[0], *_lengths(settings)), network(settings, shard)
    fitted = ep.studies.fit_shard(shard, model, lesson.data, settings.training, lesson.objective)
    rows = ep.studies.fitted_rows(shard, fitted, model).drop(columns=list(lesson.objective.score_names))
    with torch.no_grad():
        own = next(model.parameters())
        rows["score"] = lesson.score(model(lesson.data.test[0].to(own)).cpu()).numpy()
    rows.loc[rows["stopped"] != "", "score"] = float("nan")
    return rows


def _model(settings: TimeSettings, graphs: list[Any], seeds: list[int], lesson: Lesson) -> ep.models.ConnectomeRNN:
    options: dict[str, Any] = {name: getattr(settings, name) for name in ("share", "dale", "readout")}
    return ep.models.ConnectomeRNN(graphs, lesson.data.train[0].size(2), lesson.outputs, last=lesson.last, seeds=seeds, **options)


def _lengths(settings: TimeSettings) -> tuple[int, int, int, int]:
    return settings.seed, settings.washout, settings.steps, settings.train


@lru_cache(maxsize=len(METRICS))
def _lesson(name: str, seed: int, washout: int, steps: int, train: int) -> Lesson:
    if name == "digits":
        return _digits()
    import torch

    from elegans_pyg.training.data import FitData
    from elegans_pyg.training.objective import SequenceRegression

    held_out = max(train // 10, 1) * steps
    task = ep.datasets.sequence_task(name, seed, washout, train * steps, held_out, held_out, **OPTIONS.get(name, {}))

    def windows(part: slice) -> tuple[Tensor, Tensor]:
        """Sequences that tile a segment, each with its washout steps before it."""
        rows = torch.arange(part.start, part.stop, steps)[:, None] + torch.arange(-washout, steps)
        return task.inputs[rows].float(), task.targets[rows].float()

    data = FitData(name, windows(task.train), windows(task.test), windows(task.validation))
    objective = SequenceRegression(washout=washout)
    return Lesson(data, task.targets.size(1), False, objective, lambda out: task.score(out[:, :, washout:].flatten(1, 2), task.test))


def _digits() -> Lesson:
    """Digits as sequences: the eight rows are the steps, and the columns the features."""
    from torch.nn.functional import pad

    from elegans_pyg.training.data import FitData
    from elegans_pyg.training.objective import Classification, scale_pixels

    images = ep.datasets.load_images("digits", quiet=True)

    def rows(pixels: Tensor) -> Tensor:
        return pad(scale_pixels(pixels[:, 0], "float32"), (0, 0, 0, PAUSE))

    train, test = (rows(images.train_images), images.train_labels), (rows(images.test_images), images.test_labels)
    data = FitData("digits", train, test, classes=tuple(images.classes))
    return Lesson(data, len(images.classes), True, Classification(), lambda out: (out.argmax(2) == images.test_labels).double().mean(1))


def report(done: Finished[TimeSettings]) -> Report:
    """Compare the families with the connectome by task."""
    settings, rows, full = done.settings, done.rows, TimeSettings()
    metrics = {task: METRICS[task] for task in settings.tasks}
    compared = compare_tasks(rows, metrics, MARGINS)
    notes = [
        f"Sensory neurons get the input, {settings.readout} neurons are read. Wiring k of every family starts from the seed of the"
        " connectome's run k. Nothing is chosen by validation or test sequences, and the test sequences are scored once.",
        "Margins are those of docs/preregistration.md. Holm's correction covers the families of a task, not the tasks.",
        *ep.studies.stopped_notes(rows),
    ]
    if settings.training.iterations < full.training.iterations or settings.variants < full.variants:
        short = (
            f"{settings.variants} of {full.variants} wirings per family, {settings.training.iterations:,} of {full.training.iterations:,}"
        )
        notes.append(f"Shortened: {short} iterations.")
    return Report(
        compared.tables,
        notes,
        {"metrics.csv": done.joined("metrics.csv"), **compared.files},
        {"scores": ep.plots.task_scores(rows.dropna(subset=["score"]), arrows(metrics), REFERENCE if settings.seeds else None)},
        compared.findings,
        comparisons=compared.comparisons,
        dots=compared.dots,
    )


TIME_TASKS: Study[TimeSettings] = Study(
    "reproduce time-tasks",
    TimeSettings,
    time_units,
    measure,
    report,
    data=what_is_learned,
    memory=time_memory,
    network=network,
    predicts="outputs",
    base=time_settings,
    score="score",
    metrics=METRICS,
    margins=MARGINS,
    shard_size=lambda settings: settings.at_once,
    text="""Recurrent networks trained through time: memory, NARMA, parity and digits row by row, by family.

    By default: the hermaphrodite with 30 seeds and 30 wirings each of rewired, type_rewired and strength_rewired, under an hour on 2 cores.
    Connectome and nulls share their initial parameters, after Dhiman (2026), arXiv:2604.04033.""",
    quick=f"6 seeds, 6 wirings per family, {FEW} iterations: under 90 seconds.",
)
