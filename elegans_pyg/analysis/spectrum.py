"""Eigenvalues of directed graphs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from torch_geometric.data import Data

from elegans_pyg.analysis.simple_graph import SimpleGraph, measured

_ITERATIONS = 2_000
_TOLERANCE = 1e-11


def eigenvalues(data: Data, weighted: bool = False, synapses: str = "all") -> np.ndarray:
    """Eigenvalues of the directed adjacency matrix (1, or the weights), largest modulus first; ``(N,)`` complex, all 0 for a DAG."""
    return sorted_eigenvalues(SimpleGraph.from_data(data, synapses).matrix(weighted))


def sorted_eigenvalues(matrix: sparse.csr_array) -> np.ndarray:
    """Eigenvalues by strong components, so that those of neurons on no cycle are exactly 0; a dense solver would not give that."""
    found = [np.linalg.eigvals(part.toarray()) for part in _strong_parts(matrix)]
    values = np.concatenate([*found, np.zeros(matrix.shape[0] - sum(map(len, found)), dtype=np.complex128)])
    return values[np.lexsort((values.imag, values.real, -np.abs(values)))]


def spectral_radius(matrix: sparse.csr_array) -> float:
    r"""Largest modulus of the eigenvalues of a matrix of non-negative numbers with an empty diagonal.

    This is the largest over its strong components. For an irreducible matrix :math:`A` and any positive :math:`x`, Collatz and Wielandt
    bound the radius by :math:`\min_i (Ax)_i / x_i` and :math:`\max_i (Ax)_i / x_i`; power iteration of :math:`A + I`, which is primitive,
    makes the two converge. If that is slow (long cycles), all eigenvalues are computed.
    """
    return max(map(_irreducible_radius, _strong_parts(matrix)), default=0.0)


def _strong_parts(matrix: sparse.csr_array) -> Iterator[sparse.csr_array]:
    """The strong components with more than one neuron, each as a matrix of its own."""
    count, part = csgraph.connected_components(matrix, connection="strong")
    for number in np.flatnonzero(np.bincount(part, minlength=count) > 1):
        inside = np.flatnonzero(part == number)
        yield matrix[inside][:, inside]


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


@measured(
    "spectrum",
    ("spectral_radius", "largest modulus of the eigenvalues of the directed adjacency matrix; 0 for a DAG"),
    ("spectral_radius_weighted", "largest modulus of the eigenvalues of the directed weight matrix; 0 for a DAG", "weight"),
)
def spectrum_measures(graph: SimpleGraph, *_: Any) -> tuple[float, ...]:
    return spectral_radius(graph.adjacency), spectral_radius(graph.matrix(weighted=True))
