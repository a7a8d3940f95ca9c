"""Rewired, against the set of all graphs with the same degrees."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch_geometric.data import Data

from elegans_pyg.transforms import Rewired
from elegans_pyg.wirings import as_wiring
from tests.transforms.wirings import connectomes, degrees, edge_list, random_connectome, redrawn, same

pytestmark = pytest.mark.filterwarnings("ignore:.*found no swap")


def graph_of(pairs: list[tuple[int, int]], num_nodes: int, kind: int = 0) -> Data:
    pairs = sorted(pairs if kind == 0 else pairs + [pair[::-1] for pair in pairs])
    return Data(
        edge_index=torch.tensor(pairs).T.contiguous(),
        edge_weight=torch.ones(len(pairs)),
        edge_type=torch.full((len(pairs),), kind),
        neuron_type=torch.zeros(num_nodes, dtype=torch.long),
    )


@settings(max_examples=60, deadline=None)
@given(connectomes(), st.integers(0, 2**40), st.sampled_from([0.0, 0.3, 1.0]))
def test_keeps_degrees_and_outgoing_weight(data: Data, seed: int, fraction: float) -> None:
    new = redrawn(Rewired(seed, fraction), data)
    assert degrees(new) == degrees(data)
    for node in range(data.num_nodes):
        chemical = [sorted(w for s, _, k, w in edge_list(graph) if k == 0 and s == node) for graph in (data, new)]
        assert chemical[0] == chemical[1]


def test_fraction_is_the_share_that_takes_part() -> None:
    data = random_connectome(0, 60, chemical=0.1)
    assert same(Rewired(0, fraction=0.0)(data), data)
    old = {edge[:2] for edge in edge_list(data)}
    loops = sum(a == b for a, b in old)
    for fraction in (0.1, 0.5, 1.0):
        stayed = len(old & {edge[:2] for edge in edge_list(Rewired(0, fraction)(data))}) - loops
        moved = (len(old) - loops) - stayed
        # Some of those that take part end up where an edge was before, about one in ten at this density.
        assert 0.75 * fraction * (len(old) - loops) < moved <= round(fraction * (len(old) - loops))


def test_all_directed_graphs_of_the_degrees_are_equally_likely() -> None:
    data = graph_of([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)], 4)
    out_degree, in_degree = (Counter(data.edge_index[end].tolist()) for end in (0, 1))
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    possible = {
        edges
        for edges in combinations(pairs, 5)
        if Counter(a for a, _ in edges) == out_degree and Counter(b for _, b in edges) == in_degree
    }
    found = Counter(tuple(edge[:2] for edge in edge_list(Rewired(seed)(data))) for seed in range(1500))
    assert set(found) == possible
    assert chisquare(list(found.values())).pvalue > 1e-4


def test_all_undirected_graphs_of_the_degrees_are_equally_likely() -> None:
    data = graph_of([(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)], 5, kind=1)
    possible = {edges for edges in combinations(combinations(range(5), 2), 5) if set(Counter(n for e in edges for n in e).values()) == {2}}
    possible = {edges for edges in possible if len({n for e in edges for n in e}) == 5}
    found = Counter(tuple((a, b) for a, b, _, _ in edge_list(Rewired(seed)(data)) if a < b) for seed in range(1500))
    assert set(found) == possible
    assert len(possible) == 12  # the pentagons
    assert chisquare(list(found.values())).pvalue > 1e-4


@pytest.mark.filterwarnings("default:.*found no swap")
@pytest.mark.parametrize("kind", [0, 1])
def test_warns_where_no_swap_is_possible(kind: int) -> None:
    star = graph_of([(0, 1), (0, 2), (0, 3)], 4, kind)
    with pytest.warns(UserWarning, match="Rewired found no swap among 3 (chemical|electrical) edges"):
        assert same(Rewired(0)(star), as_wiring(star))


def test_bad_fraction() -> None:
    with pytest.raises(ValueError, match=r"fraction: expected a number from 0 to 1, got 2"):
        Rewired(0, fraction=2)
