"""Echo-state networks on the connectome and on its controls: memory and other tasks in time, over spectral radius and leak."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from elegans_pyg._settings import LARGEST, Count, Names, Numbers
from elegans_pyg.recipes.ensemble import REFERENCE, load_wiring
from elegans_pyg.studies.settings import CyclicFamilies, WiringSettings, known_choice
from elegans_pyg.studies.study import Finished, Memory, Report, Shard, Study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch_geometric.data import Data

    from elegans_pyg.analysis import Comparison
    from elegans_pyg.datasets import SequenceTask
    from elegans_pyg.studies.units import Units

TASKS = ("memory", "narma10", "mackey-glass", "lorenz", "parity")
CHUNK = 5
"""Wirings whose states are held at once."""
QUICK: dict[str, Any] = {"variants": 5, "radii": (0.5, 0.9, 1.2), "leaks": (1.0,)}
WIRING = ["family", "wiring_seed", "seed"]
"""What tells the reservoirs apart; each of them learns every task."""


def _between(most: float, numbers: tuple[float, ...]) -> tuple[float, ...]:
    for number in numbers:
        if not 0 < number <= most:
            raise ValueError(f"expected numbers above 0{f' and at most {most:g}' if most < math.inf else ''}, got {number:g}; change it")
    return numbers


class EchoSettings(WiringSettings):
    """One sweep over spectral radius and leak."""

    group: ClassVar[str] = "Sweep and tasks"

    families: CyclicFamilies = Field(("ws", "er", "ba", "rewired"), description="Families of control wirings; no DAGs.")
    variants: Count = Field(30, description="Wirings drawn from each family, and runs of the connectome with other input weights.")
    tasks: Annotated[Names, Field(min_length=1), AfterValidator(lambda names: tuple(known_choice(TASKS, name) for name in names))] = Field(
        TASKS, description=f"Of {', '.join(TASKS)}."
    )
    radii: Annotated[Numbers, Field(min_length=1), AfterValidator(partial(_between, math.inf))] = Field(
        (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4), description="Spectral radii of the grid."
    )
    leaks: Annotated[Numbers, Field(min_length=1), AfterValidator(partial(_between, 1.0))] = Field(
        (1.0, 0.5), description="Leak rates of the grid; 1: no leak."
    )
    train: Annotated[int, Field(ge=30, le=LARGEST)] = Field(
        1_500, description="Time steps to learn from; a third as many are for validation, two thirds for the test."
    )
    readout: Literal["motor", "all"] = Field("motor", description="Neurons that are read.")
    signed: bool = Field(True, description="Whether GABAergic neurons inhibit.")
    input_scale: float = Field(0.3, ge=0, description="Bound of the input weights.")
    bias_scale: float = Field(0.1, ge=0, description="Bound of the biases.")


def echo_units(settings: EchoSettings) -> Units:
    """The connectome first, ``variants`` times, then the cyclic wirings of each family; all tasks of a wiring side by side.

    A wiring depends on ``seed``, its family and its number alone, as in a :class:`~elegans_pyg.datasets.WiringEnsemble`; the same number
    seeds its input weights and biases.
    """
    from elegans_pyg.studies.units import Units, check_room, unit_seed
    from elegans_pyg.transforms import FAMILIES

    base = load_wiring(settings.connectome, settings)
    check_room(base, len(settings.families) * settings.variants, "variants")
    # What reservoirs refuse is refused before anything is drawn.
    _reservoir(settings, [base], [0])
    rows: list[dict[str, object]] = []
    graphs: list[Data | None] = []
    for family in (REFERENCE, *settings.families):
        rewiring = FAMILIES[family].rewiring
        for number in range(settings.variants):
            seed = unit_seed(settings.seed, family, number)
            graph = base if rewiring is None else rewiring(seed=seed)(base)
            known = {"family": family, "wiring_seed": 0 if rewiring is None else seed, "seed": seed}
            rows += [{**known, "task": task} for task in settings.tasks]
            graphs += [graph] * len(settings.tasks)
    return Units.build(rows, graphs)


def echo_memory(settings: EchoSettings, units: Units) -> Memory:
    """States in float64 with the copies that a ridge regression makes of them; inputs and targets of all tasks."""
    steps = 2 * settings.train + 200
    nodes = max(int(graph.num_nodes or 0) for graph in units.wirings)
    return Memory(8 * steps * 150 * len(settings.tasks), 8 * steps * 4 * nodes)


def measure(settings: EchoSettings, shard: Shard) -> pd.DataFrame:
    """Measure a shard's wirings at every grid point: the tasks run side by side as sequences, and each has its own readout.

    Every unit's grid point is the best on the validation segment (of equal ones, the first), and its ``score`` the metric on the test
    segment. ``sweep.csv`` has the metric on both segments, at every point.
    """
    import pandas as pd
    import torch

    from elegans_pyg._files import write_atomic
    from elegans_pyg.models import RidgeReadout

    wirings = shard.units.drop_duplicates(WIRING)
    graphs = shard.graphs()
    reservoir = _reservoir(settings, [graphs[place] for place in wirings.index], wirings["seed"].tolist())
    tasks = [_task(name, settings.seed, settings.train) for name in shard.units["task"].unique()]
    inputs = torch.stack([task.inputs for task in tasks])
    parts = []
    for radius in settings.radii:
        for leak in settings.leaks:
            states = reservoir.with_settings(radius=radius, leak=leak)(inputs)
            for number, task in enumerate(tasks):
                x, y = states[:, number], task.targets
                readout = RidgeReadout.select(x[:, task.train], y[task.train], x[:, task.validation], y[task.validation])
                scores = {
                    name: task.score(readout(x[:, part]), part).numpy()
                    for name, part in (("validation", task.validation), ("test", task.test))
                }
                point = {"task": task.name, "wiring_radius": reservoir.wiring_radius.numpy(), "radius": radius, "leak": leak}
                parts.append(wirings[WIRING].assign(**point, **scores))
    own = shard.units[[*WIRING, "task"]].reset_index(names="variant")
    sweep = own.merge(pd.concat(parts, ignore_index=True), on=[*WIRING, "task"], how="left")
    write_atomic(shard.folder / "sweep.csv", sweep.to_csv(index=False).encode())
    chosen = choose_by_validation(sweep).set_index("variant")
    return shard.units.join(chosen[["wiring_radius", "radius", "leak", "validation", "score"]])


def choose_by_validation(sweep: pd.DataFrame) -> pd.DataFrame:
    """Of each variant and task, the grid point that is best on the validation segment (of equal ones, the first), with the test segment's
    metric as ``score``."""
    from elegans_pyg.datasets.sequences import METRICS, SEQUENCE_TASKS

    signs = sweep["task"].map(lambda task: 1.0 if METRICS[SEQUENCE_TASKS[task][1]][1] else -1.0)
    best = (signs * sweep["validation"]).groupby([sweep["task"], sweep["variant"]], sort=False).idxmax()
    return sweep.loc[best].rename(columns={"test": "score"}).reset_index(drop=True)


def _reservoir(settings: EchoSettings, graphs: list[Data], seeds: list[int]) -> Any:
    import torch
    from torch_geometric.data import Batch

    from elegans_pyg.models import Reservoir

    return Reservoir(
        Batch.from_data_list(graphs),
        input_scale=settings.input_scale,
        bias_scale=settings.bias_scale,
        signed=settings.signed,
        readout=settings.readout,
        seeds=seeds,
        dtype=torch.float64,
    )


@lru_cache(maxsize=len(TASKS))
def _task(name: str, seed: int, train: int) -> SequenceTask:
    from elegans_pyg.datasets import sequence_task

    return sequence_task(name, seed, train=train, validation=max(train // 3, 2), test=max(2 * train // 3, 2))


def report(done: Finished[EchoSettings]) -> Report:
    """Families against the connectome by task, and memory capacity by spectral radius."""
    from elegans_pyg.studies.tables import comparison_table, to_markdown

    sweep = done.joined("sweep.csv")
    comparisons = {task: _compare(done.rows, task) for task in done.settings.tasks} if done.settings.families else {}
    text = "\n".join(f"## {comparison.value}\n\n{to_markdown(comparison_table(comparison))}" for comparison in comparisons.values())
    # All of them are in comparisons.md: five times the notes would bury the tables.
    first = [comparison_table(comparison) for comparison in comparisons.values()][:1]
    return Report(
        [*first, *_tables(done, sweep, comparisons)],
        _notes(done),
        {"sweep.csv": sweep, **({"comparisons.md": text.encode()} if comparisons else {})},
        _figures(done, sweep),
        {"comparisons": {task: comparison.to_dict() for task, comparison in comparisons.items()}},
    )


def _metric(task: str) -> str:
    from elegans_pyg.datasets.sequences import SEQUENCE_TASKS

    return SEQUENCE_TASKS[task][1]


def _with_arrow(metric: str) -> str:
    """The metric, and which way is better."""
    from elegans_pyg.datasets.sequences import METRICS

    return f"{metric} {'↑' if METRICS[metric][1] else '↓'}"


def _compare(rows: pd.DataFrame, task: str) -> Comparison:
    from elegans_pyg.analysis import compare

    metric = _metric(task)
    value = metric if task in metric else f"{task} {metric}"
    return compare(rows[rows["task"] == task].rename(columns={"score": value}), value=value, share=metric == "accuracy")


def _tables(done: Finished[EchoSettings], sweep: pd.DataFrame, comparisons: Mapping[str, Comparison]) -> list[Any]:
    from elegans_pyg.studies.tables import make_table

    families = list(dict.fromkeys(done.rows["family"]))
    cells = []
    for task in done.settings.tasks:
        scores = done.rows[done.rows["task"] == task].groupby("family")["score"]
        cells.append((task, _with_arrow(_metric(task)), *(_mean(scores.get_group(family)) for family in families)))
    tables = [make_table("Test score, mean ± SD over variants", ("task", "metric", *families), cells, left=2)]
    if comparisons:
        cells = []
        for task, comparison in comparisons.items():
            rows = {row["family"]: row for row in comparison.to_dict()["families"]}
            cells.append((task, *(_difference(rows[family]) for family in families[1:])))
        title = "Difference from the connectome (permutation p, Holm's correction over families)"
        tables.append(make_table(title, ("task", *families[1:]), cells))
    if "memory" in done.settings.tasks:
        cells = []
        for (leak, radius), rows in sweep[sweep["task"] == "memory"].groupby(["leak", "radius"], sort=False):
            capacity = rows.groupby("family")["test"]
            cells.append((f"{leak:g}", f"{radius:g}", *(_mean(capacity.get_group(family)) for family in families)))
        title = "Memory capacity by spectral radius, mean ± SD over variants (test segment)"
        tables.append(make_table(title, ("leak", "radius", *families), cells, left=0))
    return tables


def _figures(done: Finished[EchoSettings], sweep: pd.DataFrame) -> dict[str, Figure]:
    from elegans_pyg import plots

    tasks = done.settings.tasks
    figures = {task: plots.sweep_curves(sweep[sweep["task"] == task], "test", _metric(task)) for task in tasks}
    return {**figures, "scores": plots.task_scores(done.rows, {task: _with_arrow(_metric(task)) for task in tasks})}


def _notes(done: Finished[EchoSettings]) -> list[str]:
    from elegans_pyg.datasets.sequences import METRICS

    settings, rows, full = done.settings, done.rows, ELEGANS_ECHO.make()
    task = _task(settings.tasks[0], settings.seed, settings.train)
    notes = [
        "No published numbers stand beside these: the 'echo' version of ElegansNet is a frozen tensor network, not an echo-state network.",
        f"Inputs reach the sensory neurons, {settings.readout} neurons are read; every wiring is scaled to the same"
        " spectral radius. Radius, leak and ridge penalty are chosen on the validation segment, of each variant and task apart; the test"
        " segment is scored once with them. The tables and figures over the grid show the test segment at every point, and choose nothing.",
        f"{task.train.stop - task.train.start:,} training, {task.validation.stop - task.validation.start:,} validation and"
        f" {task.test.stop - task.test.start:,} test steps; every variant sees the same sequences.",
    ]
    used = {_metric(name) for name in settings.tasks}
    for name, (meaning, more) in METRICS.items():
        if name in used:
            notes.append(f"{name}: {meaning}; {'more' if more else 'less'} is better.")
    if settings.families and len(settings.tasks) > 1:
        notes.append("Holm's correction covers the families of a task, not the tasks.")
    radius = rows.drop_duplicates(WIRING).groupby("family", sort=False)["wiring_radius"].mean()
    notes.append("Spectral radius before scaling, mean: " + ", ".join(f"{family} {value:.1f}" for family, value in radius.items()) + ".")
    for name in settings.tasks:
        chosen = rows.loc[rows["task"] == name, "radius"]
        edge = int((chosen == max(settings.radii)).sum())
        if len(settings.radii) > 1 and 2 * edge > len(chosen):
            notes.append(
                f"{name}: {edge} of {len(chosen)} variants chose the largest radius of the grid; a larger one may suit them better."
            )
    points, all_points = (len(each.radii) * len(each.leaks) for each in (settings, full))
    if settings.variants < full.variants or settings.train < full.train or points < all_points:
        notes.append(
            f"Shortened: {settings.variants} of {full.variants} variants a family, {points} of {all_points} settings, {settings.train:,} of"
            f" {full.train:,} training steps."
        )
    return notes


def _mean(values: pd.Series) -> str:
    digits = 3 if abs(values.mean()) < 1 else 2
    return f"{values.mean():.{digits}f}" + ("" if len(values) < 2 else f" ± {values.std():.{digits}f}")


def _difference(row: Mapping[str, Any]) -> str:
    p = row["p_holm"]
    digits = 3 if abs(row["mean"]) < 1 else 2
    return f"{row['difference']:+.{digits}f}" + ("" if p is None else f" ({p:.3f})" if p >= 0.001 else f" ({p:.0e})")


ELEGANS_ECHO: Study[EchoSettings] = Study(
    "reproduce elegans-echo",
    EchoSettings,
    echo_units,
    measure,
    report,
    memory=echo_memory,
    base=lambda given, quick: EchoSettings(**(QUICK if quick else {})),
    score="score",
    shard_size=lambda settings: CHUNK * len(settings.tasks),
    text="""Echo-state networks: memory capacity against spectral radius, and four more tasks, by family.

    By default: the hermaphrodite with 30 seeds and 30 wirings each of ws, er, ba and rewired, 7 spectral radii and 2 leaks, some minutes on
    2 cores. Radius and leak are chosen on validation segments, never on the test segments that are compared.""",
    quick="5 variants a family, 3 radii, no leak: under two minutes.",
)
