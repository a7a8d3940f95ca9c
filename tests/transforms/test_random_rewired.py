"""RandomRewired, against igraph's rewire_edges."""

from __future__ import annotations

from collections import Counter

import igraph
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp
from torch_geometric.data import Data

from elegans_pyg.transforms import RandomRewired
from elegans_pyg.wirings import as_wiring
from tests.transforms.test_rewired import graph_of
from tests.transforms.wirings import connectomes, edge_list, random_connectome, redrawn, same


@settings(max_examples=40, deadline=None)
@given(connectomes(), st.integers(0, 2**40), st.sampled_from([0.0, 0.3, 1.0]))
def test_keeps_numbers_of_edges_and_nothing_else(data: Data, seed: int, fraction: float) -> None:
    new = redrawn(RandomRewired(seed, fraction), data)
    if fraction == 0:
        assert same(new, data)


def test_each_end_moves_with_the_probability() -> None:
    data = random_connectome(0, 120, chemical=0.05, loops=0)
    before = {(s, t) for s, t, _, _ in edge_list(data)}
    count = len(before)
    for fraction in (0.1, 0.5):
        kept = np.mean([len(before & {(s, t) for s, t, _, _ in edge_list(RandomRewired(seed, fraction)(data))}) for seed in range(20)])
        # An end that moves can come back by chance, with probability 1/(N - 1) or so, and another edge can take its place.
        assert kept / count == pytest.approx((1 - fraction) ** 2, abs=0.03)


def test_degrees_spread_as_igraph_spreads_them() -> None:
    data = random_connectome(1, 80, chemical=0.05, loops=0)
    graph = igraph.Graph(n=80, edges=data.edge_index.T.tolist(), directed=True)
    for fraction in (0.3, 1.0):
        ours, theirs = [], []
        for seed in range(40):
            moved = graph.copy()
            moved.rewire_edges(fraction)
            theirs += [np.var(moved.indegree()), np.var(moved.outdegree())]
            index = RandomRewired(seed, fraction)(data).edge_index
            ours += [float(np.var(np.bincount(index[end], minlength=80))) for end in (1, 0)]
        assert ks_2samp(ours, theirs).pvalue > 1e-3


def test_a_lone_edge_goes_where_its_two_moves_can_take_it() -> None:
    chance: Counter[tuple[int, int]] = Counter()
    for node in range(4):
        for last in range(4):
            if node != 1 and last != node:
                chance[node, last] += 1 / 18  # the source moves first, then the target
            if node != 0 and last != node:
                chance[last, node] += 1 / 18
    found = Counter(edge_list(RandomRewired(seed)(graph_of([(0, 1)], 4)))[0][:2] for seed in range(1500))
    assert set(found) == set(chance)
    assert chisquare([found[pair] for pair in chance], [1500 * share for share in chance.values()]).pvalue > 1e-4


def test_a_full_graph_stays_as_it_is() -> None:
    data = graph_of([(a, b) for a in range(4) for b in range(4) if a != b], 4)
    assert same(RandomRewired(0)(data), as_wiring(data))


def test_bad_fraction() -> None:
    with pytest.raises(ValueError, match=r"fraction: expected a number from 0 to 1, got -1"):
        RandomRewired(0, fraction=-1)
