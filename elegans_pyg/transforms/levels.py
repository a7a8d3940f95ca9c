"""Order along a directed graph: distances, levels, and the attributes that make a ``Data`` a DAG."""

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from elegans_pyg._loops import loop


def distance_from(edge_index: Tensor, start: Tensor) -> Tensor:
    """Number of edges on the shortest path from any node of the mask ``start (N,)`` to each node, ``(N,)``; -1 if there is no path."""
    distance = np.where(start.cpu().numpy(), 0, -1)
    _approach(*edge_index.cpu().numpy(), distance)
    return torch.from_numpy(distance).to(start.device)


@loop
def _approach(source, target, distance):  # type: ignore[no-untyped-def]
    """Turn 0 for starts and -1 for others into numbers of edges on shortest paths, one step farther in each pass over the edges."""
    steps, farther = 0, True
    while farther:
        farther = False
        for edge in range(len(source)):
            if distance[source[edge]] == steps and distance[target[edge]] < 0:
                distance[target[edge]] = steps + 1
                farther = True
        steps += 1


def longest_path_levels(edge_index: Tensor, input_mask: Tensor) -> Tensor:
    """Length of the longest path from any input node to each node, ``(N,)`` int64; -1 for nodes that no input reaches.

    Raises:
        ValueError: if the graph has a cycle (a self-loop is one), even one that no input reaches.
    """
    source, target = edge_index.cpu().numpy()
    level = np.where(input_mask.cpu().numpy(), 0, -1)
    if stuck := _lengthen(source, target, level):
        raise ValueError(
            f"edge_index: expected a graph without cycles, got one with {stuck} nodes on or behind a cycle; make it a DAG first"
        )
    return torch.from_numpy(level).to(edge_index.device)


@loop
def _lengthen(source, target, level):  # type: ignore[no-untyped-def]
    """Turn 0 for inputs and -1 for others into lengths of longest paths, by Kahn's algorithm; return how many nodes it cannot order."""
    # The last edge out of each node, and the edge of that node before each edge.
    last, before, waiting_for = [-1] * len(level), [-1] * len(source), [0] * len(level)
    for edge in range(len(source)):
        before[edge], last[source[edge]] = last[source[edge]], edge
        waiting_for[target[edge]] += 1
    ready = [node for node in range(len(level)) if waiting_for[node] == 0]
    done = 0
    while done < len(ready):
        node = ready[done]
        done += 1
        edge = last[node]
        while edge >= 0:
            t = target[edge]
            if level[node] >= 0:
                level[t] = max(level[t], level[node] + 1)
            waiting_for[t] -= 1
            if waiting_for[t] == 0:
                ready.append(t)
            edge = before[edge]
    return len(level) - done


def mark_dag(data: Data, input_mask: Tensor) -> Data:
    """Add ``level``, ``input_mask`` and ``output_mask`` to ``data``, which is changed.

    Output nodes are the reached nodes without outgoing edges, or, if a wiring that is not yet a DAG has an ``output_mask``, the reached
    nodes in it.

    Raises:
        ValueError: if ``data`` has a cycle.
    """
    given = "output_mask" in data and "level" not in data
    outputs = data.output_mask if given else torch.ones_like(input_mask).index_fill(0, data.edge_index[0], False)
    data.level, data.input_mask = longest_path_levels(data.edge_index, input_mask), input_mask
    data.output_mask = (data.level >= 0) & outputs
    return data
