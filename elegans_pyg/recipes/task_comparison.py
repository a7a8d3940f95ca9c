"""Compare families with the connectome in several tasks, each with its own score; used by studies of tasks in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import elegans_pyg as ep

if TYPE_CHECKING:
    import pandas as pd

    from elegans_pyg.analysis.compare import Comparison


def digits(mean: float) -> int:
    """Number of decimals to show of a score."""
    return 3 if abs(mean) < 1 else 2


def family_means(table: pd.DataFrame, score: str, families: list[str]) -> list[str]:
    """Mean and standard deviation of each family's scores."""
    groups = table.groupby("family")[score]
    columns = [groups.get_group(family) for family in families]
    return [ep.studies.mean_and_sd(column.mean(), column.std(), digits(column.mean())) for column in columns]


@dataclass
class TaskComparison:
    """The comparisons by task, the tables for the terminal (only the first task's comparison, to keep it short; all means and differences),
    and all comparisons as Markdown."""

    comparisons: dict[str, Comparison] = field(default_factory=dict)
    tables: list[Any] = field(default_factory=list)
    markdown: bytes = b""
    dots: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Every variant's score, by the task and its metric."""

    @property
    def findings(self) -> dict[str, Any]:
        """For ``summary.json``."""
        return {"comparisons": {task: comparison.to_dict() for task, comparison in self.comparisons.items()}}

    @property
    def files(self) -> dict[str, bytes]:
        return {"comparisons.md": self.markdown} if self.comparisons else {}


def arrows(metrics: Mapping[str, str]) -> dict[str, str]:
    """The metric of each task, with an arrow that shows whether higher (↑) or lower (↓) is better."""
    from elegans_pyg.datasets.sequences import METRICS

    return {task: f"{metric} {'↑' if METRICS[metric][1] else '↓'}" for task, metric in metrics.items()}


def compare_tasks(rows: pd.DataFrame, metrics: Mapping[str, str], margins: Mapping[str, float]) -> TaskComparison:
    """Compare the column ``score`` of every task's rows, with the task's margin for equality, if any; without the connectome, or without
    other families, only means are shown."""
    from elegans_pyg.studies.tables import to_markdown

    families, found, differences = list(dict.fromkeys(rows["family"])), TaskComparison(), []
    reference, *others = families
    for task, metric in metrics.items() if others and reference == "connectome" else ():
        value = ep.studies.score_name(task, metric)
        own = rows[rows["task"] == task].rename(columns={"score": value})
        comparison = ep.analysis.compare(own, value=value, share=metric == "accuracy", margin=margins.get(task))
        found.comparisons[task], cells = comparison, []
        for row in comparison.to_dict()["families"][1:]:
            p = row["p_holm"]
            shown = "" if p is None else f" ({p:.3f})" if p >= 0.001 else f" ({p:.0e})"
            cells.append(ep.studies.MISSING if row["difference"] is None else f"{row['difference']:+.{digits(row['mean'])}f}{shown}")
        differences.append((task, *cells))
    named = {task: f"{task}: {name}" for task, name in arrows(metrics).items()}
    found.dots = {named[task]: own.rename(columns={"score": "value"}) for task, own in rows.groupby("task", sort=False)}
    compared = {comparison.value: ep.studies.comparison_table(comparison) for comparison in found.comparisons.values()}
    scores = [(task, name, *family_means(rows[rows["task"] == task], "score", families)) for task, name in arrows(metrics).items()]
    found.tables = list(compared.values())[:1]
    found.tables.append(ep.studies.make_table("Test score, mean ± SD over variants", ("task", "metric", *families), scores, left=2))
    if found.comparisons:
        title = "Difference from the connectome (permutation p, Holm's correction over families)"
        found.tables.append(ep.studies.make_table(title, ("task", *others), differences))
    found.markdown = "\n".join(f"## {value}\n\n{to_markdown(table)}" for value, table in compared.items()).encode()
    return found
