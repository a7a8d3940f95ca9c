"""Rewiring that does not keep degrees: ends of edges move to random neurons."""

from dataclasses import replace

import numpy as np

from elegans_pyg._arguments import check_number
from elegans_pyg.transforms.rewiring import EdgeSet, Rewiring


class RandomRewired(Rewiring):
    r"""Move ends of edges to random neurons, so that degrees are lost and only the numbers of neurons and edges are kept.

    What igraph's ``rewire_edges`` does, with which the controls of "ElegansNet" (Bardozzo et al. 2023) were made: each of the two ends of
    every edge moves with probability ``fraction``, so that :math:`1 - (1 - \text{fraction})^2` of the edges change on average. The ends
    move one after the other, in random order, each to a neuron drawn uniformly from those that make neither a self-loop nor an edge that is
    there already; its present one is among them. With ``fraction`` 1 nothing of the graph but its density is left. A
    synapse count stays with its edge. Electrical synapses move among themselves, as undirected edges. Self-loops of the base stay.

    Args:
        seed: non-negative integer; the same seed gives the same graph.
        fraction: probability with which each end of an edge moves. 0 gives an equal graph.

    Raises:
        ValueError: if ``data`` is no cyclic connectome.
    """

    family = "random_rewired"

    def __init__(self, seed: int, fraction: float = 1.0) -> None:
        super().__init__(seed)
        self.fraction = check_number("fraction", fraction, high=1.0)

    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        ends, directed = np.stack([edges.source, edges.target]), edges.directed
        moving = rng.permutation(np.flatnonzero(rng.random(2 * len(edges)) < self.fraction))
        taken = np.eye(edges.num_nodes, dtype=bool)

        def mark(pair: np.ndarray, there: bool) -> None:
            taken[pair[0], pair[1]] = there
            if not directed:
                taken[pair[1], pair[0]] = there

        mark(ends, True)
        for place in moving.tolist():
            end, edge = divmod(place, len(edges))
            other = ends[1 - end, edge]
            mark(ends[:, edge], False)
            free = np.flatnonzero(~(taken[:, other] if end == 0 else taken[other]))
            ends[end, edge] = free[rng.integers(len(free))]
            mark(ends[:, edge], True)
        return replace(edges, source=ends[0], target=ends[1])
