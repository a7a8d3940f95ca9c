"""Communities: modularity by the Leiden algorithm."""

import random
import threading
from typing import Any

import numpy as np
from torch_geometric.data import Data

from elegans_pyg._arguments import check_seed
from elegans_pyg._extras import require
from elegans_pyg.analysis.simple_graph import Ints, SimpleGraph, measured

_TRAAG = "Traag et al. 2019, doi:10.1038/s41598-019-41695-z"
# igraph has one generator for the whole process.
_lock = threading.Lock()


def communities(data: Data, seed: int = 0, synapses: str = "all") -> tuple[Ints, float]:
    r"""Find the communities of the undirected, weighted support, and their modularity.

    By the algorithm of Traag, Waltman & van Eck (2019), "From Louvain to Leiden", Sci. Rep. 9, 5233, doi:10.1038/s41598-019-41695-z, run
    until it no longer improves

    .. math:: Q = \frac{1}{2m} \sum_{ij} \Big( w_{ij} - \frac{s_i s_j}{2m} \Big) [c_i = c_j]

    with :math:`w_{ij}` the summed weights of both directions, :math:`s_i = \sum_j w_{ij}` and :math:`2m = \sum_i s_i`. Needs igraph (extra
    ``structure``), whose process-wide generator is seeded for the call and then reset to igraph's default, Python's ``random``.

    Returns:
        the number of each neuron's community, ``(N,)``, and :math:`Q`, 0 without edges.
    """
    check_seed(seed)
    graph = SimpleGraph.from_data(data, synapses)
    igraph = require("igraph", "structure", "finding communities")
    low, high = np.minimum(graph.source, graph.target), np.maximum(graph.source, graph.target)
    pair, place = np.unique(low * graph.num_nodes + high, return_inverse=True)
    weights = np.bincount(place, graph.weight, minlength=len(pair)).tolist()
    ends = np.stack([pair // graph.num_nodes, pair % graph.num_nodes], axis=1)
    support = igraph.Graph(n=graph.num_nodes, edges=ends.tolist())
    if not weights:
        return np.arange(graph.num_nodes), 0.0
    with _lock:
        igraph.set_random_number_generator(random.Random(seed))
        try:
            found = support.community_leiden(objective_function="modularity", weights=weights, n_iterations=-1)
        finally:
            igraph.set_random_number_generator(random)
    return np.array(found.membership, dtype=np.int64), float(support.modularity(found.membership, weights=weights))


@measured(
    "communities",
    ("community_count", "communities of the weighted support; an isolated neuron is one", "communities", _TRAAG),
    ("modularity", "modularity of these communities; 0 without edges", "", _TRAAG),
    direction="undirected",
)
def community_measures(_: Any, data: Data, seed: int) -> tuple[float, ...]:
    membership, modularity = communities(data, seed)
    return int(membership.max()) + 1, modularity
