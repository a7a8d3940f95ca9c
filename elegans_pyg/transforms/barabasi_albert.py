"""Barabási–Albert controls: hubs."""

from __future__ import annotations

import networkx as nx
import numpy as np

from elegans_pyg.transforms.generated import GeneratedWiring, turned_at_random


class BarabasiAlbert(GeneratedWiring):
    r"""A graph grown node by node, each new one joined to :math:`m` others with a chance proportional to their degree.

    From Barabási & Albert (1999), "Emergence of scaling in random networks", Science 286, 509-512, doi:10.1126/science.286.5439.509, by
    :func:`networkx.barabasi_albert_graph` with the smallest :math:`m` whose :math:`m (N - m)` edges are at least :math:`E`; the surplus
    is removed at random. Each becomes one directed edge, so there are no reciprocal pairs. Nodes, synapse counts, electrical synapses
    and self-loops are as in :class:`~elegans_pyg.transforms.generated.GeneratedWiring`.

    Args:
        seed: non-negative integer; the same seed gives the same graph.
        density: number of edges, as a multiple of the base's.

    Raises:
        ValueError: if more than :math:`\lfloor N^2 / 4 \rfloor` edges are asked for, or ``data`` is no cyclic connectome.
    """

    def max_edges(self, num_nodes: int, directed: bool) -> int:
        return num_nodes**2 // 4

    def generate(self, num_nodes: int, num_edges: int, directed: bool, seed: int) -> np.ndarray:
        joined = next(m for m in range(1, num_nodes) if m * (num_nodes - m) >= num_edges)
        graph = nx.barabasi_albert_graph(num_nodes, joined, seed=seed)
        return turned_at_random(np.array(graph.edges), seed)
