"""The study behind WiringBench: thousands of wirings, every target, every repeat, and how reliable each target is."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

import elegans_pyg as ep
from elegans_pyg._settings import Count, Names, Settings, Whole
from elegans_pyg.recipes.wiring_targets import GROUPS, as_dags, measure_group
from elegans_pyg.studies.settings import some_of
from elegans_pyg.studies.study import Finished, Report, Shard, Study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch_geometric.data import Data

REPEATS = max(group.repeats for group in GROUPS.values())
SHARD_UNITS = 12 * REPEATS
RANKED = 0.8
"""Smallest reliability of a ranked target."""
SECONDS, MEASURES = "seconds.json", "measures.csv"
STRUCTURE = ("size", "degrees", "paths", "triangles", "spectrum", "dyads", "motifs", "symmetry")
"""Groups of measures of the wiring itself; the measures of its DAG are added."""


class BuildSettings(Settings):
    """The wirings, and the targets measured."""

    group: ClassVar[str] = "WiringBench"

    every: Count = Field(1, description="Use only every n-th wiring, such as 32 for a pilot.")
    groups: Annotated[Names, Field(min_length=1), some_of(GROUPS)] = Field(
        tuple(GROUPS), description=f"Groups of targets to measure, of {', '.join(GROUPS)}."
    )
    seed: Whole = Field(0, description="Base of the seeds of initial parameters; the wirings' seeds are fixed.")


def build_units(settings: BuildSettings) -> ep.studies.Units:
    """One unit per wiring and repeat; wirings with the same base and share of its neurons run side by side. A wiring is generated from its
    recipe when it is measured; a unit's seed follows from the number of its wiring in the whole table and its repeat."""
    from elegans_pyg.datasets.wiringbench.wirings import recipes

    rows: list[dict[str, Any]] = []
    for recipe in recipes().iloc[:: settings.every].reset_index(names="number").to_dict("records"):
        for repeat in range(REPEATS):
            seed = ep.studies.unit_seed(settings.seed, recipe["family"], recipe["number"], repeat)
            rows.append({**recipe, "repeat": repeat, "seed": seed, "job": f"{recipe['base']} {recipe['share']:g}"})
    return ep.studies.Units.build(rows, [None] * len(rows))


def build_data(settings: BuildSettings) -> dict[str, str]:
    """Digests of the connectomes and the images, and of the atlas where it is used."""
    from elegans_pyg.datasets.wiringbench.wirings import BASES, wiring_hash
    from elegans_pyg.recipes.signals import atlas_hash

    found = {base: wiring_hash(ep.datasets.Connectome(base)[0]) for base in BASES}
    if "propagation" in settings.groups:
        found |= atlas_hash()
    return {**found, "digits": ep.datasets.load_images("digits", quiet=True).digest()}


def measure(settings: BuildSettings, shard: Shard) -> pd.DataFrame:
    """The shard's units with hash and size of their wirings and one column per target. The values of each group are saved when they are
    computed, and read when the shard is resumed."""
    import pandas as pd

    from elegans_pyg._files import parse_csv
    from elegans_pyg.datasets.wiringbench.wirings import make_wiring, wiring_hash

    units = shard.units.reset_index(drop=True)
    first = units.drop_duplicates("number")
    graphs = {recipe.number: make_wiring(recipe) for recipe in first.itertuples()}
    facts = [{"sha256": wiring_hash(graph), "neurons": graph.num_nodes, "edges": graph.num_edges} for graph in graphs.values()]
    rows = units.merge(pd.DataFrame(facts).assign(number=list(graphs)), on="number")
    path = shard.folder / SECONDS
    seconds = json.loads(path.read_bytes()) if path.is_file() else {}
    if not (shard.folder / MEASURES).is_file():
        started = time.process_time()
        shard.write(MEASURES, structure(list(graphs.values())).assign(number=list(graphs)))
        seconds["measures"] = time.process_time() - started
        shard.write(SECONDS, json.dumps(seconds).encode())
    for name in settings.groups:
        kept = shard.folder / f"{name}.csv"
        if not kept.is_file():
            started, own = time.process_time(), units[units["repeat"] < GROUPS[name].repeats]
            scores = measure_group(name, [graphs[number] for number in own["number"]], own["seed"].tolist())
            shard.write(kept.name, pd.DataFrame(scores, index=own.index).reindex(units.index))
            seconds[name] = time.process_time() - started
            shard.write(SECONDS, json.dumps(seconds).encode())
        rows = rows.join(parse_csv(kept.read_bytes()))
    return rows


def structure(graphs: list[Data]) -> pd.DataFrame:
    """The measures of wirings and of their DAGs, one row per wiring."""
    own = ep.analysis.measures(graphs, STRUCTURE)
    return own.join(ep.analysis.measures(as_dags(graphs), ("dag",))).astype(float)


def reliability(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """For each target: numbers of wirings and repeats, the intraclass correlation of one run, that of the mean of the repeats with its 95 %
    interval, the same among the draws of a recipe, whether it is ranked, and the repeats needed for that. A deterministic
    target has one run per wiring and reliability 1; one that no wiring has is not ranked."""
    import numpy as np
    import pandas as pd

    from elegans_pyg.datasets.wiringbench.wirings import OPTIONS

    recipe, table = rows.groupby(["base", "family", *OPTIONS], dropna=False).ngroup(), []
    for name in names:
        own = rows.dropna(subset=[name])
        count = own.groupby("number").size()
        repeats = int(count.max()) if len(count) else 0
        row: dict[str, Any] = {"target": name, "wirings": len(count), "repeats": repeats}
        row |= dict.fromkeys(("icc", "reliability", "low", "high", "within"), 1.0 if repeats else np.nan)
        row |= {"mean": own[name].mean(), "sd": own.groupby("number")[name].mean().std()}
        if repeats > 1:
            components = ep.analysis.variance_components(own[name].to_numpy(), own["number"].to_numpy())
            of_mean = [ep.analysis.icc_of_mean(value, repeats) for value in (components.icc, *components.icc_interval())]
            row |= {"icc": components.icc, **dict(zip(("reliability", "low", "high"), of_mean, strict=True))}
            nested = ep.analysis.variance_components(own[name].to_numpy(), own["number"].to_numpy(), recipe[own.index].to_numpy())
            row["within"] = ep.analysis.icc_of_mean(nested.icc, repeats)
        needed = np.ceil(RANKED / (1 - RANKED) * (1 - row["icc"]) / row["icc"]) if row["icc"] > 0 else np.nan
        table.append({**row, "ranked": row["reliability"] >= RANKED, "repeats_needed": max(needed, 1.0)})
    return pd.DataFrame(table)


def known(value: float, digits: int) -> str:
    """The number, or a dash if there is none."""
    return ep.studies.MISSING if math.isnan(value) else f"{value:.{digits}f}"


def reliability_figure(table: pd.DataFrame) -> Figure:
    """Draw the reliability of every target with its interval, and the least that a ranked one has."""
    kind = table["ranked"].map({True: "ranked", False: "not ranked"})
    drawn = table.rename(columns={"target": "row", "reliability": "value"}).assign(panel="", kind=kind)
    return ep.plots.titled(
        ep.plots.value_intervals(drawn, "reliability of the mean of the repeats (95 %)", RANKED), "WiringBench's targets"
    )


def report(done: Finished[BuildSettings]) -> Report:
    """The reliability of every target, as a table and a figure, and the computing time."""
    groups = done.settings.groups
    names = [target for name in groups for target in GROUPS[name].targets]
    table = reliability(done.rows, names)
    runs = {"measures": done.rows["number"].nunique(), **{name: int((done.rows["repeat"] < GROUPS[name].repeats).sum()) for name in groups}}
    seconds = dict.fromkeys(runs, 0.0)
    for folder in done.shards:
        for name, value in json.loads((folder / SECONDS).read_bytes()).items():
            seconds[name] += value
    cells = [
        (
            *(row.target, str(row.wirings), str(row.repeats), f"{row.mean:.3f}", f"{row.sd:.3f}", f"{row.icc:.2f}"),
            f"{row.reliability:.2f} ({row.low:.2f} to {row.high:.2f})",
            *(known(row.within, 2), "yes" if row.ranked else "no", known(row.repeats_needed, 0)),
        )
        for row in table.itertuples()
    ]
    headings = (
        *("target", "wirings", "repeats", "mean", "SD", "ICC", "reliability of the mean (95 %)", "within a recipe", "ranked"),
        f"repeats for {RANKED:g}",
    )
    cost = [(name, f"{seconds[name]:,.0f}", f"{seconds[name] / count:.3f}") for name, count in runs.items()]
    tables = [
        ep.studies.make_table("Targets", headings, cells),
        ep.studies.make_table("Computing time", ("group", "CPU s", "CPU s per run"), cost),
    ]
    notes = [
        f"{done.rows['number'].nunique():,} wirings; SD over wirings of the mean of their repeats.",
        "Computing time is without what was lost when the run was killed.",
    ]
    files, figures = {"reliability.csv": table, MEASURES: done.joined(MEASURES)}, {"reliability": reliability_figure(table)}
    return Report(tables, notes, files, figures, findings={"cpu_seconds": seconds})


BUILD_WIRINGBENCH: Study[BuildSettings] = Study(
    "build-wiringbench",
    BuildSettings,
    build_units,
    measure,
    report,
    data=build_data,
    score="",
    processes=True,
    shard_size=lambda settings: SHARD_UNITS,
    together="number",
    text="""Measure the performance of every wiring of WiringBench, and the reliability of each target.

    By default all wirings and targets, an hour and a half on 2 cores; scripts/build_wiringbench.py makes the data set from the results.""",
    quick="A few wirings: under two minutes.",
    short={"every": 500},
)
