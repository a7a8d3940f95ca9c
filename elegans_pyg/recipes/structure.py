"""ElegansNet (2023), section II-A: what of the connectome's structure is none of chance, and how it goes when edges are redrawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich import box
from rich.table import Table
from rich.text import Text

from elegans_pyg import plots
from elegans_pyg.analysis import MEASURES
from elegans_pyg.analysis.null_model import against_null, share_unusual
from elegans_pyg.datasets import Connectome
from elegans_pyg.recipes import environment
from elegans_pyg.recipes.config import read_settings
from elegans_pyg.recipes.run_folder import RunFolder
from elegans_pyg.recipes.structure_claims import ALPHA, FALLING, Claim, dyad_effects, judge
from elegans_pyg.recipes.sweep import Point, PointFiles, sweep
from elegans_pyg.recipes.tables import write_json, write_whole

REWIRINGS = ("rewired", "random_rewired")
"""Degrees kept, and not kept."""
GENERATED = ("ws", "er", "ba", "type_rewired")


@dataclass(frozen=True)
class SweepConfig:
    """Settings of :func:`reproduce`.

    Args:
        connectomes: swept over the fraction; the default are both sexes (Cook et al. 2019) and the connectome that the paper used.
        stages: compared with their null models only: the eight developmental stages (Witvliet et al. 2021).
        percents: shares of edges redrawn, from 0 to 100.
        graphs: graphs a point.
        nulls: wholly rewired graphs that a connectome and its points are compared with.
        synapses: ``"chemical"``, ``"electrical"`` or ``"both"``. The kinds are rewired apart, and the measures merge them: with both, the
            degrees that are kept are those of each kind, and rewired graphs, in which they coincide less often, have more edges.
        seed: of all graphs.

    Raises:
        TypeError: if a field has the wrong type.
        ValueError: if a field is out of range, or a connectome is unknown.
    """

    connectomes: tuple[str, ...] = ("cook2019-hermaphrodite", "cook2019-male", "varshney2011-hermaphrodite")
    stages: tuple[str, ...] = tuple(f"witvliet2021-{stage}" for stage in range(1, 9))
    percents: tuple[float, ...] = (0, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    graphs: int = 100
    nulls: int = 1500
    synapses: str = "chemical"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("graphs", 2), ("nulls", 19), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name}: expected a whole number, got {value!r}; give one of at least {least}")
            if value < least:
                raise ValueError(f"{name}: expected at least {least}, got {value}; raise it")
        for name in ("connectomes", "stages", "percents"):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, list | tuple):
                raise TypeError(f"{name}: expected a list, got {value!r}; write it as [a, b]")
            object.__setattr__(self, name, tuple(dict.fromkeys(value)))
        for name in (*self.connectomes, *self.stages):
            if name not in Connectome.names():
                raise ValueError(f"connectomes: unknown connectome {name!r}; choose from {', '.join(Connectome.names())}")
        if not self.connectomes:
            raise ValueError("connectomes: expected at least one, got none; name the connectome to sweep")
        if both := [name for name in self.stages if name in self.connectomes]:
            raise ValueError(f"stages: {both[0]!r} is swept already; leave it out of stages")
        if self.synapses not in ("chemical", "electrical", "both"):
            raise ValueError(f"synapses: unknown choice {self.synapses!r}; choose from chemical, electrical, both")
        for percent in self.percents:
            if isinstance(percent, bool) or not isinstance(percent, int | float):
                raise TypeError(f"percents: expected numbers from 0 to 100, got {percent!r}; correct it")
            if not 0 <= percent <= 100:
                raise ValueError(f"percents: expected numbers from 0 to 100, got {percent}; correct it")
        if len(self.percents) < 3:
            raise ValueError(f"percents: expected at least three fractions, got {len(self.percents)}; add some")
        object.__setattr__(self, "percents", tuple(sorted(self.percents)))

    def updated(self, settings: Mapping[str, Any]) -> SweepConfig:
        """The same with some replaced; an unknown name raises ``ValueError``, a wrong type ``TypeError``."""
        names = [item.name for item in fields(self)]
        if unknown := [str(name) for name in settings if name not in names]:
            raise ValueError(f"settings: unknown key {', '.join(map(repr, unknown))}; choose from {', '.join(names)}")
        return replace(self, **settings)

    def to_yaml(self) -> str:
        content = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return str(yaml.safe_dump(content, sort_keys=False, default_flow_style=None))

    def points(self) -> list[Point]:
        """All graphs of the sweep."""
        plan = []
        for name in self.connectomes:
            plan.append(Point(name, "connectome"))
            for family in REWIRINGS:
                plan.append(Point(name, family, 1.0, self.nulls, "null"))
                plan += [Point(name, family, percent / 100, self.graphs) for percent in self.percents]
            plan += [Point(name, family, None, self.graphs) for family in GENERATED]
        for name in self.stages:
            plan += [Point(name, "connectome"), Point(name, "rewired", 1.0, self.nulls, "null")]
        return plan


def quick_config() -> SweepConfig:
    """A sweep of minutes: one connectome, few fractions, first and last stage."""
    return SweepConfig(("cook2019-hermaphrodite",), ("witvliet2021-1", "witvliet2021-8"), (0, 5, 10, 25, 50, 100), 20, 400)


@dataclass(frozen=True)
class StructureResult:
    """What the sweep says.

    Attributes:
        scores: every connectome against its wholly rewired graphs (degrees kept): ``connectome`` and the columns of
            :func:`~elegans_pyg.analysis.null_model.against_null`.
        curves: one row a connectome, family of rewiring, fraction and measure: ``mean``, ``sd``, ``low``, ``high`` (middle 95 % of the
            graphs), ``left`` (share of the connectome's distance from the null model's mean that is left; missing where there is none)
            and ``unusual`` (share of the graphs that are each unusual for the null model, at 0.05, as the connectome is).
        families: one row a connectome, generated family and measure: ``mean``, ``sd``, ``z`` of the mean in the null model of ``scores``.
        effects: the dyadic effects, see :func:`~elegans_pyg.recipes.structure_claims.dyad_effects`.
        claims: the answers.
        notes: what a reader has to know.
        figures: the figures' files, without their suffixes.
    """

    scores: pd.DataFrame
    curves: pd.DataFrame
    families: pd.DataFrame
    effects: pd.DataFrame
    claims: list[Claim]
    notes: list[str]
    figures: list[Path]

    def tables(self) -> list[Table]:
        """The answers, and the most unusual measures of each connectome, for the terminal."""
        claims = Table(title="Claims of ElegansNet (2023), section II-A", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
        for heading in ("connectome", "rewiring", "claim", "answer", "measured"):
            claims.add_column(heading, overflow="fold")
        for claim in self.claims:
            rewiring = "degrees kept" if claim.family == "rewired" else "degrees lost"
            claims.add_row(claim.connectome, rewiring, claim.text, Text(claim.verdict, style="bold"), claim.detail)
        counts = Table(title="Against rewired graphs, degrees kept", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
        for heading in ("connectome", "measures tested", f"p (Holm) ≤ {ALPHA:g}", "farthest from chance (z)"):
            counts.add_column(heading, overflow="fold", justify="left" if heading.startswith(("conn", "far")) else "right")
        for name, rows in self.scores.groupby("connectome", sort=False):
            tested = rows[rows["p"].notna()]
            top = tested.reindex(tested["z"].abs().sort_values(ascending=False).index).head(5)
            far = ", ".join(f"{measure} {z:+.1f}" for measure, z in zip(top["measure"], top["z"], strict=True))
            counts.add_row(str(name), str(len(tested)), str(int((tested["p_holm"] <= ALPHA).sum())), far)
        return [counts, claims]


def reproduce(
    config: SweepConfig, out: str | Path, *, resume: bool = False, workers: int | None = None, quiet: bool = False
) -> StructureResult | None:
    """Rewire, measure, compare, and answer the paper's claims.

    From Bardozzo, Terlizzi, Lió & Tagliaferri (2023), "ElegansNet: a brief scientific report and initial experiments", section II-A,
    which gives no numbers: that interactions of neuron types are preserved and fade with rewiring, and that slight rewiring undoes the
    multi-dyadic effect along paths of 2 to 3 edges.

    Args:
        config: the settings.
        out: folder: ``config.yaml``, ``points/`` (the measures of every graph), ``scores.csv``, ``curves.csv``, ``families.csv``,
            ``effects.csv``, ``claims.json`` and ``figures/``.
        resume: go on in ``out``: graphs that it holds are not made again. Numbers of graphs, fractions and connectomes may differ.
        workers: processes; default: one a processor.
        quiet: show no progress.

    Returns:
        the answers; ``None`` if Ctrl-C was pressed before all graphs were measured.

    Raises:
        FileExistsError: if ``out`` is not empty and not resumed.
        FileNotFoundError: if there is nothing to resume.
        ValueError: if a file is damaged, or ``seed`` or ``synapses`` are not those of the graphs in ``out``.
    """
    folder = Path(out).expanduser()
    if resume:
        before = read_config(folder)
        for name in ("seed", "synapses"):
            if getattr(before, name) != getattr(config, name):
                raise ValueError(f"{name}: the graphs in {folder} were made with {getattr(before, name)!r}; give another folder")
    else:
        RunFolder(folder).check_unused()
    write_whole(folder / "config.yaml", config.to_yaml().encode())
    files = PointFiles(folder / "points")
    if not sweep(config.points(), files, config.synapses, config.seed, workers, quiet):
        return None
    scores, curves = _scores(config, files), _curves(config, files)
    effects, claims = [], []
    for (name, family), rows in curves.groupby(["connectome", "family"], sort=False):
        own = against_null(_observed(files, str(name)), files.read(Point(str(name), str(family), 1.0, config.nulls, "null")))
        found = dyad_effects(rows, own)
        effects.append(found.assign(connectome=name, family=family))
        claims += judge(str(name), str(family), found)
    result = StructureResult(
        scores, curves, _families(config, files), pd.concat(effects, ignore_index=True), claims, _notes(config, scores), []
    )
    for label in ("scores", "curves", "families", "effects"):
        write_whole(folder / f"{label}.csv", getattr(result, label).to_csv(index=False).encode())
    answers = [{**asdict(claim), "verdict": claim.verdict} for claim in claims]
    write_json(folder / "claims.json", {"claims": answers, "notes": result.notes, "versions": environment.versions()})
    return replace(result, figures=_draw(folder / "figures", result))


def read_config(folder: str | Path) -> SweepConfig:
    """The settings in a folder that :func:`reproduce` wrote; raises ``FileNotFoundError`` if it is none."""
    path = Path(folder).expanduser() / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"out: {folder} holds no sweep, it has no config.yaml; give the folder of the sweep to go on with")
    return SweepConfig().updated(read_settings(path))


def _observed(files: PointFiles, name: str) -> pd.Series:
    return files.read(Point(name, "connectome")).iloc[0]


def _scores(config: SweepConfig, files: PointFiles) -> pd.DataFrame:
    parts = []
    for name in (*config.connectomes, *config.stages):
        table = against_null(_observed(files, name), files.read(Point(name, "rewired", 1.0, config.nulls, "null")))
        table.insert(0, "connectome", name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _curves(config: SweepConfig, files: PointFiles) -> pd.DataFrame:
    parts = []
    for name in config.connectomes:
        observed = _observed(files, name)
        for family in REWIRINGS:
            null = files.read(Point(name, family, 1.0, config.nulls, "null"))
            # Closer to the null model's mean than its graphs are to each other, an effect has no size of which a share could be left.
            distance = (observed - null.mean()).where((observed - null.mean()).abs() > null.std(ddof=1))
            for percent in config.percents:
                graphs = files.read(Point(name, family, percent / 100, config.graphs))
                part = pd.DataFrame(
                    {
                        "mean": graphs.mean(),
                        "sd": graphs.std(ddof=1),
                        "low": graphs.quantile(0.025),
                        "high": graphs.quantile(0.975),
                        "left": (graphs.mean() - null.mean()) / distance,
                        "unusual": share_unusual(graphs, null, observed, ALPHA),
                    }
                )
                part = part.rename_axis("measure").reset_index()
                part.insert(0, "fraction", percent / 100)
                part.insert(0, "family", family)
                part.insert(0, "connectome", name)
                parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _families(config: SweepConfig, files: PointFiles) -> pd.DataFrame:
    parts = []
    for name in config.connectomes:
        null = files.read(Point(name, "rewired", 1.0, config.nulls, "null"))
        for family in GENERATED:
            graphs = files.read(Point(name, family, None, config.graphs))
            z = (graphs.mean() - null.mean()) / null.std(ddof=1).where(null.std(ddof=1) > 0)
            part = pd.DataFrame({"mean": graphs.mean(), "sd": graphs.std(ddof=1), "z": z}).rename_axis("measure").reset_index()
            part.insert(0, "family", family)
            part.insert(0, "connectome", name)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _notes(config: SweepConfig, scores: pd.DataFrame) -> list[str]:
    tested = int(scores.groupby("connectome")["p"].count().max())
    smallest = 1 / (config.nulls + 1)
    notes = [
        f"{config.graphs} graphs a point, {config.nulls:,} of each null model; synapses: {config.synapses}; seed {config.seed}.",
        f"p by permutation: smallest {smallest:.2g}, or {min(1.0, tested * smallest):.2g} after Holm's correction over {tested} measures.",
        "The paper gives no numbers and no test; what counts as gradual, slight and lost is chosen here: gradual, if the effect falls"
        f" all the way (rank correlation with the fraction at most {FALLING:g}) and more than half is left at 10 %; lost, if at 5 % at most"
        " half of the graphs are still significant at 0.05. Effects: those of the connectome at p (Holm) ≤ 0.05.",
        "With degrees kept, a fraction of the edges swap targets; with degrees lost, each end of an edge moves with that probability, as"
        " igraph's rewire_edges does, so that more edges change.",
    ]
    if config.synapses == "both":
        notes.append(
            "Chemical and electrical synapses are rewired apart and merged for the measures: rewired graphs, in which they coincide less"
            " often, have more edges, and so other values of much else."
        )
    if tested * smallest > ALPHA:
        needed = round(tested / ALPHA) - 1
        notes.append(
            f"Too few graphs of the null model for a single measure to be significant after Holm's correction: {needed:,} are needed."
        )
    shortened = []
    standard = SweepConfig()
    if config.graphs < standard.graphs:
        shortened.append(f"{config.graphs} of {standard.graphs} graphs a point")
    if len(config.percents) < len(standard.percents):
        shortened.append(f"{len(config.percents)} of {len(standard.percents)} fractions")
    if left_out := [name for name in (*standard.connectomes, *standard.stages) if name not in (*config.connectomes, *config.stages)]:
        shortened.append(f"without {', '.join(left_out)}")
    if shortened:
        notes.append(f"Shortened: {'; '.join(shortened)}.")
    return notes


def _draw(folder: Path, result: StructureResult) -> list[Path]:
    figures = {"scores": plots.score_map(result.scores, result.families)}
    for (name, family), rows in result.curves.groupby(["connectome", "family"], sort=False):
        effects = result.effects[(result.effects["connectome"] == name) & (result.effects["family"] == family)]
        if len(effects):
            figures[f"dyads-{name}-{family}"] = plots.fading_dyads(rows, effects)
    for name, rows in result.curves.groupby("connectome", sort=False):
        others = [measure for measure in rows["measure"].unique() if MEASURES[measure].group != "dyads"]
        figures[f"measures-{name}"] = plots.measures_by_fraction(rows[rows["measure"].isin(others)])
    for label, figure in figures.items():
        plots.save(figure, folder / label)
    return [folder / label for label in figures]
