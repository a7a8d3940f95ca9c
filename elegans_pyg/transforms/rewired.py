"""Rewiring by swaps, which keeps every neuron's degrees, or its degrees to and from each type of neuron."""

import warnings
from dataclasses import replace

import numpy as np

from elegans_pyg._arguments import check_number
from elegans_pyg._loops import edge_table, flip_edge, has_edge, loop
from elegans_pyg.transforms.rewiring import EdgeSet, Rewiring
from elegans_pyg.wirings import NEURON_TYPES, SYNAPSES

_SWAPS_PER_EDGE = 10


class Rewired(Rewiring):
    r"""Swap the targets of random pairs of edges, so that every neuron keeps its in-degree and out-degree.

    From Maslov & Sneppen (2002), "Specificity and stability in topology of protein networks", Science 296, 910-913,
    doi:10.1126/science.1065103:

    .. math::
        a \to b,\; c \to d \quad\Longrightarrow\quad a \to d,\; c \to b

    unless that gives a self-loop or an existing edge. Ten swaps are tried for each edge that takes part. Refused swaps count too, so that
    all graphs with these degrees that swaps can reach become equally likely (a directed three-cycle, for example, cannot be reversed if it
    shares no swap with the rest). A synapse count stays with its edge's source, so every neuron keeps its summed outgoing weights, but not
    its summed incoming weights.

    Electrical synapses are swapped among themselves, as undirected edges. Self-loops of the base are kept. If there are edges to swap but
    no swap is possible (for example in a star or a complete graph, the only graphs with their degrees), the graph is returned unchanged,
    with a ``UserWarning``.

    Args:
        seed: non-negative integer; the same seed gives the same graph.
        fraction: share of each kind's edges that take part, chosen at random; they swap among themselves. 0 gives an equal graph.

    Raises:
        ValueError: if ``data`` is not a cyclic connectome.
    """

    family = "rewired"

    def __init__(self, seed: int, fraction: float = 1.0) -> None:
        super().__init__(seed)
        self.fraction = check_number("fraction", fraction, high=1.0)

    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        chosen = rng.permutation(len(edges))[: round(self.fraction * len(edges))]
        new = replace(edges, source=edges.source.copy(), target=edges.target.copy())
        blocks = [(block, turns) for block, turns in self.blocks(new, chosen, neuron_type) if len(block) > 1]
        done = 0
        if blocks:
            tries = [np.concatenate(column) for column in zip(*(_pairs(len(block), turns, rng) for block, turns in blocks), strict=True)]
            sizes = np.array([len(block) for block, _ in blocks])
            together = np.concatenate([block for block, _ in blocks])
            done = _swap(new.source, new.target, new.num_nodes, new.directed, together, sizes, *tries, edge_table(new.num_nodes))
        if len(chosen) > 1 and not done:
            warnings.warn(
                f"{type(self).__name__} found no swap among {len(chosen)} {SYNAPSES[edges.kind]} edges that is"
                " allowed, and left them unchanged",
                stacklevel=4,
            )
        return new

    def blocks(self, edges: EdgeSet, chosen: np.ndarray, neuron_type: np.ndarray) -> list[tuple[np.ndarray, bool]]:
        """Groups of edges that may swap with each other, and whether an edge of the group may be reversed before it swaps."""
        return [(chosen, not edges.directed)]


class TypeRewired(Rewired):
    r"""Swap targets as :class:`Rewired` does, but only between edges that join the same two types of neuron.

    Keeps every neuron's numbers of incoming and outgoing edges for each type at the other end, and with them the number of edges between
    any two types: only which neuron of a type is joined to which is random. For electrical synapses the two types have no order. Everything
    else, arguments and warning included, is as in :class:`Rewired`.
    """

    family = "type_rewired"

    def blocks(self, edges: EdgeSet, chosen: np.ndarray, neuron_type: np.ndarray) -> list[tuple[np.ndarray, bool]]:
        source, target = edges.source, edges.target
        if not edges.directed:
            turn = neuron_type[source] > neuron_type[target]
            source[turn], target[turn] = target[turn], source[turn]
        pre, post = neuron_type[source[chosen]], neuron_type[target[chosen]]
        number = len(NEURON_TYPES)
        joined = pre * number + post
        return [(chosen[joined == both], not edges.directed and both // number == both % number) for both in np.unique(joined)]


def _pairs(size: int, turns: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each try, the position of one of ``size`` edges, how many positions after it, cyclically, the other one is, and whether that one
    is reversed."""
    tries = _SWAPS_PER_EDGE * size
    first, behind = (rng.integers(low, size, size=tries, dtype=np.int32) for low in (0, 1))
    return first, behind, rng.random(tries) < 0.5 if turns else np.zeros(tries, dtype=bool)


@loop
def _swap(source, target, number, directed, blocks, sizes, first, behind, turned, present):  # type: ignore[no-untyped-def]
    """Swap edges in place, block after block, and return the number of swaps made; ``present`` is an empty table of edges."""
    for edge in range(len(source)):
        flip_edge(present, number, directed, source[edge], target[edge])
    done = start = begin = 0
    for size in sizes:
        for k in range(begin, begin + _SWAPS_PER_EDGE * size):
            place = first[k] + behind[k]
            i, j = blocks[start + first[k]], blocks[start + (place - size if place >= size else place)]
            a, b, c, d = source[i], target[i], source[j], target[j]
            if turned[k]:
                c, d = d, c
            if a in (c, d) or b in (c, d):
                continue
            if has_edge(present, number, directed, a, d) or has_edge(present, number, directed, c, b):
                continue
            for s, t in ((a, b), (c, d), (a, d), (c, b)):
                flip_edge(present, number, directed, s, t)
            source[i], target[i], source[j], target[j] = a, d, c, b
            done += 1
        start += size
        begin += _SWAPS_PER_EDGE * size
    return done
