"""Distances between wirings."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.special import rel_entr
from torch_geometric.data import Batch, Data, Dataset

from elegans_pyg.analysis.measures import list_wirings
from elegans_pyg.analysis.motif_tables import SHAPES, three_node_classes
from elegans_pyg.analysis.motifs import count_motifs
from elegans_pyg.analysis.simple_graph import SimpleGraph, share
from elegans_pyg.analysis.spectrum import sorted_eigenvalues


def jensen_shannon(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    r"""Jensen-Shannon distance between two distributions: the root of their divergence in bits, from 0 (equal) to 1 (nothing in common).

    From Endres & Schindelin (2003), "A new metric for probability distributions", IEEE Trans. Inf. Theory 49, 1858-1860,
    doi:10.1109/TIT.2003.813506, with :math:`m = (p + q) / 2`:

    .. math:: d = \sqrt{\tfrac12 \sum_i p_i \log_2 (p_i / m_i) + \tfrac12 \sum_i q_i \log_2 (q_i / m_i)}

    Args:
        first, second: counts or shares ``(K,)``, finite and at least 0; the shorter one is padded with 0. They need not add up to 1.

    Returns:
        the distance; 1 if only one of them has counts, 0 if neither has.

    Raises:
        ValueError: for other values.
    """
    p, q = (np.asarray(values, dtype=np.float64) for values in (first, second))
    for name, values in (("first", p), ("second", q)):
        if values.ndim != 1 or not (np.isfinite(values) & (values >= 0)).all():
            got = np.array2string(values, threshold=6)
            raise ValueError(f"{name}: expected a list of finite counts of 0 or more, got {got}; correct them")
    length = max(len(p), len(q))
    p, q = (np.pad(values, (0, length - len(values))) for values in (p, q))
    if not (p.any() and q.any()):
        return float(p.any() or q.any())
    p, q = p / p.sum(), q / q.sum()
    # Not divided by its own sum, so that equal distributions have a distance of exactly 0.
    middle = (p + q) / 2
    bits = float((rel_entr(p, middle) + rel_entr(q, middle)).sum() / (2 * np.log(2)))
    return float(np.sqrt(np.clip(bits, 0.0, 1.0)))


def edge_overlap(first: Data, second: Data, synapses: str = "all") -> float:
    """Jaccard index of the directed edges of two wirings: edges in both over edges in either; 1 if neither has any.

    Neurons are matched by ``neuron_name`` if both wirings have names, else by number. Raises ``ValueError`` if names are not unique, or if
    there are none and the numbers of neurons differ.
    """
    named = first.get("neuron_name") is not None and second.get("neuron_name") is not None
    if not named and first.num_nodes != second.num_nodes:
        count, other = first.num_nodes, second.num_nodes
        raise ValueError(f"second: expected {count} neurons as in the first wiring, got {other}; name the neurons of both")
    ours, theirs = (_edge_set(data, named, synapses) for data in (first, second))
    return share(len(ours & theirs), len(ours | theirs), otherwise=1.0)


def _edge_set(data: Data, named: bool, synapses: str) -> set[tuple[str | int, str | int]]:
    graph = SimpleGraph.from_data(data, synapses)
    names = list(data.neuron_name) if named else list(range(graph.num_nodes))
    if len(set(names)) != graph.num_nodes or len(names) != graph.num_nodes:
        raise ValueError(f"data.neuron_name: expected {graph.num_nodes} different names, got {len(set(names))}; name every neuron")
    return {(names[m], names[n]) for m, n in zip(graph.source, graph.target, strict=True)}


def spectral_distance(first: Data, second: Data, weighted: bool = False, synapses: str = "all") -> float:
    r"""Mean distance in the complex plane between the eigenvalues of two directed adjacency matrices, matched as closely as possible.

    .. math:: \min_\pi \frac1N \sum_i | \lambda_i - \mu_{\pi(i)} |

    This is the earth mover's distance of the two spectra. The entries of the matrices are 1, or the weights if ``weighted``. The smaller
    wiring is padded with isolated neurons, whose eigenvalues are 0. Two DAGs have distance 0, as all their eigenvalues are 0.
    """
    return _spectra_apart(*(sorted_eigenvalues(SimpleGraph.from_data(data, synapses).matrix(weighted)) for data in (first, second)))


def _spectra_apart(first: np.ndarray, second: np.ndarray) -> float:
    length = max(len(first), len(second))
    first, second = (np.pad(values, (0, length - len(values))) for values in (first, second))
    cost = np.abs(first[:, None] - second[None, :])
    return float(cost[linear_sum_assignment(cost)].mean())


def distances(graphs: Data | Batch | Dataset | Sequence[Data], reference: Data, synapses: str = "all") -> pd.DataFrame:
    """Distances of wirings from a reference, by several measures.

    Args:
        graphs: one wiring, a batch, a dataset or a sequence, as for :func:`~elegans_pyg.analysis.measures`.
        reference: the wiring that they are compared with, often the connectome that they were made from.

    Returns:
        one row per wiring: ``motifs``, ``triads``, ``in_degrees``, ``out_degrees`` (Jensen-Shannon distances of the coloured three-node
        motifs, the shapes of connected triads, and the degree distributions), ``spectrum`` (:func:`spectral_distance`) and ``edges``
        (1 minus :func:`edge_overlap`). All are 0 for equal wirings, and only ``spectrum`` can exceed 1. Raises as these functions.
    """
    parts = _parts(reference, synapses)
    rows = []
    for data in list_wirings(graphs):
        other = _parts(data, synapses)
        row = {name: jensen_shannon(other[name], parts[name]) for name in ("motifs", "triads", "in_degrees", "out_degrees")}
        apart, overlap = _spectra_apart(other["spectrum"], parts["spectrum"]), edge_overlap(data, reference, synapses)
        rows.append({**row, "spectrum": apart, "edges": 1 - overlap})
    return pd.DataFrame(rows)


def _parts(data: Data, synapses: str) -> dict[str, np.ndarray]:
    graph = SimpleGraph.from_data(data, synapses)
    motifs = count_motifs(graph)[0]
    return {
        "motifs": motifs,
        "triads": np.bincount(three_node_classes().shape, motifs, minlength=len(SHAPES)),
        "in_degrees": np.bincount(graph.in_degree),
        "out_degrees": np.bincount(graph.out_degree),
        "spectrum": sorted_eigenvalues(graph.adjacency),
    }
