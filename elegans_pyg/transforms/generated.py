"""Nulls from random-graph generators: the number of edges and synapse counts of the base, with its neurons at random nodes."""

from abc import abstractmethod

import numpy as np

from elegans_pyg._arguments import check_number
from elegans_pyg._loops import edge_table, flip_edge, has_edge, loop
from elegans_pyg.transforms.rewiring import EdgeSet, Rewiring
from elegans_pyg.wirings import SYNAPSES


class GeneratedWiring(Rewiring):
    r"""Base class of transforms that replace the edges by those of a random-graph generator.

    - **Nodes.** The generator's nodes are assigned to the neurons at random, so that types, names and inhibition are unrelated to the
      graph, while the number of neurons of each type is kept.
    - **Edges.** :math:`m = \mathrm{round}(\mathrm{density} \cdot E)` of each kind of synapse, :math:`E` being the base's number without
      self-loops. If the generator cannot make exactly :math:`m`, it makes the next larger number possible, and random edges are removed.
    - **Directions.** An edge of an undirected generator becomes one chemical edge, in a random direction, or one electrical synapse. If
      there are more chemical edges than pairs of neurons, every pair is joined, and random pairs in both directions.
    - **Synapse counts.** A random permutation of the base's; at another density, as many whole copies of them as fit, and for the rest a
      random choice without replacement.
    - **Self-loops** of the base are kept.

    Args:
        seed: non-negative integer; the same seed gives the same graph.
        density: number of edges, as a multiple of the base's.

    Raises:
        ValueError: if no simple graph has that many edges between that many nodes.
    """

    def __init__(self, seed: int, density: float = 1.0) -> None:
        super().__init__(seed)
        self.density = check_number("density", density, above=True)

    @abstractmethod
    def generate(self, num_nodes: int, num_edges: int, directed: bool, rng: np.random.Generator) -> np.ndarray:
        """Edges ``(M, 2)`` of a simple graph, with ``M`` at least ``num_edges`` or all pairs; if ``directed``, from source to target."""

    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        count, pairs = round(self.density * len(edges)), edges.num_nodes * (edges.num_nodes - 1) // 2
        if count > (most := 2 * pairs if edges.directed else pairs):
            places = f"one per pair of the {edges.num_nodes} neurons{' and direction' if edges.directed else ''}"
            raise ValueError(f"density: expected at most {most} {SYNAPSES[edges.kind]} edges, {places}, got {count}; lower the density")
        new = self.generate(edges.num_nodes, count, edges.directed, rng) if count else np.empty((0, 2), dtype=np.int64)
        if len(new) < count:
            new = np.concatenate([new, rng.permutation(new)[: count - len(new), ::-1]])
        new = rng.permutation(edges.num_nodes)[rng.permutation(new)[:count]]
        copies, rest = divmod(count, len(edges))
        weight = np.concatenate([np.tile(edges.weight, copies), rng.choice(edges.weight, rest, replace=False)])
        return EdgeSet(edges.kind, edges.num_nodes, new[:, 0], new[:, 1], rng.permutation(weight))


class ErdosRenyi(GeneratedWiring):
    r"""Draw a graph uniformly from all graphs with the base's numbers of nodes and edges, :math:`G(N, E)`.

    From Erdős & Rényi (1959), "On random graphs I", Publ. Math. Debrecen 6, 290-297, doi:10.5486/PMD.1959.6.3-4.12.
    Chemical edges are drawn as directed ones, so reciprocal pairs occur. Everything else, arguments included, is as in
    :class:`GeneratedWiring`.

    Raises:
        ValueError: if more edges are asked for than there are pairs of neurons, or ``data`` is not a cyclic connectome.
    """

    family = "er"

    def generate(self, num_nodes: int, num_edges: int, directed: bool, rng: np.random.Generator) -> np.ndarray:
        pairs = num_nodes * (num_nodes - 1)
        return _ring(rng.choice(pairs if directed else pairs // 2, num_edges, replace=False), num_nodes)


class WattsStrogatz(GeneratedWiring):
    r"""Make a ring in which every node is joined to its nearest neighbours, and move a share of the edges.

    From Watts & Strogatz (1998), "Collective dynamics of 'small-world' networks", Nature 393, 440-442, doi:10.1038/30918, with
    :math:`k = 2 \lceil E / N \rceil` neighbours, which gives :math:`N k / 2 \ge E` edges; the surplus is removed at random. A moved edge
    keeps one end; the other goes to a node drawn uniformly from those that give neither a self-loop nor an existing edge. Each edge becomes
    one directed edge, so there are no reciprocal pairs up to :math:`N (N - 1) / 2` edges. The rest is as in :class:`GeneratedWiring`.

    Args:
        p: share of edges moved, from 0 (the ring) to 1.
        seed, density: as in :class:`GeneratedWiring`.

    Raises:
        ValueError: if more edges are asked for than there are pairs of neurons, or ``data`` is not a cyclic connectome.
    """

    family = "ws"

    def __init__(self, seed: int, p: float = 0.1, density: float = 1.0) -> None:
        super().__init__(seed, density)
        self.p = check_number("p", p, high=1.0)

    def generate(self, num_nodes: int, num_edges: int, directed: bool, rng: np.random.Generator) -> np.ndarray:
        # Larger numbers would give every pair a second time.
        pairs = num_nodes * (num_nodes - 1) // 2
        edges = _ring(np.arange(min(-(-num_edges // num_nodes) * num_nodes, pairs)), num_nodes)
        target = edges[:, 1].copy()
        _move(edges[:, 0].copy(), target, num_nodes, rng.random(len(edges)) < self.p, edge_table(num_nodes), rng)
        edges[:, 1] = target
        return _turned_at_random(edges, rng)


class BarabasiAlbert(GeneratedWiring):
    r"""Grow a graph node by node, each new node joined to :math:`m` others with a probability proportional to their degree.

    From Barabási & Albert (1999), "Emergence of scaling in random networks", Science 286, 509-512, doi:10.1126/science.286.5439.509,
    from a star of :math:`m + 1` nodes, with the smallest :math:`m` whose :math:`m (N - m)` edges are at least :math:`E`; the surplus is
    removed at random. A star gives at most :math:`\lfloor N^2 / 4 \rfloor` edges; for more, the first :math:`m + 1` nodes are all joined,
    which gives :math:`m N - m (m + 1) / 2`, up to all pairs. Each edge becomes one directed edge, so there are no reciprocal pairs up to
    :math:`N (N - 1) / 2` edges. Everything else, arguments included, is as in :class:`GeneratedWiring`.

    Raises:
        ValueError: if more edges are asked for than there are pairs of neurons, or ``data`` is not a cyclic connectome.
    """

    family = "ba"

    def generate(self, num_nodes: int, num_edges: int, directed: bool, rng: np.random.Generator) -> np.ndarray:
        joined = np.arange(1, max(2, num_nodes))
        pairs = num_nodes * (num_nodes - 1) // 2
        enough = joined * (num_nodes - joined) >= num_edges
        if enough.any():
            m = int(joined[enough][0])
            core = np.stack([np.zeros(m, dtype=np.int64), np.arange(1, m + 1)], axis=1)
        else:
            m = int(joined[joined * num_nodes - joined * (joined + 1) // 2 >= min(num_edges, pairs)][0])
            core = np.stack(np.triu_indices(m + 1, 1), axis=1)
        ends = np.zeros((len(core) + m * (num_nodes - m - 1), 2), dtype=np.int64)
        ends[: len(core)] = core
        _grow(ends.reshape(-1), len(core), m, num_nodes, rng)
        return _turned_at_random(ends, rng)


def _ring(number: np.ndarray, num_nodes: int) -> np.ndarray:
    """Pairs of nodes ``(M, 2)`` by number: the first ``N`` lead one node ahead around a ring, the next ``N`` two nodes, and so on.

    All ``N (N - 1)`` numbers give all ordered pairs, and the first half of them gives every pair once.
    """
    ahead, start = np.divmod(number, num_nodes)
    return np.stack([start, (start + ahead + 1) % num_nodes], axis=1)


def _turned_at_random(edges: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The edges ``(M, 2)``, each with its ends in random order."""
    return np.where(rng.random((len(edges), 1)) < 0.5, edges[:, ::-1], edges)


@loop
def _move(source, target, number, moves, present, rng):  # type: ignore[no-untyped-def]
    """Give new targets to the undirected edges marked in ``moves``, one by one; ``present`` is an empty table of pairs."""
    degree = [0] * number
    for edge in range(len(source)):
        s, t = source[edge], target[edge]
        degree[s] += 1
        degree[t] += 1
        flip_edge(present, number, False, s, t)
    for edge in range(len(source)):
        s, old = source[edge], target[edge]
        if moves[edge] and degree[s] < number - 1:
            new = s
            while new == s or has_edge(present, number, False, s, new):
                new = int(rng.random() * number)
            flip_edge(present, number, False, s, old)
            flip_edge(present, number, False, s, new)
            degree[old] -= 1
            degree[new] += 1
            target[edge] = new


@loop
def _grow(ends, first, joined, number, rng):  # type: ignore[no-untyped-def]
    """Fill in the ends of edges, two by two. ``ends`` starts with the ``first`` edges among ``joined + 1`` nodes; each further node gets
    ``joined`` edges to ends of earlier edges."""
    chosen_by = [0] * number
    edge = first
    while 2 * edge < len(ends):
        earlier = (edge - first) // joined
        node = joined + 1 + earlier
        other = ends[int(rng.random() * (2 * (first + joined * earlier)))]
        if chosen_by[other] != node:
            chosen_by[other] = node
            ends[2 * edge], ends[2 * edge + 1] = node, other
            edge += 1
