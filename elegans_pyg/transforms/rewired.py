"""Rewiring by swaps, which keeps every neuron's degrees, or its degrees to and from each type of neuron."""

import warnings
from dataclasses import replace

import numpy as np

from elegans_pyg._arguments import check_number
from elegans_pyg.transforms.rewiring import EdgeSet, Rewiring

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
        done = _swap(new, self.blocks(new, chosen, neuron_type), rng)
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
        types = sorted(set(zip(pre.tolist(), post.tolist(), strict=True)))
        return [(chosen[(pre == a) & (post == b)], not edges.directed and a == b) for a, b in types]


def _swap(edges: EdgeSet, blocks: list[tuple[np.ndarray, bool]], rng: np.random.Generator) -> int:
    """Swap in place, and return the number of swaps made."""
    source, target, number, directed = edges.source, edges.target, edges.num_nodes, edges.directed

    def key(a: int, b: int) -> int:
        return a * number + b if directed or a < b else b * number + a

    present = {key(a, b) for a, b in zip(source.tolist(), target.tolist(), strict=True)}
    done = 0
    for block, turns in blocks:
        size = len(block)
        if size < 2:
            continue
        tries = _SWAPS_PER_EDGE * size
        first = rng.integers(size, size=tries)
        second = (first + rng.integers(1, size, size=tries)) % size
        turn = rng.random(tries) < 0.5 if turns else np.zeros(tries, dtype=bool)
        heads, tails = source[block].tolist(), target[block].tolist()
        for i, j, turned in zip(first.tolist(), second.tolist(), turn.tolist(), strict=True):
            a, b = heads[i], tails[i]
            c, d = (tails[j], heads[j]) if turned else (heads[j], tails[j])
            if a in (c, d) or b in (c, d):
                continue
            new_i, new_j = key(a, d), key(c, b)
            if new_i in present or new_j in present:
                continue
            present.difference_update((key(a, b), key(c, d)))
            present.update((new_i, new_j))
            heads[i], tails[i], heads[j], tails[j] = a, d, c, b
            done += 1
        source[block], target[block] = heads, tails
    return done
