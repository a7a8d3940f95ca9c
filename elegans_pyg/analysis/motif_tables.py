"""How motifs are numbered: keys of labelled nodes, and the classes of keys that differ only in the order of nodes.

The key of three nodes (0, 1, 2) has, from the lowest bit on, the two directions between 0 and 1, between 0 and 2, and between 1 and 2,
the one from the earlier node first: 64 numbers. The colours of the nodes follow as higher digits. Four nodes have six pairs, (0, 1),
(0, 2), (1, 2), (0, 3), (1, 3), (2, 3): 4,096 numbers below their colours.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
from networkx.algorithms.triads import TRICODE_TO_NAME

from elegans_pyg.analysis.simple_graph import Bools, Ints
from elegans_pyg.wirings import NEURON_TYPES

COLOURS = len(NEURON_TYPES)
SHAPES = ("003", "012", "102", "021D", "021U", "021C", "111D", "111U", "030T", "030C", "201", "120D", "120U", "120C", "210", "300")
"""The triads of Holland & Leinhardt: numbers of mutual, one-way and absent pairs, and a letter if these are ambiguous."""


def pair_positions(nodes: int) -> list[tuple[int, int]]:
    """The pairs of nodes in the order of their bits."""
    return [(i, j) for j in range(nodes) for i in range(j)]


def split(keys: Ints, nodes: int, colours: int) -> tuple[Bools, Ints]:
    """Adjacency ``(K, nodes, nodes)`` and colours ``(K, nodes)`` of keys."""
    pairs = pair_positions(nodes)
    adjacent = np.zeros((len(keys), nodes, nodes), dtype=bool)
    for bit, (i, j) in enumerate(pairs):
        adjacent[:, i, j], adjacent[:, j, i] = keys >> 2 * bit & 1, keys >> 2 * bit + 1 & 1
    digits = keys >> 2 * len(pairs)
    return adjacent, np.stack([digits // colours ** (nodes - 1 - node) % colours for node in range(nodes)], axis=1)


def join(adjacent: Bools, colour: Ints, colours: int) -> Ints:
    """The inverse of :func:`split`."""
    nodes = colour.shape[1]
    pairs = pair_positions(nodes)
    keys = np.zeros(len(colour), dtype=np.int64)
    for node in range(nodes):
        keys = keys * colours + colour[:, node]
    keys <<= 2 * len(pairs)
    for bit, (i, j) in enumerate(pairs):
        keys |= adjacent[:, i, j].astype(np.int64) << 2 * bit
        keys |= adjacent[:, j, i].astype(np.int64) << 2 * bit + 1
    return keys


def canonical(keys: Ints, nodes: int, colours: int) -> Ints:
    """The smallest key of the same motif, over all orders of its nodes."""
    adjacent, colour = split(keys, nodes, colours)
    orders = map(list, permutations(range(nodes)))
    return np.min([join(adjacent[:, order][:, :, order], colour[:, order], colours) for order in orders], axis=0)


def arrows(key: int, nodes: int) -> str:
    """The edges of a motif, as in ``1→2 1→3 2→3``."""
    adjacent, _ = split(np.array([key]), nodes, 1)
    return " ".join(f"{i + 1}→{j + 1}" for i, j in np.argwhere(adjacent[0]))


@dataclass(frozen=True)
class Classes:
    """The connected motifs of three nodes.

    Attributes:
        key, shape: the smallest key of each class, ascending, and its position in ``SHAPES``; ``(K,)``.
        of_key: class of every key, -1 where it is not connected; ``(64 * COLOURS^3,)``.
        coloured: class of each shape's smallest uncoloured key with every choice of colours; ``(len(SHAPES), COLOURS^3)``, -1 for the
            three shapes that are not connected.
    """

    key: Ints
    of_key: Ints
    shape: Ints
    coloured: Ints


@lru_cache(maxsize=1)
def three_node_classes() -> Classes:
    keys = np.arange(64 * COLOURS**3)
    smallest = canonical(keys, 3, COLOURS)
    # NetworkX numbers the edges of a triad in the same order.
    shape_of_code = np.array([SHAPES.index(TRICODE_TO_NAME[code]) for code in range(64)])
    connected = shape_of_code[keys % 64] >= SHAPES.index("021D")
    class_key = np.unique(smallest[connected])
    of_key = np.where(connected, np.searchsorted(class_key, smallest), -1)
    first_code = np.array([int(np.flatnonzero(shape_of_code == shape)[0]) for shape in range(len(SHAPES))])
    coloured = of_key[first_code[:, None] + 64 * np.arange(COLOURS**3)]
    return Classes(class_key, of_key, shape_of_code[class_key % 64], coloured)
