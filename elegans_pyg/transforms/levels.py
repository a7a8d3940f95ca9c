"""Order along a directed graph: generations, levels, and the attributes that make a ``Data`` a DAG."""

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import degree


def topological_generations(edge_index: Tensor, num_nodes: int) -> Tensor:
    r"""Longest path to each node from any node without incoming edges, by Kahn's algorithm, a whole generation at a time.

    Args:
        edge_index: ``(2, E)`` int64; an edge may be there more than once.
        num_nodes: number of nodes ``N``.

    Returns:
        ``(N,)`` int64

    Raises:
        ValueError: if the graph has a cycle, a self-loop included.
    """
    source, target = edge_index.cpu().numpy()
    target = target[np.argsort(source, kind="stable")]
    ptr = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=num_nodes))])
    waiting_for = np.bincount(target, minlength=num_nodes)
    generation = np.full(num_nodes, -1, dtype=np.int64)
    frontier, depth = np.flatnonzero(waiting_for == 0), 0
    while len(frontier):
        generation[frontier] = depth
        counts = ptr[frontier + 1] - ptr[frontier]
        edges = np.repeat(ptr[frontier + 1] - np.cumsum(counts), counts) + np.arange(counts.sum())
        hit, times = np.unique(target[edges], return_counts=True)
        waiting_for[hit] -= times
        frontier, depth = hit[waiting_for[hit] == 0], depth + 1
    if stuck := int((generation < 0).sum()):
        raise ValueError(
            f"edge_index: expected a graph without cycles, got one with {stuck} nodes on or behind a cycle; make it a DAG first"
        )
    return torch.from_numpy(generation).to(edge_index.device)


def distance_from(edge_index: Tensor, start: Tensor) -> Tensor:
    """Number of edges on the shortest path from any node of ``start``, a mask ``(N,)``, to each node; -1 where there is none."""
    source, target = edge_index.cpu().numpy()
    frontier, steps = start.cpu().numpy(), 0
    distance = np.where(frontier, 0, -1)
    while frontier.any():
        steps += 1
        frontier = np.bincount(target[frontier[source]], minlength=len(distance)).astype(bool) & (distance < 0)
        distance[frontier] = steps
    return torch.from_numpy(distance).to(start.device)


def longest_path_levels(edge_index: Tensor, input_mask: Tensor) -> Tensor:
    """Longest path to each node from any input node, ``(N,)`` int64; -1 for nodes that no input reaches.

    Raises:
        ValueError: if the graph has a cycle, even one that no input reaches.
    """
    topological_generations(edge_index, input_mask.numel())
    reached = distance_from(edge_index, input_mask) >= 0
    # In what the inputs reach, every node without incoming edges is an input, so generations there count from inputs alone.
    inside = edge_index[:, reached[edge_index[0]]]
    return torch.where(reached, topological_generations(inside, input_mask.numel()), -1)


def mark_dag(data: Data, input_mask: Tensor) -> Data:
    """Add ``level``, ``input_mask`` and ``output_mask`` to ``data``, which is changed.

    The output nodes are those without outgoing edge, or those of an ``output_mask`` that the wiring has; and are reached from an input.

    Raises:
        ValueError: if ``data`` has a cycle.
    """
    given = "output_mask" in data and "level" not in data
    outputs = data.output_mask if given else degree(data.edge_index[0], input_mask.numel()) == 0
    data.level, data.input_mask = longest_path_levels(data.edge_index, input_mask), input_mask
    data.output_mask = (data.level >= 0) & outputs
    return data
