"""Eigenvalues of directed graphs."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from torch_geometric.data import Data

from elegans_pyg.analysis.simple_graph import SimpleGraph, describe

_ITERATIONS = 2_000
_TOLERANCE = 1e-11


def eigenvalues(data: Data, weighted: bool = False, synapses: str = "all") -> np.ndarray:
    """Eigenvalues of the directed adjacency matrix, largest modulus first; ``(N,)`` complex.

    Args:
        data: the wiring. A DAG's eigenvalues are all 0.
        weighted: use the weights in place of 1.
        synapses: ``"all"``, ``"chemical"`` or ``"electrical"``.
    """
    graph = SimpleGraph.from_data(data, synapses)
    return sorted_eigenvalues(graph.matrix(weighted))


def sorted_eigenvalues(matrix: sparse.csr_array) -> np.ndarray:
    """By strong components, so that those of neurons on no cycle are exactly 0, which no dense solver would find."""
    count, part = csgraph.connected_components(matrix, connection="strong")
    values = np.zeros(matrix.shape[0], dtype=np.complex128)
    filled = 0
    for number in np.flatnonzero(np.bincount(part, minlength=count) > 1):
        inside = np.flatnonzero(part == number)
        values[filled : filled + len(inside)] = np.linalg.eigvals(matrix[inside][:, inside].toarray())
        filled += len(inside)
    return values[np.lexsort((values.imag, values.real, -np.abs(values)))]


def spectral_radius(matrix: sparse.csr_array) -> float:
    r"""Largest modulus of the eigenvalues of a matrix of non-negative numbers with an empty diagonal.

    The largest over its strong components. For an irreducible matrix :math:`A` and any positive :math:`x`, Collatz and Wielandt bound the
    radius by :math:`\min_i (Ax)_i / x_i` and :math:`\max_i (Ax)_i / x_i`; power iteration of :math:`A + I`, which is primitive, draws the
    two together. Where that is slow (long cycles), all eigenvalues are computed.
    """
    count, part = csgraph.connected_components(matrix, connection="strong")
    largest = 0.0
    for number in np.flatnonzero(np.bincount(part, minlength=count) > 1):
        inside = np.flatnonzero(part == number)
        largest = max(largest, _irreducible_radius(matrix[inside][:, inside]))
    return largest


def _irreducible_radius(matrix: sparse.csr_array) -> float:
    x = np.ones(matrix.shape[0])
    for _ in range(_ITERATIONS):
        step = matrix @ x
        ratio = step / x
        low, high = ratio.min(), ratio.max()
        if high - low <= _TOLERANCE * high:
            return float((low + high) / 2)
        x = x + step
        x /= x.max()
    return float(np.abs(np.linalg.eigvals(matrix.toarray())).max())


def spectrum_measures(graph: SimpleGraph) -> dict[str, float]:
    """The columns of group ``spectrum``."""
    return {name: spectral_radius(graph.matrix(weighted)) for name, weighted in zip(SPECTRUM_MEASURES, (False, True), strict=True)}


SPECTRUM_MEASURES = describe(
    "spectrum",
    ("spectral_radius", "largest modulus of the eigenvalues of the directed adjacency matrix; 0 for a DAG"),
    ("spectral_radius_weighted", "the same with the weights, all above 0, in place of 1; 0 for a DAG", "weight"),
)
