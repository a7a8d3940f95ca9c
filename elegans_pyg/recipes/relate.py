"""Structure and learning: the measures of every wiring of finished runs, joined with their scores, and related to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

import elegans_pyg as ep
from elegans_pyg._settings import Names, Place, Settings, Whole
from elegans_pyg.recipes.analyze import CHUNK, Measures, measure, measure_names, units_of_run
from elegans_pyg.studies.study import Finished, Report, Study

if TYPE_CHECKING:
    import pandas as pd
    from torch_geometric.data import Data

KEYS = ["family", "wiring_seed", "seed"]


class RelateSettings(Settings):
    """Which runs, and what of their wirings."""

    group: ClassVar[str] = "Structure"

    runs: Annotated[Names, Place()] = Field((), description="RUN...: run folders.")
    measures: Measures = Field((), description="Measures or groups of them (default: the fast ones).")
    seed: Whole = Field(0, description="Of permutations, folds and forests, and of measures that need one.")


def relate_units(settings: RelateSettings) -> ep.studies.Units:
    """The units of all runs that have a wiring, with their scores. Wirings that are equal, in one run or in several, are one wiring.

    Raises:
        FileNotFoundError: if a folder is no run folder, or its run has no results yet.
        ValueError: if a folder is named twice, two runs differ in their settings or hold the same unit, or have nothing to relate.
    """
    import pandas as pd

    from elegans_pyg.analysis.arms import check_results
    from elegans_pyg.analysis.measures import chosen_measures

    if not settings.runs:
        raise ValueError("runs: expected one run folder or more, got none; name some, RUN ...")
    results, differing, score = ep.studies.join_runs(settings.runs)
    if differing:
        raise ValueError(f"run: scores of differing settings cannot be related to structure ({differing[0]}); relate the runs apart")
    if score not in results:
        raise ValueError(f"run: {settings.runs[0]} has no score by unit; relate runs that have")
    keys = [*KEYS, *(["task"] if "task" in results else [])]
    for _, rows in results.groupby(keys[3:], sort=False) if keys[3:] else [("", results)]:
        check_results(rows.assign(variant=range(len(rows))), score, share=False)
    own = [units_of_run(run) for run in settings.runs]
    graphs: list[Data | None] = [graph for units in own for graph in units.graphs()]
    scored = pd.concat([units.table[keys] for units in own], ignore_index=True).merge(results[[*keys, score]], on=keys, how="left")
    units = ep.studies.Units.build(scored.to_dict("records"), graphs)
    chosen_measures(settings.measures or None, units.wirings)
    return units


def report(done: Finished[RelateSettings]) -> Report:
    """Correlations of the measures with the score, and models that predict it, for each task by itself."""
    from elegans_pyg.analysis.relate import relate
    from elegans_pyg.studies.tables import TOP, bullets, relation_table, to_text

    rows, names = done.rows, measure_names(done.rows)
    (score,) = (name for name in rows if name not in (*KEYS, "variant", "wiring", "task") and name not in ep.analysis.MEASURES)
    tables, complete = list[Any](), list[Any]()
    findings, figures, answer = {}, {}, list[str]()
    for task, own in rows.groupby("task", sort=False) if "task" in rows else [("", rows)]:
        value = f"{task} {score}".strip()
        own = own.rename(columns={score: value})
        relation = relate(own, names, value, seed=done.settings.seed)
        if value != "accuracy":
            relation.notes.append(f"pp: hundredths of the {score}.")
        complete.append(relation_table(relation))
        tables.append(relation_table(relation, TOP))
        if (count := len(relation.table)) > TOP:
            tables.append(
                bullets([f"{TOP} of {count} measures shown, those with the largest |rho|; all are in relation.txt and relation.json."])
            )
        findings[value] = relation.to_dict()
        answer.append(_in_a_sentence(relation.table, value))
        if len(relation.table):
            figures[f"{value.replace(' ', '-')}-against-measures"] = ep.plots.value_against_measures(own, relation)
    content = {"runs": list(done.settings.runs), "relations": list(findings.values())}
    written = json.dumps(content, indent=2, allow_nan=False) + "\n"
    return Report(tables, [], {"relation.json": written.encode(), "relation.txt": to_text(*complete).encode()}, figures, answer=answer)


def _in_a_sentence(table: pd.DataFrame, value: str) -> str:
    """Measures that correlate with the value, within families and over all wirings, as far as that was shown."""
    alpha, parts = ep.analysis.ALPHA, []
    for rho, p, where in (("rho", "p_holm", "over all wirings"), ("rho_within", "p_within_holm", "within families")):
        own = table[table[p] <= alpha]
        names = ", ".join(f"{row['measure']} ({row[rho]:+.2f})" for row in own.head(3).to_dict("records"))
        tested = int(table[p].notna().sum())
        parts.append(f"{len(own)} of {tested} measures {where}" + (f" (strongest by rho: {names})" if names else ""))
    return f"Correlated with the {value} (p ≤ {alpha:g} after Holm's correction): {' and '.join(parts)}."


RELATE: Study[RelateSettings] = Study(
    "relate",
    RelateSettings,
    relate_units,
    measure,
    report,
    score="",
    processes=True,
    shard_size=lambda settings: CHUNK,
    text="Relate the structure of the wirings of finished runs to their scores.",
    places="runs",
)
