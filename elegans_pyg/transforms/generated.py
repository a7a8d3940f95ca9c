"""Controls from random-graph generators: as many edges as the base has, its synapse counts, its neurons in random places."""

from abc import abstractmethod
from collections.abc import Callable

import networkx as nx
import numpy as np

from elegans_pyg._arguments import check_number
from elegans_pyg.transforms.rewiring import EdgeSet, Rewiring


class GeneratedWiring(Rewiring):
    r"""A graph from a generator, with the neurons of the base.

    - **Nodes.** The generator's nodes are given to the base's neurons at random, so that types, names and inhibition are unrelated to
      the graph while their numbers, and with them the number of sensory neurons, stay as they are.
    - **Edges.** :math:`m = \mathrm{round}(\mathrm{density} \cdot E)` of each kind of synapse, :math:`E` being the base's number without
      self-loops. If the generator cannot make just :math:`m`, it makes the next larger number it can, and random ones are removed.
    - **Directions.** An undirected generator's edge becomes one chemical edge, in a random direction, or one electrical synapse. Where
      there are more chemical edges than pairs of neurons, every pair is joined, and random ones both ways.
    - **Synapse counts.** A random permutation of the base's; at another density, as many whole copies of them as fit, and a random choice
      without replacement for the rest.
    - **Self-loops** of the base stay.

    Args:
        seed: non-negative integer; the same seed gives the same graph.
        density: number of edges, as a multiple of the base's.

    Raises:
        ValueError: if there is no simple graph of so many edges between so many nodes.
    """

    def __init__(self, seed: int, density: float = 1.0) -> None:
        super().__init__(seed)
        self.density = check_number("density", density, above=True)

    @abstractmethod
    def generate(self, num_nodes: int, num_edges: int, directed: bool, seed: int) -> np.ndarray:
        """Edges ``(M, 2)`` of a simple graph, ``M`` at least ``num_edges`` or all pairs; if ``directed``, in a direction of their own."""

    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        count, pairs = round(self.density * len(edges)), edges.num_nodes * (edges.num_nodes - 1) // 2
        if count > (most := 2 * pairs if edges.directed else pairs):
            kind = "chemical" if edges.directed else "electrical"
            raise ValueError(
                f"density: expected at most {most} {kind} edges, one a pair of the {edges.num_nodes} neurons and direction, got {count};"
                " lower the density"
            )
        new = self.generate(edges.num_nodes, count, edges.directed, int(rng.integers(2**31))) if count else np.empty((0, 2), dtype=np.int64)
        if len(new) < count:
            new = np.concatenate([new, rng.permutation(new)[: count - len(new), ::-1]])
        new = rng.permutation(edges.num_nodes)[rng.permutation(new)[:count]]
        copies, rest = divmod(count, len(edges))
        weight = np.concatenate([np.tile(edges.weight, copies), rng.choice(edges.weight, rest, replace=False)])
        return EdgeSet(edges.kind, edges.num_nodes, new[:, 0], new[:, 1], rng.permutation(weight))


class ErdosRenyi(GeneratedWiring):
    r"""A graph drawn uniformly from all with the base's numbers of nodes and edges, :math:`G(N, E)`.

    From Erdős & Rényi (1959), "On random graphs I", Publ. Math. Debrecen 6, 290-297, doi:10.5486/PMD.1959.6.3-4.12, by
    :func:`networkx.gnm_random_graph`; chemical edges are drawn as directed ones, so reciprocal pairs occur. All else, the arguments
    included, is as in :class:`GeneratedWiring`.

    Raises:
        ValueError: if more edges are asked for than there are pairs of neurons, or ``data`` is no cyclic connectome.
    """

    family = "er"

    def generate(self, num_nodes: int, num_edges: int, directed: bool, seed: int) -> np.ndarray:
        return np.array(nx.gnm_random_graph(num_nodes, num_edges, seed=seed, directed=directed).edges)


class WattsStrogatz(GeneratedWiring):
    r"""A ring in which every node is joined to its nearest neighbours, with a share of the edges moved elsewhere.

    From Watts & Strogatz (1998), "Collective dynamics of 'small-world' networks", Nature 393, 440-442, doi:10.1038/30918, by
    :func:`networkx.watts_strogatz_graph` with :math:`k = 2 \lceil E / N \rceil` neighbours, which makes :math:`N k / 2 \ge E` edges; the
    surplus is removed at random. Each becomes one directed edge, so there are no reciprocal pairs up to
    :math:`N (N - 1) / 2` edges. All else is as in :class:`GeneratedWiring`.

    Args:
        p: share of edges moved, from 0 (the ring) to 1.
        seed, density: as there.

    Raises:
        ValueError: if more edges are asked for than there are pairs of neurons, or ``data`` is no cyclic connectome.
    """

    family = "ws"

    def __init__(self, seed: int, p: float = 0.1, density: float = 1.0) -> None:
        super().__init__(seed, density)
        self.p = check_number("p", p, high=1.0)

    def generate(self, num_nodes: int, num_edges: int, directed: bool, seed: int) -> np.ndarray:
        nearest = min(2 * -(-num_edges // num_nodes), num_nodes)
        return _turned_at_random(nx.watts_strogatz_graph(num_nodes, nearest, self.p, seed=seed), seed)


class BarabasiAlbert(GeneratedWiring):
    r"""A graph grown node by node, each new one joined to :math:`m` others with a chance proportional to their degree.

    From Barabási & Albert (1999), "Emergence of scaling in random networks", Science 286, 509-512, doi:10.1126/science.286.5439.509, by
    :func:`networkx.barabasi_albert_graph` with the smallest :math:`m` whose :math:`m (N - m)` edges are at least :math:`E`; the surplus
    is removed at random. More than :math:`\lfloor N^2 / 4 \rfloor` edges cannot grow from its star of :math:`m + 1` nodes; then the first
    :math:`m + 1` nodes are all joined, which makes :math:`m N - m (m + 1) / 2`, up to all pairs. Each becomes one directed edge, so there
    are no reciprocal pairs up to :math:`N (N - 1) / 2` edges. All else, the arguments included, is as in :class:`GeneratedWiring`.

    Raises:
        ValueError: if more edges are asked for than there are pairs of neurons, or ``data`` is no cyclic connectome.
    """

    family = "ba"

    def generate(self, num_nodes: int, num_edges: int, directed: bool, seed: int) -> np.ndarray:
        def smallest(edges_of: Callable[[int], int]) -> int | None:
            wanted = min(num_edges, num_nodes * (num_nodes - 1) // 2)
            return next((joined for joined in range(1, num_nodes) if edges_of(joined) >= wanted), None)

        if joined := smallest(lambda m: m * (num_nodes - m)):
            return _turned_at_random(nx.barabasi_albert_graph(num_nodes, joined, seed=seed), seed)
        joined = smallest(lambda m: m * num_nodes - m * (m + 1) // 2) or 1
        core = nx.complete_graph(joined + 1)
        return _turned_at_random(nx.barabasi_albert_graph(num_nodes, joined, seed=seed, initial_graph=core), seed)


def _turned_at_random(graph: nx.Graph, seed: int) -> np.ndarray:
    """The edges ``(M, 2)``, each with its ends in random order."""
    edges = np.array(graph.edges)
    flip = np.random.default_rng(seed).random(len(edges)) < 0.5
    return np.where(flip[:, None], edges[:, ::-1], edges)
