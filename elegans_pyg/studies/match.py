"""How far the wirings of a family match the connectome's, in numbers that could explain a difference in accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from torch_geometric.data import Data

COUNTS = ("nodes", "edges", "inputs", "outputs", "unreached", "levels", "parameters")
TOLERANCE = 0.01


def wiring_counts(graphs: Sequence[Data], units: pd.DataFrame) -> pd.DataFrame:
    """Count what each unit is made of.

    Args:
        graphs: the DAGs.
        units: one row each, with ``family`` and ``parameters``.

    Returns:
        one row a unit: ``family`` and :data:`COUNTS`; ``edges`` are the DAG's, ``unreached`` the nodes that no input reaches.
    """
    rows = [
        (
            family,
            int(graph.num_nodes or 0),
            graph.edge_index.size(1),
            int(graph.input_mask.sum()),
            int(graph.output_mask.sum()),
            int((graph.level < 0).sum()),
            int(graph.level.max()) + 1,
            int(count),
        )
        for family, graph, count in zip(units["family"], graphs, units["parameters"], strict=True)
    ]
    return pd.DataFrame(rows, columns=["family", *COUNTS])


def match_table(counts: pd.DataFrame) -> pd.DataFrame:
    """Means over each family, and where they are off.

    Args:
        counts: from :func:`wiring_counts`; its first family is what the others should match.

    Returns:
        one row a family: ``family``, ``wirings``, the mean of each of :data:`COUNTS`, and ``differs``: in words, which counts are off by
        more than 1 %.
    """
    means = counts.groupby("family", sort=False)[list(COUNTS)].mean()
    means.insert(0, "variants", counts.groupby("family", sort=False).size())
    base = means.iloc[0]
    differs = []
    for _, row in means.iterrows():
        off = []
        for name in COUNTS:
            change = float(row[name] - base[name])
            if abs(change) > TOLERANCE * float(base[name]):
                off.append(f"{name} {change / float(base[name]):+.1%}" if base[name] else f"{name} {change:+g}")
        differs.append(", ".join(off))
    return means.assign(differs=differs).reset_index()
