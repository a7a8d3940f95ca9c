"""Loops: compiled by Numba and as plain Python they make the same graphs."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from torch_geometric.data import Data

from elegans_pyg._loops import edge_table, flip_edge, has_edge, loop
from elegans_pyg.datasets import WiringEnsemble
from elegans_pyg.transforms import FAMILIES
from tests.transforms.wirings import random_connectome, same


@pytest.fixture(scope="module")
def bases() -> list[Data]:
    return [random_connectome(0, 40, chemical=0.15, electrical=0.05), random_connectome(1, 25, chemical=0.2)]


@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_are_the_same_without_numba(bases: list[Data], family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="numba is not installed (extra `fast`)")
    compiled = [graph for base in bases for graph in WiringEnsemble(base, family, 3)]
    monkeypatch.setitem(sys.modules, "numba", None)
    plain = [graph for base in bases for graph in WiringEnsemble(base, family, 3)]
    assert all(same(a, b) for a, b in zip(compiled, plain, strict=True))


@loop
def count_up(values, by, rng):  # type: ignore[no-untyped-def]
    for place in range(len(values)):
        values[place] += by + rng.random()
    return len(values)


@pytest.fixture(params=["numba", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, "numba", None)
    else:
        pytest.importorskip("numba", reason="numba is not installed (extra `fast`)")


@pytest.mark.usefixtures("way")
def test_changes_arrays_in_place_and_draws_numpys_numbers() -> None:
    values, rng = np.arange(5.0), np.random.default_rng(3)
    assert count_up(values, 10, rng) == 5
    expected = np.random.default_rng(3)
    assert np.array_equal(values, np.arange(5.0) + 10 + expected.random(5))
    assert rng.random() == expected.random()


def test_of_threads_that_need_a_loop_first_one_compiles_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="numba is not installed (extra `fast`)")
    from elegans_pyg import _compiled

    compiled, times = _compiled.compiled, []

    def slowly():  # type: ignore[no-untyped-def]
        times.append(1)
        time.sleep(0.05)  # The others ask meanwhile.
        return compiled()

    monkeypatch.setattr(_compiled, "compiled", slowly)

    @loop
    def total(values):  # type: ignore[no-untyped-def]
        summed = 0.0
        for value in values:
            summed += value
        return summed

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(total, [np.ones(3)] * 8)) == [3.0] * 8
    assert len(times) == 1


@pytest.mark.parametrize("directed", [True, False])
def test_table_of_edges_is_a_set_of_pairs(directed: bool) -> None:
    rng, known, table = np.random.default_rng(0), set(), edge_table(9)
    for a, b in rng.integers(9, size=(500, 2)).tolist():
        flip_edge(table, 9, directed, a, b)
        known ^= {(a, b) if directed else (min(a, b), max(a, b))}
    for a in range(9):
        for b in range(9):
            assert has_edge(table, 9, directed, a, b) == (((a, b) if directed else (min(a, b), max(a, b))) in known)
