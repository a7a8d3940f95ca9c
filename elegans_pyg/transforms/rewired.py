"""Rewiring by swaps, which keeps every neuron's degrees, or its degrees to and from each type of neuron."""

import warnings
from dataclasses import replace

import numpy as np

from elegans_pyg._arguments import check_number
from elegans_pyg._loops import edge_table, flip_edge, has_edge, loop
from elegans_pyg.transforms.rewiring import EdgeSet, Rewiring
from elegans_pyg.wirings import NEURON_TYPES

_SWAPS_PER_EDGE = 10


class Rewired(Rewiring):
    r"""Swap the targets of random pairs of edges, so that every neuron keeps its numbers of incoming and outgoing edges.

    From Maslov & Sneppen (2002), "Specificity and stability in topology of protein networks", Science 296, 910-913,
    doi:10.1126/science.1065103:

    .. math::
        a \to b,\; c \to d \quad\Longrightarrow\quad a \to d,\; c \to b

    unless that makes a self-loop or an edge that is there already. Ten swaps are tried for each edge that takes part, and refused ones
    count, as they must for all graphs of these degrees to be equally likely in the end (those, strictly, that swaps lead to: a directed
    three-cycle that shares no swap with the rest cannot be turned round). A synapse count stays with its edge's source, so that the
    summed outgoing weights of every neuron are kept too, and its summed incoming weights are not.

    Electrical synapses are swapped among themselves, as undirected edges. Self-loops of the base stay. If there are edges to swap but no
    swap is possible (in a star, say, or a complete graph, which are the only graphs of their degrees), the graph is returned as it is, with
    a ``UserWarning``.

    Args:
        seed: non-negative integer; the same seed gives the same graph.
        fraction: share of each kind's edges that takes part; they are chosen at random, and swap among themselves. 0 gives an equal graph.

    Raises:
        ValueError: if ``data`` is no cyclic connectome.
    """

    family = "rewired"

    def __init__(self, seed: int, fraction: float = 1.0) -> None:
        super().__init__(seed)
        self.fraction = check_number("fraction", fraction, high=1.0)

    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        chosen = rng.permutation(len(edges))[: round(self.fraction * len(edges))]
        new = replace(edges, source=edges.source.copy(), target=edges.target.copy())
        blocks = self.blocks(new, chosen, neuron_type)
        ends, present = (new.source, new.target, new.num_nodes, new.directed), edge_table(new.num_nodes)
        _enter(*ends, present)
        done = sum(_swap(*ends, block, *_pairs(len(block), turns, rng), present) for block, turns in blocks if len(block) > 1)
        if len(chosen) > 1 and not done:
            warnings.warn(
                f"{type(self).__name__} found no swap among {len(chosen)} {'chemical' if edges.directed else 'electrical'} edges that keeps"
                " what it keeps, and left them as they are",
                stacklevel=4,
            )
        return new

    def blocks(self, edges: EdgeSet, chosen: np.ndarray, neuron_type: np.ndarray) -> list[tuple[np.ndarray, bool]]:
        """The edges that may swap with each other, and whether an edge may be turned round before it does."""
        return [(chosen, not edges.directed)]


class TypeRewired(Rewired):
    r"""Swap targets as :class:`Rewired` does, but only between edges that join the same two types of neuron.

    Keeps every neuron's numbers of incoming and outgoing edges for each type at the other end, and with them the number of edges from each
    type to each other: what is left to chance is which neuron of a type is joined to which. For electrical synapses the two types have no
    order. All else, the arguments and the warning included, is as in :class:`Rewired`.
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
    """For each try, the place of one of ``size`` edges, how many places behind it, cyclically, the other one is, and whether that one is
    turned round."""
    tries = _SWAPS_PER_EDGE * size
    first, behind = (rng.integers(low, size, size=tries, dtype=np.int32) for low in (0, 1))
    return first, behind, rng.random(tries) < 0.5 if turns else np.zeros(tries, dtype=bool)


@loop
def _enter(source, target, number, directed, present):  # type: ignore[no-untyped-def]
    """Put the edges into ``present``, a table without edges."""
    for edge in range(len(source)):
        flip_edge(present, number, directed, source[edge], target[edge])


@loop
def _swap(source, target, number, directed, block, first, behind, turned, present):  # type: ignore[no-untyped-def]
    """Swap edges of the block in place, and return the number of swaps made; ``present`` is the table of all edges."""
    done = 0
    for k in range(len(first)):
        place = first[k] + behind[k]
        i, j = block[first[k]], block[place - len(block) if place >= len(block) else place]
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
    return done
