"""Motifs: the connected triples and quadruples of neurons, by their shape and the types of their neurons."""

from collections.abc import Sequence
from importlib.util import find_spec
from math import comb, perm
from typing import Any

import numpy as np
import pandas as pd
from torch_geometric.data import Data

from elegans_pyg._extras import require
from elegans_pyg.analysis.motif_tables import COLOURS, SHAPES, arrows, canonical, split, three_node_classes
from elegans_pyg.analysis.simple_graph import Floats, Ints, SimpleGraph, divergence, entropy, measured, share
from elegans_pyg.wirings import NEURON_TYPES

_ADAMI = "Adami et al. 2011, doi:10.1162/artl_a_00045"
_TRIADS = "Holland & Leinhardt 1976, doi:10.2307/270703"
_MILO = "Milo et al. 2002, doi:10.1126/science.298.5594.824"


def triad_census(data: Data, synapses: str = "all") -> pd.Series:
    """Count the triples of neurons of each of the 16 shapes of a directed triad, connected or not, whatever their types.

    From Holland & Leinhardt (1976), "Local Structure in Social Networks", Sociological Methodology 7, 1-45, doi:10.2307/270703. The name
    of a shape gives its numbers of mutual, one-way and absent pairs, and a letter (down, up, cyclic, transitive) if these are ambiguous.
    The counts add up to :math:`N (N-1) (N-2) / 6`.
    """
    graph = SimpleGraph.from_data(data, synapses)
    return pd.Series(_shape_counts(graph, count_motifs(graph)[0]), index=list(SHAPES), name="count")


def motif_counts(data: Data, synapses: str = "all") -> Ints:
    """Count the connected triples of neurons in each class of three-node motifs coloured by neuron type; ``(K,)``. The order of the classes
    is the same for all wirings; :func:`motif_spectrum` names them."""
    return count_motifs(SimpleGraph.from_data(data, synapses))[0]


def motif_spectrum(data: Data, synapses: str = "all") -> pd.DataFrame:
    r"""Count the coloured motifs of three neurons, and compare with a random colouring.

    From Adami, Qian, Rupp & Hintze (2011), "Information content of colored motifs in complex networks", Artificial Life 17, 375-390,
    doi:10.1162/artl_a_00045. A motif is an induced connected triple, up to the order of its neurons: two are of one class if some
    matching of their neurons keeps edges, directions and types. ``expected`` is the exact mean over all assignments of the types to the
    neurons, :math:`n_a` of each, on the same graph: of the :math:`T_s` triples of shape :math:`s`, a share

    .. math:: \frac{n_a (n_b - [b = a]) (n_c - [c = a] - [c = b])}{N (N-1) (N-2)}

    has the types :math:`a, b, c` in its three places, in order.

    Returns:
        one row per class that occurs, or could under another assignment of types: ``shape`` (a name of :func:`triad_census`), ``types`` (of
        the neurons 1, 2 and 3), ``edges`` (between these), ``count``, ``share`` of all (0 if there are none), ``expected``; most frequent
        first.
    """
    graph = SimpleGraph.from_data(data, synapses)
    counts = count_motifs(graph)[0]
    expected, classes = _expected(graph, counts), three_node_classes()
    chosen = np.flatnonzero(expected > 0)
    chosen = chosen[np.argsort(-counts[chosen], kind="stable")]
    keys = classes.key[chosen]
    shapes, edges = [SHAPES[shape] for shape in classes.shape[chosen]], [arrows(int(key), 3) for key in keys % 64]
    names = {"shape": shapes, "types": _types(keys, 3), "edges": edges}
    numbers = {"count": counts[chosen], "share": counts[chosen] / max(counts.sum(), 1), "expected": expected[chosen]}
    return pd.DataFrame({**names, **numbers})


def _types(keys: Ints, nodes: int) -> list[str]:
    return [" ".join(NEURON_TYPES[colour] for colour in row) for row in split(keys, nodes, COLOURS)[1]]


def motif_information(data: Data, nulls: Sequence[Data] | None = None, synapses: str = "all") -> dict[str, float]:
    r"""Compare the coloured motifs of a wiring with those of a null model, in bits.

    With the shares :math:`p` of motif classes in the wiring and :math:`q` in the null,

    .. math::
        H = -\sum_i p_i \log_2 p_i, \qquad I = H_{null} - H, \qquad D = \sum_i p_i \log_2 (p_i / q_i).

    Without ``nulls``, :math:`q` is the exact expectation under a random colouring that keeps the number of neurons of each type, for
    which the information content :math:`I` of Adami et al. (2011), doi:10.1162/artl_a_00045, is zero. :math:`I` is negative if the types
    are mixed more evenly over the motifs than by chance; :math:`D` is never negative.

    Args:
        nulls: wirings that together are the null, such as rewired ones; their counts are pooled. For :math:`D`, half a motif is then added
            to each class that occurs, since a null may lack a class that the wiring has. An empty sequence raises a ``ValueError``.

    Returns:
        ``entropy`` (:math:`H`), ``null_entropy``, ``information`` (:math:`I`) and ``divergence`` (:math:`D`). Without ``nulls``, all are 0
        if there are no motifs.
    """
    graph = SimpleGraph.from_data(data, synapses)
    counts = count_motifs(graph)[0]
    if nulls is None:
        null = _expected(graph, counts)
        distance = divergence(counts, null)
    else:
        if not len(nulls):
            raise ValueError("nulls: expected at least one wiring, got none; leave it out for a random colouring")
        null = np.sum([motif_counts(other, synapses) for other in nulls], axis=0).astype(np.float64)
        seen = (counts > 0) | (null > 0)
        distance = divergence(counts[seen] + 0.5, null[seen] + 0.5)
    found, from_null = entropy(counts), entropy(null)
    return {"entropy": found, "null_entropy": from_null, "information": from_null - found, "divergence": distance}


def motifs_by_level(data: Data) -> pd.DataFrame:
    """Count the coloured motifs of three neurons by level of a DAG: a motif belongs to the level of its earliest neuron. Raises
    ``ValueError`` for a wiring without ``level``.

    Returns:
        one row per level, from 0 on (or from -1, neurons that no input reaches, if there are any): ``level``, ``neurons``, ``motifs``,
        ``entropy`` of the coloured classes and ``shape_entropy``, in bits, both 0 if no motif begins there.
    """
    if data.get("level") is None:
        raise ValueError("data: expected a DAG with level, got a wiring without; make one with ConstrainedDAG() or RandomDAG(seed)")
    graph = SimpleGraph.from_data(data)
    levels, group = np.unique(data.level.cpu().numpy(), return_inverse=True)
    counts, shape = count_motifs(graph, group), three_node_classes().shape
    table = pd.DataFrame({"level": levels, "neurons": np.bincount(group), "motifs": counts.sum(axis=1)})
    table["entropy"] = [entropy(row) for row in counts]
    return table.assign(shape_entropy=[entropy(np.bincount(shape, row)) for row in counts])


def four_motif_spectrum(data: Data, coloured: bool = False, synapses: str = "all") -> pd.DataFrame:
    """Count the motifs of four neurons: the induced connected quadruples (199 shapes), by types too if ``coloured``.

    By the algorithm of Wernicke (2006), "Efficient Detection of Network Motifs", IEEE/ACM Trans. Comput. Biol. Bioinform. 3, 347-359,
    doi:10.1109/TCBB.2006.51; needs Numba (extra ``fast``), and raises ``ImportError`` without it.

    Returns:
        one row per class that occurs: ``edges`` between the neurons 1 to 4, ``types`` of these (if ``coloured``), ``count``, ``share``;
        most frequent first.
    """
    graph = SimpleGraph.from_data(data, synapses)
    keys, counts = _count_four(graph, coloured)
    order = np.argsort(-counts, kind="stable")
    keys, counts = keys[order], counts[order]
    columns: dict[str, object] = {"edges": [arrows(int(key), 4) for key in keys % 4096]}
    if coloured:
        columns["types"] = _types(keys, 4)
    return pd.DataFrame({**columns, "count": counts, "share": counts / max(counts.sum(), 1)})


@measured(
    "motifs",
    ("connected_triples", "connected triples of neurons", "triples", _MILO),
    ("motif_entropy", "entropy of the connected triples by shape and types of neurons; 0 if there are none", "bits", _ADAMI),
    ("motif_information", "entropy of coloured motifs under a random colouring, minus motif_entropy; 0 without motifs", "bits", _ADAMI),
    ("motif_divergence", "divergence of coloured motifs from those under a random colouring; 0 without motifs", "bits", _ADAMI),
    ("triad_entropy", "entropy of the connected triples by shape alone; 0 if there are none", "bits", _TRIADS),
    ("closed_share", "share of connected triples with all three pairs joined; 0 if there are none", "", _TRIADS),
    ("feed_forward_loops", "triples of shape 030T", "triples", _MILO),
    ("three_cycles", "triples of shape 030C", "triples", _TRIADS),
)
def motif_measures(graph: SimpleGraph, *_: Any) -> tuple[float, ...]:
    counts = count_motifs(graph)[0]
    shapes = dict(zip(SHAPES, _shape_counts(graph, counts).tolist(), strict=True))
    connected = [shapes[name] for name in SHAPES[3:]]
    triples = sum(connected)
    expected, found = _expected(graph, counts), entropy(counts)
    information, distance = entropy(expected) - found, divergence(counts, expected)
    closed = sum(shapes[name] for name in ("030T", "030C", "120D", "120U", "120C", "210", "300"))
    return triples, found, information, distance, entropy(connected), share(closed, triples), shapes["030T"], shapes["030C"]


@measured(
    "four_motifs",
    ("connected_quadruples", "connected quadruples of neurons", "quadruples", _MILO),
    ("four_motif_entropy", "entropy of the connected quadruples by shape and types; 0 if there are none", "bits", _ADAMI),
    ("four_shape_entropy", "entropy of the connected quadruples by shape alone; 0 if there are none", "bits", _MILO),
)
def four_motif_measures(graph: SimpleGraph, *_: Any) -> tuple[float, ...]:
    keys, counts = _count_four(graph, coloured=True)
    shape = np.unique(canonical(keys % 4096, 4, 1), return_inverse=True)[1]
    return int(counts.sum()), entropy(counts), entropy(np.bincount(shape, counts)) if len(counts) else 0.0


def _pair_codes(graph: SimpleGraph) -> np.ndarray:
    """``(N, N)``: 1 for an edge from row to column, 2 for one back, 3 for both."""
    code = np.zeros((graph.num_nodes, graph.num_nodes), dtype=np.uint8)
    code[graph.source, graph.target] = 1
    code[graph.target, graph.source] |= 2
    return code


def count_motifs(graph: SimpleGraph, group: Ints | None = None) -> Ints:
    """Coloured motifs by class, ``(groups, K)``; each counts in the smallest group of its neurons. By default there is one group."""
    groups = np.zeros(graph.num_nodes, dtype=np.int64) if group is None else group
    by_key = np.zeros((int(groups.max()) + 1, 64 * COLOURS**3), dtype=np.int64)
    if find_spec("numba") is None:
        _count_by_rows(graph, groups, by_key)
    else:
        from elegans_pyg.analysis.motif_kernels import count_three

        support = graph.support
        count_three(support.indptr, support.indices, _pair_codes(graph), graph.neuron_type, COLOURS, groups, by_key)
    classes = three_node_classes()
    found = classes.of_key >= 0
    by_class = [np.bincount(classes.of_key[found], keys[found], minlength=len(classes.key)) for keys in by_key]
    return np.stack(by_class).astype(np.int64)


def _count_by_rows(graph: SimpleGraph, groups: Ints, by_key: Ints) -> None:
    """The same as the Numba kernel ``count_three``, with a few NumPy calls per middle neuron."""
    support, code, colour = graph.support, _pair_codes(graph).astype(np.int64), graph.neuron_type
    for middle in range(graph.num_nodes):
        around = support.indices[support.indptr[middle] : support.indptr[middle + 1]]
        first, second = np.triu_indices(len(around), 1)
        u, v = around[first], around[second]
        # An open triple has one middle node. In a closed one every node is a middle, and it is counted at the smallest only.
        counted = (code[u, v] == 0) | (middle < u)
        u, v = u[counted], v[counted]
        digits = (colour[middle] * COLOURS + colour[u]) * COLOURS + colour[v]
        keys = 64 * digits + code[middle, u] + 4 * code[middle, v] + 16 * code[u, v]
        np.add.at(by_key, (np.minimum(groups[middle], np.minimum(groups[u], groups[v])), keys), 1)


def _shape_counts(graph: SimpleGraph, counts: Ints) -> Ints:
    """Triples of each of ``SHAPES``; those of the three shapes that are not connected follow from the number of pairs."""
    number = graph.num_nodes
    shapes = np.bincount(three_node_classes().shape, counts, minlength=len(SHAPES)).astype(np.int64)
    mutual = int(graph.is_mutual.sum()) // 2
    one_way = graph.num_edges - 2 * mutual
    # Each pair is in N - 2 triples. A shape's name says how many mutual and one-way pairs it has.
    shapes[SHAPES.index("102")] = mutual * max(number - 2, 0) - sum(int(name[0]) * shapes[i] for i, name in enumerate(SHAPES) if i > 2)
    shapes[SHAPES.index("012")] = one_way * max(number - 2, 0) - sum(int(name[1]) * shapes[i] for i, name in enumerate(SHAPES) if i > 2)
    # The pairs of connected triples were subtracted above, so each pair left is the only one of its triple.
    shapes[0] = comb(number, 3) - shapes[1:].sum()
    return shapes


def _expected(graph: SimpleGraph, counts: Ints) -> Floats:
    """Mean counts by class if the types were assigned to the neurons at random."""
    classes = three_node_classes()
    shapes = np.bincount(classes.shape, counts, minlength=len(SHAPES))
    a, b, c = split(64 * np.arange(COLOURS**3), 3, COLOURS)[1].T
    n = graph.type_counts
    ways = n[a] * (n[b] - (b == a)) * (n[c] - (c == a) - (c == b))
    chance = ways / max(perm(graph.num_nodes, 3), 1)
    connected = slice(SHAPES.index("021D"), None)
    weights = shapes[connected, None] * chance
    return np.bincount(classes.coloured[connected].ravel(), weights.ravel(), minlength=len(classes.key)).astype(np.float64)


def _count_four(graph: SimpleGraph, coloured: bool) -> tuple[Ints, Ints]:
    """Smallest keys of the motifs that occur, ascending, and their counts."""
    require("numba", "fast", "counting motifs of four neurons")
    from elegans_pyg.analysis.motif_kernels import count_four

    colours = COLOURS if coloured else 1
    colour = graph.neuron_type if coloured else np.zeros_like(graph.neuron_type)
    by_key = np.zeros(4096 * colours**4, dtype=np.int64)
    count_four(graph.support.indptr, graph.support.indices, _pair_codes(graph), colour, colours, by_key)
    found = np.flatnonzero(by_key)
    keys, place = np.unique(canonical(found, 4, colours), return_inverse=True)
    return keys, np.bincount(place, by_key[found], minlength=len(keys)).astype(np.int64)
