"""The shape of DAGs: levels, widths, and the paths from input to output."""

from math import log10
from typing import Any

import numpy as np
import pandas as pd
from torch_geometric.data import Data

from elegans_pyg.analysis.simple_graph import SimpleGraph, measured

_PARTS = ("level", "input_mask", "output_mask")


def width_profile(data: Data) -> pd.DataFrame:
    """Count the nodes and edges of a DAG, level by level; raises ``ValueError`` if it is not a DAG, or its levels do not fit its edges.

    Returns:
        one row per level from 0 on: ``level``, ``width`` (nodes), ``inputs``, ``outputs``, ``edges_in`` (edges that end there). Nodes that
        no input reaches have no level.
    """
    graph, level, inputs, outputs = _read(data)
    reached, deep = level >= 0, int(level.max()) + 1
    parts = {"width": reached, "inputs": inputs, "outputs": outputs, "edges_in": graph.target[reached[graph.source]]}
    return pd.DataFrame({"level": np.arange(deep), **{name: np.bincount(level[part], minlength=deep) for name, part in parts.items()}})


def count_paths(data: Data) -> tuple[list[int], list[int]]:
    r"""Count the directed paths from any input node to each node, and from each node to any output node.

    .. math:: p(n) = [n \text{ is input}] + \sum_{m \to n} p(m), \qquad q(m) = [m \text{ is output}] + \sum_{m \to n} q(n)

    A path may have no edge. The product of the two is the number of input-to-output paths through a node. The counts are integers, exact at
    any size: the hermaphrodite's DAG has more paths than a float can count. Raises as :func:`width_profile`.

    Returns:
        two lists of ``N`` numbers; both numbers are 0 for nodes that no input reaches.
    """
    graph, level, inputs, outputs = _read(data)
    before, after = inputs.astype(int).tolist(), outputs.astype(int).tolist()
    inside = np.flatnonzero(level[graph.source] >= 0)
    source, target = graph.source[inside], graph.target[inside]
    # In order of the source's level, a source is complete before it is read; in reverse order of the target's level, a target is.
    forward, backward = np.argsort(level[source], kind="stable"), np.argsort(-level[target], kind="stable")
    for m, n in zip(source[forward].tolist(), target[forward].tolist(), strict=True):
        before[n] += before[m]
    for m, n in zip(source[backward].tolist(), target[backward].tolist(), strict=True):
        after[m] += after[n]
    return before, after


def path_betweenness(data: Data) -> np.ndarray:
    """Share of all input-to-output paths that pass through each node, ends included; ``(N,)``, 0 for nodes that no input reaches.

    The shares add up to the mean number of nodes on a path. Raises as :func:`width_profile`, and if the DAG has no path.
    """
    return _betweenness(data)[0]


@measured(
    "dag",
    ("levels", "number of levels", "levels"),
    ("width_max", "largest number of nodes on a level", "nodes"),
    ("width_sd", "standard deviation of the number of nodes over levels", "nodes"),
    ("input_nodes", "nodes that take the input", "nodes"),
    ("output_nodes", "reached nodes that give the output: without outgoing edges, or of the wiring's own output_mask", "nodes"),
    ("unreached_nodes", "nodes that no input reaches", "nodes"),
    ("edge_span", "mean number of levels that an edge between reached nodes spans; 0 without edges", "levels"),
    ("paths_log10", "decimal logarithm of the number of input-to-output paths", "log10 paths"),
    ("path_edges", "mean number of edges over all input-to-output paths", "edges"),
    ("betweenness_max", "largest share of input-to-output paths through a node that is neither input nor output; 0 without such nodes"),
    direction="dag",
    needs="level",
)
def dag_measures(_: Any, data: Data, *__: Any) -> tuple[float, ...]:
    graph, level, inputs, outputs = _read(data)
    through, total = _betweenness(data)
    inner = through[~(inputs | outputs)]
    reached = level >= 0
    widths = np.bincount(level[reached])
    here = reached[graph.source]
    spans = level[graph.target[here]] - level[graph.source[here]]
    nodes = (int(chosen.sum()) for chosen in (inputs, outputs, ~reached))
    span = float(spans.mean()) if len(spans) else 0.0
    paths = log10(total), float(through.sum() - 1), float(inner.max(initial=0.0))
    return len(widths), int(widths.max()), float(widths.std()), *nodes, span, *paths


def _betweenness(data: Data) -> tuple[np.ndarray, int]:
    """Share of the paths through each node, and the number of paths."""
    before, after = count_paths(data)
    total = sum(before[node] for node in np.flatnonzero(data.output_mask.cpu().numpy()).tolist())
    if not total:
        raise ValueError("data: expected a DAG with a path from an input node to an output node, got none; check its input_mask")
    # Python's division of integers is correct at any size, even if neither fits a float.
    return np.array([p * q / total for p, q in zip(before, after, strict=True)]), total


def _read(data: Data) -> tuple[SimpleGraph, np.ndarray, np.ndarray, np.ndarray]:
    lacks = ", ".join(name for name in _PARTS if data.get(name) is None)
    if lacks:
        raise ValueError(f"data: expected a DAG, got a wiring without {lacks}; make one with ConstrainedDAG() or RandomDAG(seed)")
    graph = SimpleGraph.from_data(data)
    level, inputs, outputs = (data[name].cpu().numpy() for name in _PARTS)
    wrong = (level[graph.source] >= 0) & (level[graph.target] <= level[graph.source])
    if wrong.any() or graph.self_loops:
        raise ValueError("data.level: expected every edge to lead to a higher level, got one that does not; make the DAG again")
    if not (level >= 0).any():
        raise ValueError("data.level: expected a DAG with a reached node, got none; check its input_mask")
    return graph, level, inputs, outputs
