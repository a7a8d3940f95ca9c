"""Rewiring that does not keep degrees: ends of edges move to random neurons."""

from dataclasses import replace

import numpy as np

from elegans_pyg._arguments import check_number
from elegans_pyg._loops import edge_table, flip_edge, has_edge, loop
from elegans_pyg.transforms.rewiring import EdgeSet, Rewiring


class RandomRewired(Rewiring):
    r"""Move ends of edges to random neurons: only the numbers of neurons and edges are kept, not the degrees.

    Follows igraph's ``rewire_edges``, which made the nulls of "ElegansNet" (Bardozzo et al. 2023): each of the two ends of every edge
    moves with probability ``fraction``, so that :math:`1 - (1 - \text{fraction})^2` of the edges change on average. The ends move one after
    the other, in random order, each to a neuron drawn uniformly from those that give neither a self-loop nor an existing edge; its present
    neuron is among them. With ``fraction`` 1 only the density of the graph is kept. A synapse count stays with its edge. Electrical
    synapses are moved separately, as undirected edges. Self-loops of the base are kept.

    Args:
        seed: non-negative integer; the same seed gives the same graph.
        fraction: probability with which each end of an edge moves. 0 gives an equal graph.

    Raises:
        ValueError: if ``data`` is not a cyclic connectome.
    """

    family = "random_rewired"

    def __init__(self, seed: int, fraction: float = 1.0) -> None:
        super().__init__(seed)
        self.fraction = check_number("fraction", fraction, high=1.0)

    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        moving = rng.permutation(np.flatnonzero(rng.random(2 * len(edges)) < self.fraction))
        new = replace(edges, source=edges.source.copy(), target=edges.target.copy())
        _move_ends(new.source, new.target, new.num_nodes, new.directed, moving, edge_table(new.num_nodes), rng)
        return new


@loop
def _move_ends(source, target, number, directed, moving, present, rng):  # type: ignore[no-untyped-def]
    """Move ends in place. ``moving`` numbers the sources, then the targets; ``present`` is an empty table of edges."""
    for edge in range(len(source)):
        flip_edge(present, number, directed, source[edge], target[edge])
    for place in moving:
        edge = place % len(source)
        a, b = source[edge], target[edge]
        flip_edge(present, number, directed, a, b)
        while True:
            node = int(rng.random() * number)
            if place < len(source):
                a = node
            else:
                b = node
            if a != b and not has_edge(present, number, directed, a, b):
                break
        source[edge], target[edge] = a, b
        flip_edge(present, number, directed, a, b)
