"""spectral_radius against closed forms and LAPACK on the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans_pyg.nn.reservoir import spectral_radius as module
from elegans_pyg.nn.reservoir.spectral_radius import spectral_radius


def edges_of(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    target, source = matrix.nonzero()
    return np.stack([source, target]), matrix[target, source], len(matrix)


def random_matrix(seed: int, size: int, density: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((size, size)) < density, rng.normal(size=(size, size)), 0.0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), size=st.integers(1, 12), density=st.sampled_from([0.05, 0.2, 0.5, 1.0]))
def test_equals_that_of_the_whole_matrix(seed: int, size: int, density: float) -> None:
    matrix = random_matrix(seed, size, density)
    # A nilpotent matrix's computed eigenvalues are of order eps^(1/n), not 0.
    expected = np.abs(np.linalg.eigvals(matrix)).max()
    found = spectral_radius(*edges_of(matrix))
    assert found == pytest.approx(expected, rel=1e-8, abs=0.05 if found == 0 else 1e-12)


def test_cycles_and_self_loops() -> None:
    cycle = np.array([[0, 1, 2, 3], [1, 2, 0, 0]])
    # The product of weights around a cycle of 3 is the cube of the radius.
    assert spectral_radius(cycle, np.array([2.0, 3.0, -4.0, 9.0]), 5) == pytest.approx(24 ** (1 / 3))
    assert spectral_radius(np.array([[0, 1], [0, 2]]), np.array([-0.5, 7.0]), 3) == 0.5
    # Repeated edges add up: one self-loop of weight 5.
    assert spectral_radius(np.array([[0, 0], [0, 0]]), np.array([2.0, 3.0]), 1) == 5.0


def test_a_chain_has_exactly_none() -> None:
    nodes = np.arange(282)
    chain = np.stack([nodes[:-1], nodes[1:]])
    assert spectral_radius(chain, np.full(281, 30.0), 282) == 0.0
    assert spectral_radius(np.empty((2, 0), dtype=np.int64), np.empty(0), 3) == 0.0


def test_weights_that_cancel_count_as_none() -> None:
    nilpotent = np.array([[1.0, -1.0], [1.0, -1.0]])
    assert spectral_radius(*edges_of(nilpotent)) == 0.0


def test_directed_means_directed() -> None:
    matrix = np.array([[0.0, 4.0], [1.0, 0.0]])
    assert spectral_radius(*edges_of(matrix)) == pytest.approx(2.0)  # the symmetric part would give 2.5


def test_arpack_agrees_with_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = random_matrix(3, 300, 0.05)
    expected = np.abs(np.linalg.eigvals(matrix)).max()
    called = []
    arpack = module.eigs
    monkeypatch.setattr(module, "eigs", lambda *a, **k: called.append(1) or arpack(*a, **k))
    monkeypatch.setattr(module, "DENSE_NODES", 100)
    assert spectral_radius(*edges_of(matrix)) == pytest.approx(expected, rel=1e-9)
    assert called


def test_lapack_takes_over_where_arpack_does_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = random_matrix(4, 60, 0.2)
    monkeypatch.setattr(module, "DENSE_NODES", 10)

    def fails(*_: object, **__: object) -> None:
        raise module.ArpackNoConvergence("no", np.empty(0), np.empty((0, 0)))

    monkeypatch.setattr(module, "eigs", fails)
    assert spectral_radius(*edges_of(matrix)) == pytest.approx(np.abs(np.linalg.eigvals(matrix)).max(), rel=1e-9)
