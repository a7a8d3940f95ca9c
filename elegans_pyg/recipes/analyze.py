"""The structure of one wiring against rewired graphs, or of all wirings of a run."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

import elegans_pyg as ep
from elegans_pyg._settings import Names, Whole
from elegans_pyg.recipes.elegans_structure import MOST, Point, against_chance, redraw
from elegans_pyg.recipes.ensemble import REFERENCE, is_connectome, load_wiring
from elegans_pyg.studies.settings import NeuronSettings, Wiring
from elegans_pyg.studies.study import Finished, Report, Shard, Study

if TYPE_CHECKING:
    import pandas as pd
    from torch_geometric.data import Data

CHUNK = 125
"""Wirings measured as one job: a few seconds of work, for which a process of its own would not pay."""
LEAST_NULLS, NULL = 19, "rewired"
PANELS = 12
"""Measures drawn of a run's wirings at most."""


def _known_measures(names: tuple[str, ...]) -> tuple[str, ...]:
    if names:
        from elegans_pyg.analysis import MEASURES

        groups = list(dict.fromkeys(measure.group for measure in MEASURES.values()))
        for name in names:
            if name not in MEASURES and name not in groups:
                raise ValueError(f"unknown choice {name!r}; choose from {', '.join(groups)} or the measures in them (analysis.MEASURES)")
    return names


Measures = Annotated[Names, AfterValidator(_known_measures)]


class AnalyzeSettings(NeuronSettings):
    """What is measured."""

    group: ClassVar[str] = "Structure"

    wiring: Wiring = Field("cook2019-hermaphrodite", description="CONNECTOME|FILE|RUN: by name, a file of edges, or run folder.")
    synapses: Literal["chemical", "electrical", "extrasynaptic", "both"] = Field("chemical", description="Kind of synapses; not for a run.")
    measures: Measures = Field((), description="Measures or groups of them (default: the fast ones).")
    nulls: int = Field(100, ge=0, le=MOST, description="Rewired graphs, degrees kept, to compare with; 0 for none; not for a run.")
    seed: Whole = Field(0, description="Of the rewired graphs, and of measures that need one.")

    @model_validator(mode="after")
    def _enough_nulls(self) -> AnalyzeSettings:
        if 0 < self.nulls < LEAST_NULLS:
            raise ValueError(f"nulls: expected 0, or at least {LEAST_NULLS}, with which p reaches 0.05, got {self.nulls}; raise it")
        return self


def analyze_units(settings: AnalyzeSettings) -> ep.studies.Units:
    """The wiring itself, and its rewired graphs, which follow from their seeds; or the wirings of the run's units."""
    from elegans_pyg.analysis.measures import chosen_measures

    if _is_run(settings):
        if given := [name for name in NeuronSettings.model_fields if getattr(settings, name)]:
            raise ValueError(f"{given[0]}: the wirings of a run have their neurons already; leave --{given[0]} out")
        units = units_of_run(settings.wiring)
    else:
        base, name = _base(settings), Point(Path(settings.wiring).stem, NULL, 100.0, null=True).name
        seeds = [ep.studies.unit_seed(settings.seed, name, number) for number in range(settings.nulls)]
        rows: list[dict[str, object]] = [{"family": REFERENCE, "wiring_seed": 0, "seed": settings.seed}]
        rows += [{"family": NULL, "wiring_seed": seed, "seed": seed} for seed in seeds]
        units = ep.studies.Units.build(rows, [base, *[None] * settings.nulls])
    chosen_measures(settings.measures or None, units.wirings)
    return units


def _is_run(settings: AnalyzeSettings) -> bool:
    return not is_connectome(settings.wiring) and Path(settings.wiring).expanduser().is_dir()


def units_of_run(folder: str | Path) -> ep.studies.Units:
    """The units of a run, finished or not, that have wirings, and the wirings without what tells apart draws of the same.

    Raises:
        FileNotFoundError: if the folder is no run folder.
        ValueError: if no unit has a wiring with an edge between two neurons.
    """
    from torch_geometric.data import Data

    from elegans_pyg.analysis.measures import LOOKED_AT

    units = ep.studies.load_run(folder).units
    table = units.table[units.table["wiring"] >= 0]
    graphs = [Data(**{name: graph[name] for name in LOOKED_AT if graph.get(name) is not None}) for graph in units.graphs(table)]
    if not any(bool((graph.edge_index[0] != graph.edge_index[1]).any()) for graph in graphs):
        raise ValueError(f"run: {folder} has no wiring with an edge between two neurons; give another run")
    names = [name for name in ("family", "wiring_seed", "seed", "task") if name in table]
    return ep.studies.Units.build(table[names].to_dict("records"), graphs)


def _base(settings: AnalyzeSettings) -> Data:
    """Read once for all shards of a process, and again once a file was changed."""
    files = [Path(name).expanduser() for name in (settings.wiring, settings.neurons) if name]
    return _read(settings, tuple(path.stat().st_mtime_ns if path.is_file() else 0 for path in files))


@lru_cache(maxsize=1)
def _read(settings: AnalyzeSettings, written_ns: tuple[int, ...]) -> Data:
    return load_wiring(settings.wiring, settings)


def measure(settings: Any, shard: Shard) -> pd.DataFrame:
    """The shard's units with the measures of their wirings, one column a measure; a unit without a wiring has its rewired graph's."""
    import pandas as pd

    pairs = zip(shard.wirings, shard.units["wiring_seed"].tolist(), strict=True)
    graphs = [redraw(_base(settings), NULL, seed, 100.0) if graph is None else graph for graph, seed in pairs]
    table = ep.analysis.measures(graphs, settings.measures or None, settings.seed, quiet=shard.quiet)
    return pd.concat([shard.units, table.astype(float)], axis=1)


def measure_names(rows: pd.DataFrame) -> list[str]:
    """The columns of measures that every wiring has."""
    return [name for name in rows if name in ep.analysis.MEASURES and not rows[name].isna().any()]


def _short(value: float, digits: int = 4) -> str:
    """A number with so many digits, or with all before the point; without an exponent where it is large."""
    return f"{value:,.{digits}g}" if abs(value) < 10**digits - 0.5 else f"{value:,.0f}"


def _report_wiring(done: Finished[AnalyzeSettings]) -> Report:
    """The measures against the rewired graphs'."""
    import numpy as np
    import pandas as pd

    from elegans_pyg.studies.tables import TOP

    settings, names = done.settings, measure_names(done.rows)
    observed, null = done.rows[names].iloc[0], done.rows[names].iloc[1:]
    pairs = ep.analysis.dyads(done.units.wirings[0])
    kinds = f"{REFERENCE}, neuron types, {settings.synapses} synapses"
    figures, notes, headings = {"type-pairs": ep.plots.titled(ep.plots.type_pairs(pairs), kinds)}, [], ["measure", "unit", "value"]
    table = pd.DataFrame({"measure": names, "value": observed.to_numpy()})
    cells = [[name, ep.analysis.MEASURES[name].unit, _short(value)] for name, value in observed.items()]
    if settings.nulls:
        table = ep.analysis.against_null(observed, null)
        headings += ["rewired ± SD", "z", "p", "p (Holm)"]
        for row, own in zip(table.itertuples(), cells, strict=True):
            tests = ((row.z, "+.1f"), (row.p, ".2g"), (row.p_holm, ".2g"))
            own.append(f"{_short(row.mean)} ± {_short(row.sd, 2)}")
            own += [ep.studies.MISSING if pd.isna(value) else format(value, form) for value, form in tests]
        tested, kept = int(table["p"].notna().sum()), "with every neuron's degrees kept (Rewired)"
        notes.append(f"Against {settings.nulls} graphs {kept}; p by permutation, Holm's correction over {tested}.")
        if tested > (alpha := ep.analysis.ALPHA) * (settings.nulls + 1):
            none = f"No measure can reach {alpha:g} after Holm's correction with {settings.nulls} graphs"
            notes.append(f"{none}: {round(tested / alpha) - 1:,} are needed (--nulls).")
        if table["z"].notna().any():
            against = f"against {settings.nulls} rewired graphs, {settings.synapses} synapses"
            figures["scores"] = ep.plots.titled(ep.plots.score_dots(table), against)
    title = f"{Path(settings.wiring).name}, {settings.synapses} synapses"
    answer = [against_chance(Path(settings.wiring).stem, table["p_holm"], settings.nulls)] if settings.nulls else []
    order = np.argsort(-table["z"].abs().to_numpy(), kind="stable").tolist() if settings.nulls else list(range(len(cells)))
    how = ", those with the largest |z|" if settings.nulls else ""
    # Those without a z, which no rewiring changes, are last.
    shown = ep.studies.make_table(title, headings, [cells[place] for place in order[:TOP]], left=2)
    if len(cells) > TOP:
        notes.append(f"{TOP} of {len(cells)} measures shown{how}; all are in measures.csv.")
    return Report([shown], notes, {"measures.csv": table, "dyads.csv": pairs}, figures, answer=answer)


def _report_run(done: Finished[AnalyzeSettings]) -> Report:
    """The measures by family, those first whose family means lie farthest apart."""
    import numpy as np
    import pandas as pd

    from elegans_pyg.studies.tables import TOP

    unique = done.rows.drop_duplicates(["family", "wiring"])
    own = measure_names(done.rows)
    families = unique.groupby("family", sort=False)[own]
    mean, sd, size = families.mean(), families.std(ddof=1), families.size()
    # Sums in another order differ in the last bits.
    differ = np.ptp(unique[own], axis=0) > 1e-9 * unique[own].abs().max().clip(lower=1.0)
    apart = (np.ptp(mean, axis=0) / unique[own].std()).where(differ, 0.0).round(9)
    names = [own[place] for place in np.argsort(-apart.to_numpy(), kind="stable")]
    cells = [
        (name, *(_short(mean.loc[f, name]) + ("" if size[f] < 2 else f" ± {_short(sd.loc[f, name], 2)}") for f in mean.index))
        for name in names[:TOP]
    ]
    table = ep.studies.make_table(f"Wirings of {done.settings.wiring}", ("measure", *(f"{f} ({size[f]})" for f in mean.index)), cells)
    notes = ["Measures of the wirings as they were used; mean ± SD over each family's wirings, their number in brackets."]
    if len(names) > TOP:
        chosen = "those whose family means lie farthest apart, in standard deviations over all wirings"
        notes.append(f"{TOP} of {len(names)} measures shown, {chosen}; all are in families.csv.")
    figures, drawn = {}, [name for name in names if differ[name]]
    if drawn:
        which = f"the {PANELS} measures of {len(drawn)} that differ most" if len(drawn) > PANELS else "measures that differ"
        title = f"{which} between families: {', '.join(map(str, mean.index))}"
        figures["families"] = ep.plots.titled(ep.plots.measures_by_family(unique, drawn[:PANELS]), title)
    long = [(f, size[f], name, mean.loc[f, name], sd.loc[f, name]) for f in mean.index for name in names]
    return Report([table], notes, {"families.csv": pd.DataFrame(long, columns=["family", "wirings", "measure", "mean", "sd"])}, figures)


def report(done: Finished[AnalyzeSettings]) -> Report:
    """The measures by family for the wirings of a run, whose folder may be gone since; else against the rewired graphs'."""
    table = done.units.table
    kept = bool((table["wiring"] >= 0).all()) and (done.settings.nulls > 0 or len(table) > 1 or _is_run(done.settings))
    return _report_run(done) if kept else _report_wiring(done)


ANALYZE: Study[AnalyzeSettings] = Study(
    "analyze",
    AnalyzeSettings,
    analyze_units,
    measure,
    report,
    score="",
    processes=True,
    shard_size=lambda settings: CHUNK,
    text="Measure the structure of a connectome, or of all wirings of a run, and draw it.",
    places="wiring",
)
