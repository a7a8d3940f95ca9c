"""Echo-state networks on the connectome and its nulls: memory and other tasks in time, by spectral radius and leak."""

from __future__ import annotations

import math
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

import elegans_pyg as ep
from elegans_pyg._settings import LARGEST, Count, Names, Numbers
from elegans_pyg.recipes.ensemble import REFERENCE, load_wiring
from elegans_pyg.recipes.task_comparison import arrows, compare_tasks, family_means
from elegans_pyg.studies.settings import CyclicFamilies, WiringSettings, some_of
from elegans_pyg.studies.study import WEIGHTS, Finished, Memory, Report, Shard, Study

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
    from torch_geometric.data import Data

METRICS = {"memory": "memory capacity", "narma10": "NRMSE", "mackey-glass": "NRMSE", "lorenz": "NRMSE", "parity": "accuracy"}
"""The tasks and their scores."""
MARGINS = {"memory": 0.4, "narma10": 0.005, "parity": 0.012}
"""Margins below which differences do not matter; registered before the run in docs/preregistration.md."""
CHUNK = 5
"""Wirings whose states are in memory at once."""
WIRING = ["family", "wiring_seed", "seed"]
"""Columns that identify a reservoir; each reservoir learns every task."""


def _between(most: float, numbers: tuple[float, ...]) -> tuple[float, ...]:
    for number in numbers:
        if not 0 < number <= most:
            raise ValueError(f"expected numbers above 0{f' and at most {most:g}' if most < math.inf else ''}, got {number:g}; change it")
    return numbers


class EchoSettings(WiringSettings):
    """A sweep over spectral radius and leak."""

    group: ClassVar[str] = "Sweep and tasks"

    families: CyclicFamilies = Field(("ws", "er", "ba", "rewired"), description="Families of nulls.")
    variants: Count = Field(30, description="Wirings drawn from each family, and runs of the connectome with different input weights.")
    tasks: Annotated[Names, Field(min_length=1), some_of(METRICS)] = Field(tuple(METRICS), description=f"Tasks, of {', '.join(METRICS)}.")
    radii: Annotated[Numbers, Field(min_length=1), AfterValidator(partial(_between, math.inf))] = Field(
        (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4), description="Spectral radii of the grid."
    )
    leaks: Annotated[Numbers, Field(min_length=1), AfterValidator(partial(_between, 1.0))] = Field(
        (1.0, 0.5), description="Leak rates of the grid; 1 means no leak."
    )
    train: Annotated[int, Field(ge=30, le=LARGEST)] = Field(
        1_500, description="Training time steps; validation has a third as many, the test two thirds."
    )
    readout: Literal["motor", "all"] = Field("motor", description="Neurons that the readout uses.")
    signed: bool = Field(True, description="Whether GABAergic neurons inhibit.")
    input_scale: float = Field(0.3, ge=0, description="Bound of the input weights.")
    bias_scale: float = Field(0.1, ge=0, description="Bound of the biases.")


def echo_units(settings: EchoSettings) -> ep.studies.Units:
    """The connectome first, ``variants`` times, then the cyclic wirings of each family; the tasks of a wiring follow each other. A wiring
    and its input weights depend only on ``seed``, its family and its number, as in a :class:`~elegans_pyg.datasets.WiringEnsemble`."""
    base = load_wiring(settings.connectome, settings)
    ep.studies.check_room(base, len(settings.families) * settings.variants, "variants")
    # Raise the reservoirs' errors before anything is drawn.
    _reservoir(settings, [base], [0])
    families = (REFERENCE, *settings.families)
    wirings = [each for family in families for each in ep.studies.drawings(base, family, settings.seed, settings.variants)]
    rows = [{**row, "task": task} for row, _ in wirings for task in settings.tasks]
    return ep.studies.Units.build(rows, [graph for _, graph in wirings for _ in settings.tasks])


def echo_memory(settings: EchoSettings, units: ep.studies.Units) -> Memory:
    """Count states in float64 with the copies that a ridge regression makes of them, and inputs and targets of all tasks."""
    steps = 2 * settings.train + 200
    nodes = max(int(graph.num_nodes or 0) for graph in units.wirings)
    return Memory(8 * steps * 150 * len(settings.tasks), 8 * steps * 4 * nodes)


def measure(settings: EchoSettings, shard: Shard) -> pd.DataFrame:
    """Score a shard's wirings at every grid point: the tasks run side by side as sequences, and each has its own readout. ``sweep.csv``
    has the scores of both segments at every point; :func:`choose_by_validation` picks each unit's point, whose readout is saved."""
    import pandas as pd
    import torch

    from elegans_pyg._tensor_files import write_tensors

    wirings, graphs = shard.units.drop_duplicates(WIRING), shard.graphs()
    reservoir = _reservoir(settings, [graphs[place] for place in wirings.index], wirings["seed"].tolist())
    tasks = [_task(name, settings.seed, settings.train) for name in shard.units["task"].unique()]
    inputs = torch.stack([task.inputs for task in tasks])
    parts, readouts = [], {}
    for radius, leak in product(settings.radii, settings.leaks):
        states = reservoir.with_settings(radius=radius, leak=leak)(inputs)
        for number, task in enumerate(tasks):
            x, y = states[:, number], task.targets
            readout = ep.models.RidgeReadout.select(x[:, task.train], y[task.train], x[:, task.validation], y[task.validation])
            segments = {"validation": task.validation, "test": task.test}
            scores = {name: task.score(readout(x[:, part]), part).numpy() for name, part in segments.items()}
            point = {"task": task.name, "wiring_radius": reservoir.wiring_radius.numpy(), "radius": radius, "leak": leak}
            parts.append(wirings[WIRING].assign(**point, **scores))
            readouts[task.name, radius, leak] = readout
    own = shard.units[[*WIRING, "task"]].reset_index(names="variant")
    sweep = own.merge(pd.concat(parts, ignore_index=True), on=[*WIRING, "task"], how="left")
    shard.write("sweep.csv", sweep)
    best = choose_by_validation(sweep).set_index("variant")
    numbers = {key: number for number, key in enumerate(wirings[WIRING].itertuples(index=False, name=None))}
    weights: dict[str, Tensor] = {}
    for place, row in best.iterrows():
        number, readout = numbers[tuple(row[WIRING])], readouts[row["task"], row["radius"], row["leak"]]
        weights |= {f"{place}/{name}": getattr(readout, name)[number, None].contiguous() for name in ("weight", "intercept")}
        weights |= {f"{place}/reservoir.{name}": torch.tensor([row[name]], dtype=torch.float64) for name in ("radius", "leak")}
    write_tensors(shard.folder / WEIGHTS, weights, {})
    return shard.units.join(best[["wiring_radius", "radius", "leak", "validation", "score"]])


def choose_by_validation(sweep: pd.DataFrame) -> pd.DataFrame:
    """Choose, for each variant and task, the grid point with the best validation score (the first of equal ones), with its test score as
    ``score``."""
    from elegans_pyg.datasets import sequences

    signs = sweep["task"].map(lambda task: 1.0 if sequences.METRICS[METRICS[task]][1] else -1.0)
    best = (signs * sweep["validation"]).groupby([sweep["task"], sweep["variant"]], sort=False).idxmax()
    return sweep.loc[best].rename(columns={"test": "score"}).reset_index(drop=True)


def network(settings: EchoSettings, shard: Shard) -> ep.models.EchoStateNetwork:
    """The shard's reservoirs with untrained readouts; raises ``ValueError`` if they are of several tasks."""
    name, *others = shard.units["task"].unique()
    if others:
        listed = ", ".join((name, *others))
        raise ValueError(f"task: readouts of different tasks do not fit in one model ({listed}); choose one of these tasks")
    reservoir = _reservoir(settings, shard.graphs(), shard.units["seed"].tolist())
    return ep.models.EchoStateNetwork(reservoir, _task(name, settings.seed, settings.train).targets.size(1))


def _reservoir(settings: EchoSettings, graphs: list[Data], seeds: list[int]) -> Any:
    import torch

    options = {name: getattr(settings, name) for name in ("input_scale", "bias_scale", "signed", "readout")}
    return ep.models.Reservoir(graphs, seeds=seeds, dtype=torch.float64, **options)


@lru_cache(maxsize=len(METRICS))
def _task(name: str, seed: int, train: int) -> ep.datasets.SequenceTask:
    return ep.datasets.sequence_task(name, seed, train=train, validation=max(train // 3, 2), test=max(2 * train // 3, 2))


def report(done: Finished[EchoSettings]) -> Report:
    """Compare the families with the connectome by task, and show memory capacity by spectral radius."""
    settings, rows, sweep = done.settings, done.rows, done.joined("sweep.csv")
    metrics = {task: METRICS[task] for task in settings.tasks}
    compared = compare_tasks(rows, metrics, MARGINS)
    if "memory" in settings.tasks:
        families = list(dict.fromkeys(rows["family"]))
        grid = sweep[sweep["task"] == "memory"].groupby(["leak", "radius"], sort=False)
        capacity = [(f"{leak:g}", f"{radius:g}", *family_means(table, "test", families)) for (leak, radius), table in grid]
        title = "Memory capacity by spectral radius, mean ± SD over variants (test segment)"
        compared.tables.append(ep.studies.make_table(title, ("leak", "radius", *families), capacity, left=0))
    figures = {
        task: ep.plots.titled(ep.plots.sweep_curves(sweep[sweep["task"] == task], "test", metric), f"{task}, test segment")
        for task, metric in metrics.items()
    }
    return Report(
        compared.tables,
        _notes(settings, rows, set(metrics.values())),
        {"sweep.csv": sweep, **compared.files},
        {**figures, "scores": ep.plots.task_scores(rows, arrows(metrics))},
        compared.findings,
        comparisons=compared.comparisons,
        dots=compared.dots,
    )


def _notes(settings: EchoSettings, rows: pd.DataFrame, metrics: set[str]) -> list[str]:
    from elegans_pyg.datasets import sequences

    full, task = EchoSettings(), _task(settings.tasks[0], settings.seed, settings.train)
    train, validation, test = (part.stop - part.start for part in (task.train, task.validation, task.test))
    notes = [
        "No published numbers can be compared: the 'echo' version of ElegansNet is a frozen tensor network, not an echo-state network.",
        f"Sensory neurons get the input, {settings.readout} neurons are read; every wiring is scaled to the same"
        " spectral radius. Radius, leak and ridge penalty are chosen on the validation segment, separately for each variant and task; the"
        " test segment is scored once with them. The tables and figures over the grid show test scores; nothing is chosen by them.",
        f"{train:,} training, {validation:,} validation and {test:,} test steps; every variant sees the same sequences.",
        *(
            f"{name}: {text}; {'more' if more else 'less'} is better."
            for name, (text, more) in sequences.METRICS.items()
            if name in metrics
        ),
    ]
    if settings.families and len(settings.tasks) > 1:
        notes.append("Holm's correction covers the families of a task, not the tasks.")
    radius = rows.drop_duplicates(WIRING).groupby("family", sort=False)["wiring_radius"].mean()
    notes.append("Spectral radius before scaling, mean: " + ", ".join(f"{family} {value:.1f}" for family, value in radius.items()) + ".")
    for name in settings.tasks:
        chosen = rows.loc[rows["task"] == name, "radius"]
        edge = int((chosen == max(settings.radii)).sum())
        if len(settings.radii) > 1 and 2 * edge > len(chosen):
            few = f"{name}: {edge} of {len(chosen)} variants chose the largest radius of the grid"
            notes.append(f"{few}; a larger one may suit them better.")
    points, all_points = (len(each.radii) * len(each.leaks) for each in (settings, full))
    if settings.variants < full.variants or settings.train < full.train or points < all_points:
        short = f"{settings.variants} of {full.variants} variants per family, {points} of {all_points} settings"
        notes.append(f"Shortened: {short}, {settings.train:,} of {full.train:,} training steps.")
    return notes


ELEGANS_ECHO: Study[EchoSettings] = Study(
    "reproduce elegans-echo",
    EchoSettings,
    echo_units,
    measure,
    report,
    memory=echo_memory,
    network=network,
    predicts="outputs",
    score="score",
    metrics=METRICS,
    margins=MARGINS,
    shard_size=lambda settings: CHUNK * len(settings.tasks),
    text="""Echo-state networks: memory capacity by spectral radius, and four more tasks, by family.

    By default: the hermaphrodite with 30 seeds and 30 wirings each of ws, er, ba and rewired, 7 spectral radii and 2 leaks, some minutes on
    2 cores. Radius and leak are chosen on validation segments, never on the test segments that are compared.""",
    quick="5 variants per family, 3 radii, no leak: under two minutes.",
    short={"variants": 5, "radii": (0.5, 0.9, 1.2), "leaks": (1.0,)},
)
