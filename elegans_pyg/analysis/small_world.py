"""Small worlds: clustering and path lengths, alone and against random graphs and lattices."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph
from torch_geometric.data import Data

from elegans_pyg._arguments import check_seed
from elegans_pyg.analysis.simple_graph import Ints, SimpleGraph, measured, pairs_by_distance, share
from elegans_pyg.transforms.rewiring import generator

_NULLS = 10


def path_lengths(data: Data, synapses: str = "all") -> pd.DataFrame:
    """Count the ordered pairs of different neurons by the length of the shortest directed path.

    Returns:
        one row per length, from 1 edge on: ``length``, ``pairs``, ``share`` of all ordered pairs; pairs without a path have no row.
    """
    graph = SimpleGraph.from_data(data, synapses)
    pairs = _pairs_at(graph.adjacency)
    every = max(graph.num_nodes * (graph.num_nodes - 1), 1)
    return pd.DataFrame({"length": np.arange(1, len(pairs) + 1), "pairs": pairs, "share": pairs / every})


def small_world(data: Data, nulls: int = _NULLS, seed: int = 0, synapses: str = "all") -> dict[str, float]:
    r"""Small-world coefficients sigma and omega of the undirected support, against random graphs and a lattice.

    From Humphries & Gurney (2008), "Network 'Small-World-Ness'", PLoS ONE 3, e2051, doi:10.1371/journal.pone.0002051, and Telesford et
    al. (2011), "The Ubiquity of Small-World Networks", Brain Connectivity 1, 367-375, doi:10.1089/brain.2011.0038:

    .. math:: \sigma = \frac{C / C_{rand}}{L / L_{rand}}, \qquad \omega = \frac{L_{rand}}{L} - \frac{C}{C_{latt}}

    :math:`C` is the mean clustering and :math:`L` the mean length of shortest paths between joined neurons. The random null is the mean
    over ``nulls`` Erdős-Rényi graphs with the same numbers of neurons and of undirected edges. The lattice is a ring in which the nearest
    neighbours are joined first, up to that number of edges; it does not keep degrees, unlike the lattices of Telesford et al.

    Args:
        data: the wiring; directions are ignored.
        nulls, seed: number of random graphs, 1 or more, and their seed, 0 or more.

    Returns:
        ``sigma``, ``omega``, ``clustering``, ``path_length``, ``random_clustering``, ``random_path_length``, ``lattice_clustering``. A
        ratio whose denominator is 0 (no edges, or no triangle in any random graph or in the lattice) is 0.
    """
    if nulls < 1:
        raise ValueError(f"nulls: expected 1 or more, got {nulls}; leave it out for {_NULLS}")
    rng, graph = generator("small_world", check_seed(seed)), SimpleGraph.from_data(data, synapses)
    number, edges = graph.num_nodes, graph.support.nnz // 2
    random = [_support(number, _random_pairs(number, edges, rng)) for _ in range(nulls)]
    clustering, length = _clustering(graph.support), _mean_length(_pairs_at(graph.support))
    random_clustering = float(np.mean([_clustering(null) for null in random]))
    random_length = float(np.mean([_mean_length(_pairs_at(null)) for null in random]))
    lattice_clustering = _clustering(_support(number, _ring_pairs(number, edges)))
    return {
        "sigma": share(share(clustering, random_clustering) * random_length, length),
        "omega": share(random_length, length) - share(clustering, lattice_clustering),
        "clustering": clustering,
        "path_length": length,
        "random_clustering": random_clustering,
        "random_path_length": random_length,
        "lattice_clustering": lattice_clustering,
    }


_SIGMA = f"clustering and path length relative to {_NULLS} Erdős-Rényi graphs with as many edges; 0 if these have no triangles"
_OMEGA = f"path length relative to {_NULLS} Erdős-Rényi graphs, minus clustering relative to a ring lattice; 0 for undefined terms"


@measured(
    "small_world",
    ("sigma", _SIGMA, "", "Humphries & Gurney 2008, doi:10.1371/journal.pone.0002051"),
    ("omega", _OMEGA, "", "Telesford et al. 2011, doi:10.1089/brain.2011.0038"),
    direction="undirected",
)
def small_world_measures(_: Any, data: Data, seed: int) -> tuple[float, ...]:
    values = small_world(data, seed=seed)
    return values["sigma"], values["omega"]


def _random_pairs(number: int, edges: int, rng: np.random.Generator) -> Ints:
    """``edges`` different unordered pairs, drawn uniformly; ``(2, edges)``."""
    chosen = rng.choice(number * (number - 1) // 2, size=edges, replace=False)
    # Pairs (i, j) with i < j, counted column by column: column j holds j of them. A float finds the column exactly up to 2**45 pairs.
    j = ((1 + np.sqrt(1 + 8 * chosen)) / 2).astype(np.int64)
    return np.stack([chosen - j * (j - 1) // 2, j])


def _ring_pairs(number: int, edges: int) -> Ints:
    """The ``edges`` nearest pairs on a ring, those of the largest distance spread evenly round it; ``(2, edges)``."""
    pairs = [np.zeros((2, 0), dtype=np.int64)]
    left, step = edges, 1
    while left:
        around = np.arange(number // 2 if 2 * step == number else number)
        if left < len(around):
            around = around[np.arange(left) * len(around) // left]
        pairs.append(np.stack([around, (around + step) % number]))
        left, step = left - len(around), step + 1
    return np.concatenate(pairs, axis=1)


def _support(number: int, pairs: Ints) -> sparse.csr_array:
    """``(number, number)``, 1 at the pairs in either order."""
    both = np.concatenate([pairs, pairs[::-1]], axis=1)
    return sparse.csr_array((np.ones(both.shape[1]), tuple(both)), shape=(number, number))


def _pairs_at(adjacency: sparse.csr_array) -> Ints:
    """Number of ordered pairs at distance 1, 2, ..., as far as there are any."""
    return np.array([pairs.sum() for pairs in pairs_by_distance(adjacency)], dtype=np.int64)


def _mean_length(pairs: Ints) -> float:
    return share(int(pairs @ np.arange(1, len(pairs) + 1)), int(pairs.sum()))


def _triangles(adjacent: sparse.csr_array) -> Ints:
    """Diagonal of the third power of a symmetric matrix; for the support, twice the number of triangles of each neuron."""
    return np.asarray(((adjacent @ adjacent) * adjacent).sum(axis=1), dtype=np.int64)


def _clustering(support: sparse.csr_array) -> float:
    degree = np.diff(support.indptr)
    return _mean_share(_triangles(support), degree * (degree - 1))


def _mean_share(parts: Ints, wholes: Ints) -> float:
    """Mean over nodes of ``parts / wholes``; nodes whose whole is 0 count as 0."""
    return float(np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0).mean())


_LATORA = "Latora & Marchiori 2001, doi:10.1103/PhysRevLett.87.198701"
_WATTS = "Watts & Strogatz 1998, doi:10.1038/30918"
_PAIRS = "mean over neurons of the share of pairs of neighbours that are joined; 0 for fewer than 2 neighbours"
_FAGIOLO = "mean over neurons of the number of directed triangles over the largest that its degrees allow; 0 if they allow none"


@measured(
    "paths",
    ("path_length", "mean length of the shortest directed paths, over ordered pairs that have one; 0 if none has", "edges", _WATTS),
    ("efficiency", "mean over ordered pairs of 1 / length of the shortest directed path, 0 for pairs without one", "", _LATORA),
    ("reachable_share", "share of ordered pairs with a directed path; 0 for one neuron"),
    ("diameter", "longest of the shortest directed paths; 0 without edges", "edges"),
    ("components", "weakly connected components, isolated neurons included", "parts", "", "undirected"),
    ("largest_strong_share", "share of neurons in the largest strongly connected component"),
)
def path_measures(graph: SimpleGraph, *_: Any) -> tuple[float, ...]:
    pairs, every = _pairs_at(graph.adjacency), graph.num_nodes * (graph.num_nodes - 1)
    efficiency = share(float((pairs / np.arange(1, len(pairs) + 1)).sum()), every)
    parts = int(csgraph.connected_components(graph.support, directed=False)[0])
    strong: Ints = csgraph.connected_components(graph.adjacency, connection="strong")[1]
    largest = float(np.bincount(strong).max() / graph.num_nodes)
    return _mean_length(pairs), efficiency, share(int(pairs.sum()), every), len(pairs), parts, largest


@measured(
    "triangles",
    ("clustering", _PAIRS, "", _WATTS, "undirected"),
    ("clustering_directed", _FAGIOLO, "", "Fagiolo 2007, doi:10.1103/PhysRevE.76.026107"),
    ("transitivity", "share of paths of two edges whose ends are joined; 0 without such paths", "", "", "undirected"),
)
def triangle_measures(graph: SimpleGraph, *_: Any) -> tuple[float, ...]:
    degree, total = np.diff(graph.support.indptr), graph.in_degree + graph.out_degree
    mutual = np.bincount(graph.source[graph.is_mutual], minlength=graph.num_nodes)
    # 1 for a one-way pair, 2 for a mutual one.
    directed = _triangles(graph.adjacency + graph.adjacency.T)
    clustering_directed = _mean_share(directed, 2 * (total * (total - 1) - 2 * mutual))
    transitivity = share(_triangles(graph.support).sum(), (degree * (degree - 1)).sum())
    return _clustering(graph.support), clustering_directed, transitivity
