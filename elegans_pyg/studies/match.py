"""How closely the wirings of each family match the connectome in counts that could explain a difference in accuracy."""

from collections.abc import Sequence

import pandas as pd
from torch_geometric.data import Data

COUNTS = ("nodes", "edges", "inputs", "outputs", "unreached", "levels", "parameters")
TOLERANCE = 0.01


def wiring_counts(graphs: Sequence[Data], units: pd.DataFrame) -> pd.DataFrame:
    """Count what each unit consists of: its ``family`` and :data:`COUNTS`; ``edges`` are the DAG's, and no input reaches ``unreached``
    nodes.

    Args:
        graphs: the DAGs.
        units: one row per DAG, with ``family`` and ``parameters``.
    """
    counts = [
        (graph.num_nodes, graph.num_edges, graph.input_mask.sum(), graph.output_mask.sum(), (graph.level < 0).sum(), graph.level.max() + 1)
        for graph in graphs
    ]
    table = pd.DataFrame([map(int, row) for row in counts], columns=COUNTS[:-1])
    return table.assign(family=units["family"].tolist(), parameters=units["parameters"].astype(int).tolist())[["family", *COUNTS]]


def match_table(counts: pd.DataFrame) -> pd.DataFrame:
    """Mean counts of each family, and which of them differ from the first family's.

    Args:
        counts: from :func:`wiring_counts`; its first family is what the others should match.

    Returns:
        one row per family: ``family``, ``variants``, the mean of each of :data:`COUNTS`, and ``differs``, a text that lists the counts that
        differ by more than 1 %.
    """
    groups = counts.groupby("family", sort=False)[list(COUNTS)]
    means = groups.mean()
    base, changes = means.iloc[0], means - means.iloc[0]
    off = [
        [
            f"{name} {change / base[name]:+.1%}" if base[name] else f"{name} {change:+g}"
            for name, change in row.items()
            if abs(change) > TOLERANCE * base[name]
        ]
        for _, row in changes.iterrows()
    ]
    means.insert(0, "variants", groups.size())
    return means.assign(differs=[", ".join(names) for names in off]).reset_index()
