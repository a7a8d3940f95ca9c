"""The spectral radius of a directed, weighted wiring."""

from contextlib import suppress

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigvals
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, eigs

DENSE_NODES = 1_000
"""Strongly connected components of up to this many neurons use a dense solver; larger ones use ARPACK."""

_NILPOTENT = 1e-6


def spectral_radius(edge_index: npt.NDArray[np.int64], weight: npt.NDArray[np.float64], num_nodes: int) -> float:
    r"""Compute the largest modulus of the eigenvalues of the directed adjacency matrix :math:`W_{ts} = \sum_{e = (s, t)} w_e`.

    The eigenvalues of a directed graph are those of its strongly connected components, so each component is solved alone. Neurons on no
    cycle then give exactly 0, where a solver for the whole matrix would be wrong by :math:`\epsilon^{1/n}` (0.88 for a chain of 282).
    Components of up to ``DENSE_NODES`` neurons are solved by LAPACK, larger ones by the implicitly restarted Arnoldi method (Lehoucq,
    Sorensen & Yang 1998, "ARPACK Users' Guide", doi:10.1137/1.9780898719628) from a fixed start, or by LAPACK if that does not converge.

    ``edge_index (2, E)`` holds sources and targets; ``weight (E,)`` may have either sign, and weights of repeated edges add up. A component
    whose largest modulus is below 1e-6 of its Frobenius norm, because its weights cancel, counts as 0.
    """
    source, target = edge_index
    matrix = csr_array((weight, (target, source)), shape=(num_nodes, num_nodes), dtype=np.float64)
    matrix.eliminate_zeros()
    _, label = connected_components(matrix, directed=True, connection="strong")
    order = np.argsort(label, kind="stable")
    sizes = np.bincount(label)
    ends = np.cumsum(sizes)
    # The only edge of a component of one neuron is its self-loop.
    radius = float(np.max(np.abs(matrix.diagonal()), initial=0.0, where=sizes[label] == 1))
    for component in np.flatnonzero(sizes > 1):
        nodes = order[ends[component] - sizes[component] : ends[component]]
        block = matrix[nodes][:, nodes]
        largest = _largest_modulus(block)
        if largest > _NILPOTENT * np.linalg.norm(block.data):
            radius = max(radius, largest)
    return radius


def _largest_modulus(block: csr_array) -> float:
    size = block.shape[0]
    if size > DENSE_NODES:
        start = np.random.default_rng(0).standard_normal(size)
        # Six eigenvalues: with k=1, Arnoldi may converge to the second largest of several close ones. If they are too close to separate,
        # LAPACK still finds the largest, in O(n^3).
        with suppress(ArpackNoConvergence):
            return float(np.abs(eigs(block, k=6, which="LM", v0=start, return_eigenvectors=False)).max())
    return float(np.abs(eigvals(block.toarray(), overwrite_a=True, check_finite=False)).max())
