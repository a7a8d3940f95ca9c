"""Structure and learning: the measures of every wiring of finished runs, joined with the accuracies, and related to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch_geometric.data import Data

from elegans_pyg import plots
from elegans_pyg.analysis import measures
from elegans_pyg.analysis.compare import check_results
from elegans_pyg.analysis.relate import Relation, relate
from elegans_pyg.datasets.graph_cache import hash_graph
from elegans_pyg.recipes.run import build_variants, say
from elegans_pyg.recipes.run_folder import RunFolder
from elegans_pyg.recipes.saved_runs import join_runs
from elegans_pyg.recipes.tables import write_json, write_table

KEYS = ("variant", "family", "wiring_seed", "seed")


@dataclass(frozen=True)
class RelatedRuns:
    """What :func:`relate_runs` finds.

    Attributes:
        variants: one row a variant: ``variant``, ``family``, ``wiring_seed``, ``seed``, ``accuracy``, ``wiring`` (what tells wirings apart)
            and the measures of its DAG.
        measures: the columns that hold measures.
        relation: correlations and models.
        table: the file that ``variants`` was written to.
        figures: the figures' files, without their suffixes.
    """

    variants: pd.DataFrame
    measures: list[str]
    relation: Relation
    table: Path | None
    figures: list[Path]


def relate_runs(
    folders: Sequence[str | Path], out: str | Path | None = None, which: Sequence[str] | None = None, *, seed: int = 0, quiet: bool = False
) -> RelatedRuns:
    """Measure the DAGs of finished runs and relate the measures to the accuracies, see :func:`~elegans_pyg.analysis.relate.relate`.

    The wirings are built again from each run's settings. Wirings that are equal, in one run or in several, are one wiring.

    Args:
        folders: run folders; their settings may differ in wirings and seeds only.
        out: folder to write ``variants.parquet`` (``.csv`` without pyarrow), ``relation.json``, ``relation.txt`` and the figures to;
            ``None`` writes nothing.
        which: measures, see :func:`~elegans_pyg.analysis.measures`; default: its default.
        seed: of the measures that need one, the permutations and the models.
        quiet: show no progress.

    Raises:
        FileNotFoundError: if a folder is no run folder, or its run has no results yet.
        FileExistsError: if ``out`` is not empty.
        ValueError: if a folder is named twice, two runs differ in their settings or hold the same variant, or wirings cannot be built
            again.
    """
    if out is not None:
        RunFolder(out).check_unused()
    variants, graphs = joined_variants(folders)
    first = ~variants["wiring"].duplicated()
    if not quiet:
        say(f"{len(variants)} variants, {int(first.sum())} wirings")
    table = measures([graphs[number] for number in variants.index[first]], which, seed=seed, progress=not quiet)
    names = [str(name) for name in table.columns]
    table.insert(0, "wiring", variants.loc[first, "wiring"].to_numpy())
    variants = variants.merge(table, on="wiring", how="left", validate="many_to_one")
    relation = relate(variants, names, seed=seed)
    if out is None:
        return RelatedRuns(variants, names, relation, None, [])
    folder = Path(out).expanduser()
    file = write_table(folder / "variants", variants)
    write_json(folder / "relation.json", {"runs": [str(Path(run).resolve()) for run in folders], **relation.to_dict()})
    (folder / "relation.txt").write_text(relation.to_text(), encoding="utf-8")
    figures = []
    if len(relation.table):
        figures.append(folder / "figures" / "accuracy-against-measures")
        plots.save(plots.value_against_measures(variants, relation), figures[0])
    return RelatedRuns(variants, names, relation, file, figures)


def joined_variants(folders: Sequence[str | Path]) -> tuple[pd.DataFrame, list[Data]]:
    """The results of several runs as one table with a column ``wiring``, and the DAG of each row; raises what :func:`relate_runs` does."""
    results, differing = join_runs(folders)
    if differing:
        raise ValueError(f"run: accuracies of differing settings cannot be related to structure ({differing[0]}); relate the runs apart")
    check_results(results)
    graphs: list[Data] = []
    for folder in folders:
        run = RunFolder(folder)
        batch, rebuilt = build_variants(run.read_config())
        if not rebuilt[list(KEYS)].equals(run.read_results()[list(KEYS)]):
            raise ValueError(
                f"run: the settings of {run.path} no longer give the variants in its results.csv; use the versions that its summary.json"
                " names"
            )
        graphs += batch.to_data_list()
    results["wiring"] = [wiring_name(graph) for graph in graphs]
    return results, graphs


def wiring_name(graph: Data) -> str:
    """Equal for wirings with the same neurons, edges and weights."""
    names = ("edge_index", "edge_weight", "edge_type", "neuron_type")
    return hash_graph(Data(**{name: graph[name] for name in names}))[:16]
