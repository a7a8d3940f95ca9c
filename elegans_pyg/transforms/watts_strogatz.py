"""Watts–Strogatz controls: small worlds."""

from __future__ import annotations

import networkx as nx
import numpy as np

from elegans_pyg.transforms.generated import GeneratedWiring, turned_at_random
from elegans_pyg.transforms.wiring import check_share


class WattsStrogatz(GeneratedWiring):
    r"""A ring in which every node is joined to its nearest neighbours, with a share of the edges moved elsewhere.

    From Watts & Strogatz (1998), "Collective dynamics of 'small-world' networks", Nature 393, 440-442, doi:10.1038/30918, by
    :func:`networkx.watts_strogatz_graph` with :math:`k = 2 \lceil E / N \rceil` neighbours, which makes :math:`N k / 2 \ge E` edges; the
    surplus is removed at random. Each becomes one directed edge, so there are no reciprocal pairs. Nodes, synapse counts, electrical
    synapses and self-loops are as in :class:`~elegans_pyg.transforms.generated.GeneratedWiring`.

    Args:
        seed: non-negative integer; the same seed gives the same graph.
        p: share of edges moved, from 0 (the ring) to 1.
        density: number of edges, as a multiple of the base's.

    Raises:
        ValueError: if more edges are asked for than there are pairs of neurons, or ``data`` is no cyclic connectome.
    """

    def __init__(self, seed: int, p: float = 0.1, density: float = 1.0) -> None:
        super().__init__(seed, density)
        self.p = check_share("p", p)

    def max_edges(self, num_nodes: int, directed: bool) -> int:
        return num_nodes * (num_nodes - 1) // 2

    def generate(self, num_nodes: int, num_edges: int, directed: bool, seed: int) -> np.ndarray:
        neighbours = 2 * -(-num_edges // num_nodes)
        graph = nx.watts_strogatz_graph(num_nodes, neighbours, self.p, seed=seed)
        return turned_at_random(np.array(graph.edges), seed)
