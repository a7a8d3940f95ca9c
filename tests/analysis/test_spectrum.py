from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import linear_sum_assignment

from elegans_pyg.analysis import eigenvalues
from elegans_pyg.analysis.spectrum import spectral_radius, spectrum_measures
from tests.analysis.graphs import random_wiring, simple, wiring, wirings
from tests.dags import dags


@settings(max_examples=30, deadline=None)
@given(wirings(max_nodes=12))
def test_radius_and_eigenvalues_agree_with_a_dense_solver(data):
    graph = simple(data)
    values = spectrum_measures(graph)
    for weighted, name in ((False, "spectral_radius"), (True, "spectral_radius_weighted")):
        matrix = graph.matrix(weighted).toarray()
        found, dense = eigenvalues(data, weighted), np.linalg.eigvals(matrix)
        # Where a matrix is defective, a dense solver is good to the root of the machine's precision only, or worse.
        assert values[name] == pytest.approx(np.abs(dense).max(), abs=2e-3)
        assert values[name] == pytest.approx(np.abs(found[0]), abs=1e-6)
        cost = np.abs(found[:, None] - dense[None, :])
        assert cost[linear_sum_assignment(cost)].max() < 2e-3 * max(1, np.abs(dense).max())
        assert np.poly(found) == pytest.approx(np.poly(matrix), rel=1e-6, abs=1e-6 * max(1, np.abs(np.poly(matrix)).max()))
        assert (np.diff(np.abs(found)) <= 1e-9).all()


@settings(max_examples=10, deadline=None)
@given(dags())
def test_a_dag_has_no_eigenvalue_but_zero(data):
    assert not eigenvalues(data).any()
    assert set(spectrum_measures(simple(data)).values()) == {0.0}


def test_radius_of_cycles_and_of_one_with_a_chord():
    cycle = [(n, (n + 1) % 300) for n in range(300)]
    assert spectral_radius(simple(wiring(300, cycle)).adjacency) == 1
    # Power iteration of so long a cycle takes too long: the dense solver steps in.
    chord = simple(wiring(300, [*cycle, (0, 150)])).adjacency
    assert spectral_radius(chord) == pytest.approx(np.abs(np.linalg.eigvals(chord.toarray())).max(), rel=1e-9)
    graph = simple(random_wiring(0, 100, 0.05))
    assert spectral_radius(graph.adjacency) == pytest.approx(np.abs(np.linalg.eigvals(graph.adjacency.toarray())).max(), rel=1e-9)
