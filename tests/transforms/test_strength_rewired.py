"""StrengthRewired: degrees exactly, strengths nearly, against the energy computed anew and a search of all permutations."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from elegans_pyg.datasets import Connectome, WiringEnsemble
from elegans_pyg.transforms import StrengthRewired, WeightShuffled
from elegans_pyg.transforms.strength_rewired import _exchange, strength_error
from tests.transforms.test_rewired import graph_of
from tests.transforms.wirings import connectomes, degrees, edge_list, random_connectome, redrawn, same

pytestmark = pytest.mark.filterwarnings("ignore:.*found no swap")


def strengths(data: Data) -> list[float]:
    """Summed weights of the edges out of each node, then into each, an edge at a time."""
    sums = [0.0] * (2 * data.num_nodes)
    for s, t, _, weight in edge_list(data):
        sums[s] += weight
        sums[data.num_nodes + t] += weight
    return sums


@settings(max_examples=30, deadline=None)
@given(connectomes(), st.integers(0, 2**40))
def test_keeps_degrees_and_weights(data: Data, seed: int) -> None:
    new = redrawn(StrengthRewired(seed), data)
    assert degrees(new) == degrees(data)


@pytest.mark.parametrize("kind", ["chemical", "electrical"])
def test_strengths_are_nearly_kept_and_edges_are_not(kind: str) -> None:
    data = random_connectome(0, 60, loops=0.1, **{"chemical": 0.0, kind: 0.1})  # type: ignore[arg-type]
    new = StrengthRewired(1)(data)
    old = np.array(strengths(data))
    assert strength_error(data, new) == pytest.approx(np.abs(np.array(strengths(new)) - old).sum() / old.sum(), rel=1e-9, abs=1e-12)
    assert strength_error(data, new) < 0.01
    assert strength_error(data, WeightShuffled(1)(data)) > 0.1
    edges = [{edge[:2] for edge in edge_list(graph) if edge[0] != edge[1]} for graph in (data, new)]
    assert len(edges[0] & edges[1]) < 0.25 * len(edges[0])
    assert not same(new, StrengthRewired(2)(data))


def test_on_the_hermaphrodite() -> None:
    data = Connectome("cook2019-hermaphrodite")[0]
    report = WiringEnsemble(data, "strength_rewired", 3).match_report()
    assert report["strength_error"][0] == 0
    assert (report["strength_error"][1:] < 0.01).all()
    others = [WiringEnsemble(data, family, 2).match_report()["strength_error"][1:] for family in ("rewired", "weight_shuffled")]
    assert all((errors > 0.2).all() for errors in others)
    new = StrengthRewired(0)(data)
    weights = [{edge[:2]: edge[3] for edge in edge_list(graph)} for graph in (data, new)]
    kept = weights[0].keys() & weights[1].keys()
    assert len(kept) < 0.15 * data.num_edges


@pytest.mark.parametrize("directed", [True, False])
def test_no_energy_is_hidden(directed: bool) -> None:
    """What is left over at the end is what the weights give, and no permutation of a small graph's weights is better."""
    rng = np.random.default_rng(int(directed))
    source, target = np.array([0, 0, 1, 2, 3, 3]), np.array([1, 2, 2, 3, 0, 1])
    size = 8 if directed else 4
    target = target + (4 if directed else 0)
    wanted = rng.integers(1, 30, size).astype(float)
    weight = rng.integers(1, 12, 6).astype(float)

    def excess_of(values: np.ndarray) -> np.ndarray:
        return np.bincount(source, values, size) + np.bincount(target, values, size) - wanted

    best = min((excess_of(np.array(values)) ** 2).sum() for values in permutations(weight))
    new, excess = weight.copy(), excess_of(weight)
    for temperature in np.geomspace(1e3, 1e-3, 200):
        first, second = rng.integers(6, size=(2, 50))
        _exchange(source, target, new, excess, first, second, temperature * rng.standard_exponential(50))
    assert sorted(new) == sorted(weight)
    assert np.allclose(excess, excess_of(new))
    assert (excess**2).sum() == best


def test_a_rise_is_accepted_as_often_as_metropolis_says() -> None:
    rng, accepted = np.random.default_rng(0), 0
    for limit in 3.0 * rng.standard_exponential(4000):
        weight, excess = np.array([1.0, 2.0]), np.zeros(4)
        _exchange(np.array([0, 1]), np.array([2, 3]), weight, excess, np.array([0]), np.array([1]), np.array([limit]))
        accepted += weight[0] == 2.0
        assert np.allclose(excess, [1, -1, 1, -1] if weight[0] == 2.0 else 0)
    assert accepted / 4000 == pytest.approx(np.exp(-4 / 3.0), abs=0.03)


def test_equal_weights_and_a_graph_without_swaps_stay() -> None:
    star = graph_of([(0, 1), (0, 2), (0, 3)], 4)
    assert torch.equal(StrengthRewired(0)(star).edge_index, star.edge_index)
    even = random_connectome(3, 20)
    even.edge_weight = torch.ones(even.num_edges)
    assert strength_error(even, StrengthRewired(0)(even)) == 0
    assert not torch.equal(StrengthRewired(0)(even).edge_index, even.edge_index)
    assert repr(StrengthRewired(4)) == "StrengthRewired(seed=4)"
