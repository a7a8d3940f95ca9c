"""Controls from random-graph generators: as many edges as the base has, its synapse counts, its neurons in random places."""

from abc import abstractmethod

import numpy as np

from elegans_pyg._arguments import check_number
from elegans_pyg._loops import edge_table, flip_edge, has_edge, loop
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
    def generate(self, num_nodes: int, num_edges: int, directed: bool, rng: np.random.Generator) -> np.ndarray:
        """Edges ``(M, 2)`` of a simple graph, ``M`` at least ``num_edges`` or all pairs; if ``directed``, in a direction of their own."""

    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        count, pairs = round(self.density * len(edges)), edges.num_nodes * (edges.num_nodes - 1) // 2
        if count > (most := 2 * pairs if edges.directed else pairs):
            kind = "chemical" if edges.directed else "electrical"
            raise ValueError(
                f"density: expected at most {most} {kind} edges, one per pair of the {edges.num_nodes} neurons and direction, got {count};"
                " lower the density"
            )
        new = self.generate(edges.num_nodes, count, edges.directed, rng) if count else np.empty((0, 2), dtype=np.int64)
        if len(new) < count:
            new = np.concatenate([new, rng.permutation(new)[: count - len(new), ::-1]])
        new = rng.permutation(edges.num_nodes)[rng.permutation(new)[:count]]
        copies, rest = divmod(count, len(edges))
        weight = np.concatenate([np.tile(edges.weight, copies), rng.choice(edges.weight, rest, replace=False)])
        return EdgeSet(edges.kind, edges.num_nodes, new[:, 0], new[:, 1], rng.permutation(weight))


class ErdosRenyi(GeneratedWiring):
    r"""A graph drawn uniformly from all with the base's numbers of nodes and edges, :math:`G(N, E)`.

    From Erdős & Rényi (1959), "On random graphs I", Publ. Math. Debrecen 6, 290-297, doi:10.5486/PMD.1959.6.3-4.12.
    Chemical edges are drawn as directed ones, so reciprocal pairs occur. All else, the arguments included, is as in
    :class:`GeneratedWiring`.

    Raises:
        ValueError: if more edges are asked for than there are pairs of neurons, or ``data`` is no cyclic connectome.
    """

    family = "er"

    def generate(self, num_nodes: int, num_edges: int, directed: bool, rng: np.random.Generator) -> np.ndarray:
        pairs = num_nodes * (num_nodes - 1)
        return _ring(rng.choice(pairs if directed else pairs // 2, num_edges, replace=False), num_nodes)


class WattsStrogatz(GeneratedWiring):
    r"""A ring in which every node is joined to its nearest neighbours, with a share of the edges moved elsewhere.

    From Watts & Strogatz (1998), "Collective dynamics of 'small-world' networks", Nature 393, 440-442, doi:10.1038/30918, with
    :math:`k = 2 \lceil E / N \rceil` neighbours, which makes :math:`N k / 2 \ge E` edges; the surplus is removed at random. An edge that
    moves keeps one end, and goes to a node drawn uniformly from those that make neither a self-loop nor an edge that is there already. Each
    becomes one directed edge, so there are no reciprocal pairs up to :math:`N (N - 1) / 2` edges. All else is as in
    :class:`GeneratedWiring`.

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

    def generate(self, num_nodes: int, num_edges: int, directed: bool, rng: np.random.Generator) -> np.ndarray:
        # The numbers after those of all pairs give each pair a second time.
        pairs = num_nodes * (num_nodes - 1) // 2
        edges = _ring(np.arange(min(-(-num_edges // num_nodes) * num_nodes, pairs)), num_nodes)
        target = edges[:, 1].copy()
        _move(edges[:, 0].copy(), target, num_nodes, rng.random(len(edges)) < self.p, edge_table(num_nodes), rng)
        edges[:, 1] = target
        return _turned_at_random(edges, rng)


class BarabasiAlbert(GeneratedWiring):
    r"""A graph grown node by node, each new one joined to :math:`m` others with a chance proportional to their degree.

    From Barabási & Albert (1999), "Emergence of scaling in random networks", Science 286, 509-512, doi:10.1126/science.286.5439.509,
    from a star of :math:`m + 1` nodes, with the smallest :math:`m` whose :math:`m (N - m)` edges are at least :math:`E`; the surplus is
    removed at random. More than :math:`\lfloor N^2 / 4 \rfloor` edges cannot grow from a star; then the first :math:`m + 1` nodes are all
    joined, which makes :math:`m N - m (m + 1) / 2`, up to all pairs. Each becomes one directed edge, so there are no reciprocal pairs up to
    :math:`N (N - 1) / 2` edges. All else, the arguments included, is as in :class:`GeneratedWiring`.

    Raises:
        ValueError: if more edges are asked for than there are pairs of neurons, or ``data`` is no cyclic connectome.
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

    All ``N (N - 1)`` numbers are all ordered pairs, and the first half of them is every pair once.
    """
    ahead, start = np.divmod(number, num_nodes)
    return np.stack([start, (start + ahead + 1) % num_nodes], axis=1)


def _turned_at_random(edges: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The edges ``(M, 2)``, each with its ends in random order."""
    return np.where(rng.random((len(edges), 1)) < 0.5, edges[:, ::-1], edges)


@loop
def _move(source, target, number, moves, present, rng):  # type: ignore[no-untyped-def]
    """Give a new target to the undirected edges that move, one by one; ``present`` is an empty table of pairs."""
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
    """Fill in the ends of edges, two by two: after the ``first`` edges of ``joined + 1`` nodes, ``joined`` edges of each further node to an
    end of an earlier one's edges."""
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
