"""How far the wirings of a family match the connectome's, in numbers that could explain a difference in accuracy."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text
from torch_geometric.data import Batch, Data

COUNTS = ("nodes", "edges", "inputs", "outputs", "unreached", "levels", "parameters")
_TOLERANCE = 0.01


def wiring_counts(batch: Data | Batch, variants: pd.DataFrame, parameters: list[int]) -> pd.DataFrame:
    """Count what each variant is made of.

    Args:
        batch: the DAGs.
        variants: one row each, with ``family``.
        parameters: trainable parameters of each variant.

    Returns:
        one row a variant: ``family`` and :data:`COUNTS`; ``edges`` are the DAG's, ``unreached`` the nodes that no input reaches.
    """
    graphs = batch.to_data_list() if isinstance(batch, Batch) else [batch]
    rows = [
        (
            family,
            int(graph.num_nodes or 0),
            graph.edge_index.size(1),
            int(graph.input_mask.sum()),
            int(graph.output_mask.sum()),
            int((graph.level < 0).sum()),
            int(graph.level.max()) + 1,
            count,
        )
        for family, graph, count in zip(variants["family"], graphs, parameters, strict=True)
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
            if abs(change) > _TOLERANCE * float(base[name]):
                off.append(f"{name} {change / float(base[name]):+.1%}" if base[name] else f"{name} {change:+g}")
        differs.append(", ".join(off))
    return means.assign(differs=differs).reset_index()


def render_match(match: pd.DataFrame) -> Table:
    """The table of :func:`match_table` for the terminal."""
    table = Table(title="Wirings, means by family", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    columns = [name for name in match.columns if name not in ("family", "differs")]
    table.add_column("family")
    for name in columns:
        table.add_column(name, justify="right")
    table.add_column(f"off by over {_TOLERANCE:.0%}", overflow="fold")
    for row in match.to_dict(orient="records"):
        table.add_row(Text(str(row["family"])), *(_count(row[name]) for name in columns), Text(str(row["differs"]) or "–"))
    return table


def _count(value: Any) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
