"""Erdős–Rényi controls: edges anywhere."""

from __future__ import annotations

import networkx as nx
import numpy as np

from elegans_pyg.transforms.generated import GeneratedWiring


class ErdosRenyi(GeneratedWiring):
    r"""A graph drawn uniformly from all with the base's numbers of nodes and edges, :math:`G(N, E)`.

    From Erdős & Rényi (1959), "On random graphs I", Publ. Math. Debrecen 6, 290-297, doi:10.5486/PMD.1959.6.3-4.12, by
    :func:`networkx.gnm_random_graph`; chemical edges are drawn as directed ones, so reciprocal pairs occur. Nodes, synapse counts,
    electrical synapses and self-loops are as in :class:`~elegans_pyg.transforms.generated.GeneratedWiring`.

    Args:
        seed: non-negative integer; the same seed gives the same graph.
        density: number of edges, as a multiple of the base's.

    Raises:
        ValueError: if more edges are asked for than there are pairs of neurons, or ``data`` is no cyclic connectome.
    """

    def max_edges(self, num_nodes: int, directed: bool) -> int:
        pairs = num_nodes * (num_nodes - 1)
        return pairs if directed else pairs // 2

    def generate(self, num_nodes: int, num_edges: int, directed: bool, seed: int) -> np.ndarray:
        return np.array(nx.gnm_random_graph(num_nodes, num_edges, seed=seed, directed=directed).edges)
