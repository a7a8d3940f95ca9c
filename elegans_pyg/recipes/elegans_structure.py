"""ElegansNet (2023), section II-A: which structure of the connectome is not due to chance, and how it fades as edges are rewired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

import elegans_pyg as ep
from elegans_pyg._settings import Names, Numbers, Settings, Whole
from elegans_pyg.studies.study import Finished, Report, Shard, Study

if TYPE_CHECKING:
    import pandas as pd
    from torch_geometric.data import Data

CHUNK, MOST = 20, 100_000
"""Graphs per unit, and largest number of graphs per point."""
REWIRINGS = ("rewired", "random_rewired")
"""With degrees kept, and not kept."""
GENERATED = ("ws", "er", "ba", "type_rewired")


def _percentages(points: tuple[float, ...]) -> tuple[float, ...]:
    for point in points:
        if not 0 <= point <= 100:
            raise ValueError(f"expected percentages from 0 to 100, got {point:g}; correct it")
    return tuple(sorted(points))


class StructureSettings(Settings):
    """The connectomes, and how they are rewired."""

    group: ClassVar[str] = "Wirings"

    connectomes: Annotated[Names, Field(min_length=1)] = Field(
        ("cook2019-hermaphrodite", "cook2019-male", "varshney2011-hermaphrodite"), description="Connectomes to rewire step by step."
    )
    stages: Names = Field(
        tuple(f"witvliet2021-{stage}" for stage in range(1, 9)), description="Connectomes to compare with fully rewired graphs only."
    )
    points: Annotated[Numbers, Field(min_length=3), AfterValidator(_percentages)] = Field(
        (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0),
        description="Percentages of edges that are rewired.",
    )
    graphs: int = Field(100, ge=2, le=MOST, description="Graphs per point.")
    nulls: int = Field(1_500, ge=19, le=MOST, description="Fully rewired graphs to compare with.")
    synapses: Literal["chemical", "electrical", "extrasynaptic", "both"] = Field(
        "chemical", description="Kind of synapses; with both, the kinds are rewired separately and merged for the measures."
    )
    seed: Whole = Field(0, description="Base of the seeds of all graphs.")

    @model_validator(mode="after")
    def _swept_once(self) -> StructureSettings:
        if both := [name for name in self.stages if name in self.connectomes]:
            raise ValueError(f"stages: {both[0]!r} is rewired step by step already; leave it out of stages")
        return self


@dataclass(frozen=True)
class Point:
    """Graphs of one kind: a connectome rewired by a family (``connectome``: not at all), with ``percent`` of its edges for families with
    that option. Points with ``null`` are the null models of the others; their graphs have seeds of their own."""

    connectome: str
    family: str
    percent: float | None = None
    null: bool = False

    @property
    def name(self) -> str:
        share = "" if self.percent is None else f"-{self.percent:g}"
        return f"{self.connectome}-{self.family}{share}{'-null' if self.null else ''}"


def all_points(settings: StructureSettings) -> Iterator[tuple[Point, int]]:
    """Every point, and its number of graphs."""
    for name in (*settings.connectomes, *settings.stages):
        yield Point(name, "connectome"), 1
        for family in REWIRINGS if name in settings.connectomes else REWIRINGS[:1]:
            yield Point(name, family, 100.0, null=True), settings.nulls
            for percent in settings.points if name in settings.connectomes else ():
                yield Point(name, family, percent), settings.graphs
        for family in GENERATED if name in settings.connectomes else ():
            yield Point(name, family), settings.graphs


def structure_units(settings: StructureSettings) -> ep.studies.Units:
    """One unit per chunk of graphs of a point: ``count`` graphs numbered from ``first``, with the ``seed`` of the first.

    Only the connectomes are stored as wirings: a graph follows from its connectome, its point and its number.
    """
    rows: list[dict[str, object]] = []
    graphs: list[Data | None] = []
    for point, total in all_points(settings):
        for first in range(0, total, CHUNK):
            seed = ep.studies.unit_seed(settings.seed, point.name, first)
            known = {"family": point.family, "wiring_seed": 0 if point.family == "connectome" else seed, "seed": seed}
            rows.append({**known, **asdict(point), "first": first, "count": min(CHUNK, total - first)})
            graphs.append(_base(point.connectome, settings.synapses) if point.family == "connectome" else None)
    return ep.studies.Units.build(rows, graphs)


def redraw(base: Data, family: str, seed: int, percent: float | None = None) -> Data:
    """Draw a graph of a point from its own seed."""
    rewiring = ep.transforms.FAMILIES[family].rewiring
    if rewiring is None:
        return base
    return rewiring(seed=seed, **({} if percent is None else {"fraction": percent / 100}))(base)


def measure(settings: StructureSettings, shard: Shard) -> pd.DataFrame:
    """Draw and measure the graphs of a shard: one row per graph, with its number within its point, its seed and its measures."""
    import pandas as pd

    parts = []
    for row in shard.units.to_dict("records"):
        point = Point(row["connectome"], row["family"], None if pd.isna(row["percent"]) else row["percent"], bool(row["null"]))
        base = _base(point.connectome, settings.synapses)
        numbers = range(row["first"], row["first"] + row["count"])
        seeds = [ep.studies.unit_seed(settings.seed, point.name, number) for number in numbers]
        table = ep.analysis.measures([redraw(base, point.family, seed, point.percent) for seed in seeds])
        known = {"family": point.family, "wiring_seed": 0 if point.family == "connectome" else seeds, "seed": seeds, **asdict(point)}
        known = pd.DataFrame({"variant": row["variant"], **known, "point": point.name, "graph": numbers})
        parts.append(pd.concat([known, table.astype(float)], axis=1))
    return pd.concat(parts, ignore_index=True)


@lru_cache(maxsize=16)
def _base(connectome: str, synapses: str) -> Data:
    return ep.datasets.Connectome(connectome, synapses=synapses)[0]


def _tables(done: Finished[StructureSettings]) -> dict[str, pd.DataFrame]:
    """Compute the tables from the measures of the graphs.

    Returns:
        ``scores``: every connectome compared with its fully rewired graphs (degrees kept), ``connectome`` and the columns of
        :func:`~elegans_pyg.analysis.null_model.against_null`. ``curves``: one row per connectome, family of rewiring, fraction and measure:
        ``mean``, ``sd``, ``low``, ``high`` (middle 95 % of the graphs), ``left`` (remaining share of the connectome's distance from the
        null model's mean; missing where there is none) and ``unusual`` (share of the graphs that differ from the null model, at 0.05,
        towards the connectome). ``families``: one row per connectome, generated family and measure: ``mean``, ``sd``, ``z`` of the mean
        in the null model of the scores. ``effects``: see :func:`~elegans_pyg.analysis.structure_claims.dyad_effects`.
    """
    import pandas as pd

    from elegans_pyg.analysis.null_model import share_unusual
    from elegans_pyg.analysis.structure_claims import dyad_effects

    measured = [name for name in done.rows if name in ep.analysis.MEASURES]
    points = {str(name): rows[measured].reset_index(drop=True) for name, rows in done.rows.groupby("point", sort=False)}

    def stacked(parts: dict[Any, pd.DataFrame], *names: str) -> pd.DataFrame:
        return pd.concat(parts, names=names).reset_index(level=list(names)).reset_index(drop=True)

    def by_measure(columns: dict[str, pd.Series]) -> pd.DataFrame:
        return pd.DataFrame(columns).rename_axis("measure").reset_index()

    scores, curves, families, effects = {}, {}, {}, {}
    for name in (*done.settings.connectomes, *done.settings.stages):
        observed, kept = points[Point(name, "connectome").name].iloc[0], points[Point(name, "rewired", 100.0, null=True).name]
        scores[name] = ep.analysis.against_null(observed, kept)
        if name in done.settings.stages:
            continue
        for family in REWIRINGS:
            null, own = points[Point(name, family, 100.0, null=True).name], {}
            # Within one standard deviation of the null model's mean there is no effect of which a share could be left.
            distance = (observed - null.mean()).where((observed - null.mean()).abs() > null.std(ddof=1))
            for percent in done.settings.points:
                graphs = points[Point(name, family, percent).name]
                columns = {"mean": graphs.mean(), "sd": graphs.std(ddof=1), "low": graphs.quantile(0.025), "high": graphs.quantile(0.975)}
                columns |= {"left": (graphs.mean() - null.mean()) / distance, "unusual": share_unusual(graphs, null, observed)}
                own[percent / 100] = by_measure(columns)
            curves[name, family] = stacked(own, "fraction")
            effects[name, family] = dyad_effects(curves[name, family], ep.analysis.against_null(observed, null))
        for family in GENERATED:
            graphs = points[Point(name, family).name]
            z = (graphs.mean() - kept.mean()) / kept.std(ddof=1).where(kept.std(ddof=1) > 0)
            families[name, family] = by_measure({"mean": graphs.mean(), "sd": graphs.std(ddof=1), "z": z})
    tables = {"curves": curves, "families": families, "effects": effects}
    return {"scores": stacked(scores, "connectome"), **{name: stacked(parts, "connectome", "family") for name, parts in tables.items()}}


def report(done: Finished[StructureSettings]) -> Report:
    """Check the claims of Bardozzo, Terlizzi, Lió & Tagliaferri (2023), "ElegansNet: a brief scientific report and initial experiments",
    section II-A, which gives no numbers: interactions of neuron types are preserved and fade with rewiring, and slight rewiring removes the
    multi-dyadic effect along paths of 2 to 3 edges. Also list the most unusual measures of each connectome."""
    from elegans_pyg.analysis.structure_claims import check_claims

    tables, alpha = _tables(done), ep.analysis.ALPHA
    scores, curves, effects = tables["scores"], tables["curves"], tables["effects"]
    cells, claims, figures = [], [], dict[str, Any]()
    against = "connectomes and generated families against rewired graphs"
    figures["scores"] = ep.plots.titled(ep.plots.score_map(scores, tables["families"]), against)
    for name, rows in scores.groupby("connectome", sort=False):
        tested = rows[rows["p"].notna()]
        top = tested.reindex(tested["z"].abs().sort_values(ascending=False).index).head(5)
        far = ", ".join(f"{measure} {z:+.1f}" for measure, z in zip(top["measure"], top["z"], strict=True))
        cells.append((str(name), far, str(len(tested)), str(int((tested["p_holm"] <= alpha).sum()))))
    for (name, family), rows in curves.groupby(["connectome", "family"], sort=False):
        own = effects[(effects["connectome"] == name) & (effects["family"] == family)]
        claims += check_claims(str(name), str(family), own)
        if len(own):
            figures[f"dyads-{name}-{family}"] = ep.plots.fading_dyads(rows, own)
    for name, rows in curves.groupby("connectome", sort=False):
        others = [measure for measure in rows["measure"].unique() if ep.analysis.MEASURES[measure].group != "dyads"]
        figures[f"measures-{name}"] = ep.plots.measures_by_fraction(rows[rows["measure"].isin(others)])
    headings = ("connectome", "farthest from chance (z)", "measures tested", f"p (Holm) ≤ {alpha:g}")
    degrees = {"rewired": "degrees kept", "random_rewired": "degrees lost"}
    answers = [(claim.connectome, degrees[claim.family], claim.text, claim.verdict, claim.detail) for claim in claims]
    claimed = ("connectome", "rewiring", "claim", "answer", "measured")
    return Report(
        [
            ep.studies.make_table("Compared with rewired graphs, degrees kept", headings, cells, left=2),
            ep.studies.make_table("Claims of ElegansNet (2023), section II-A", claimed, answers, left=len(claimed)),
        ],
        _notes(done.settings, scores),
        {f"{name}.csv": table for name, table in tables.items()},
        figures,
        {"claims": [{**asdict(claim), "verdict": claim.verdict} for claim in claims]},
        answer=[against_chance(str(name), rows["p_holm"], done.settings.nulls) for name, rows in scores.groupby("connectome", sort=False)],
    )


def against_chance(name: str, p_values: pd.Series, nulls: int) -> str:
    """State how many measures are not due to chance; ``p_values`` are corrected, and missing where nothing was tested."""
    tested, found = int(p_values.notna().sum()), int((p_values <= ep.analysis.ALPHA).sum())
    how = f"{nulls:,} graphs with every neuron's degrees kept; permutation p ≤ {ep.analysis.ALPHA:g} after Holm's correction"
    return f"In {name}, {found} of {tested} measures of structure are not due to chance, compared with {how}."


def _notes(settings: StructureSettings, scores: pd.DataFrame) -> list[str]:
    from elegans_pyg.analysis.structure_claims import FALLING

    tested, smallest = int(scores.groupby("connectome")["p"].count().max()), 1 / (settings.nulls + 1)
    notes = [
        f"{settings.graphs} graphs per point, {settings.nulls:,} of each null model; synapses: {settings.synapses}; seed {settings.seed}.",
        f"p by permutation: at least {smallest:.2g}, or {min(1.0, tested * smallest):.2g} after Holm's correction over {tested} measures.",
        "The paper gives no numbers and no test; the definitions of gradual and lost are ours. Gradual: the effect falls throughout"
        f" (rank correlation with the fraction at most {FALLING:g}) and more than half of it is left at 10 %. Lost: at 5 %, at most"
        " half of the graphs are still significant at 0.05. Effects: those of the connectome with p (Holm) ≤ 0.05.",
        "With degrees kept, a fraction of the edges swap targets. With degrees lost, each end of an edge moves with that probability, as in"
        " igraph's rewire_edges, so more edges change.",
    ]
    if settings.synapses == "both":
        more = "they coincide less often in rewired graphs, which therefore have more edges and differ in many measures"
        notes.append(f"Chemical and electrical synapses are rewired separately and merged for the measures: {more}.")
    if tested * smallest > ep.analysis.ALPHA:
        few = "Too few graphs of the null model for a single measure to be significant after Holm's correction"
        notes.append(f"{few}: {round(tested / ep.analysis.ALPHA) - 1:,} are needed.")
    standard = StructureSettings()
    sizes = ((settings.graphs, standard.graphs, "graphs per point"), (len(settings.points), len(standard.points), "fractions"))
    shortened = [f"{own} of {full} {what}" for own, full, what in sizes if own < full]
    everything, named = ((*each.connectomes, *each.stages) for each in (standard, settings))
    if left_out := [name for name in everything if name not in named]:
        shortened.append(f"without {', '.join(left_out)}")
    if shortened:
        notes.append(f"Shortened: {'; '.join(shortened)}.")
    return notes


ELEGANS_STRUCTURE: Study[StructureSettings] = Study(
    "reproduce elegans-structure",
    StructureSettings,
    structure_units,
    measure,
    report,
    score="",
    processes=True,
    # A shard takes seconds, which is all that a kill loses.
    shard_size=lambda settings: 1,
    text="ElegansNet 2023, section II-A: which structure is not due to chance, and how it fades as edges are rewired.",
    quick="Minutes: one connectome, few fractions and graphs.",
    short={
        "connectomes": ("cook2019-hermaphrodite",),
        "stages": ("witvliet2021-1", "witvliet2021-8"),
        "points": (0.0, 5.0, 10.0, 25.0, 50.0, 100.0),
        "graphs": 20,
        "nulls": 400,
    },
)
