from __future__ import annotations

import random
import sys

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings

from elegans_pyg.analysis import communities, measures
from tests.analysis.graphs import digraph, random_wiring, wiring, wirings

pytest.importorskip("igraph", reason="igraph is not installed (extra `structure`)")


@settings(max_examples=20, deadline=None)
@given(wirings(max_nodes=12))
def test_modularity_agrees_with_networkx(data):
    membership, modularity = communities(data)
    support = nx.Graph()
    support.add_nodes_from(range(len(membership)))
    for m, n, weight in digraph(data).edges(data="weight"):
        before = support.edges[m, n]["weight"] if support.has_edge(m, n) else 0
        support.add_edge(m, n, weight=before + weight)
    parts = [set(np.flatnonzero(membership == number).tolist()) for number in range(membership.max() + 1)]
    assert modularity == pytest.approx(nx.community.modularity(support, parts) if support.number_of_edges() else 0)
    # No worse than all neurons in one community, whose modularity is 0.
    assert modularity >= -1e-12


def test_two_cliques_are_told_apart():
    edges = [(m, n) for half in (range(5), range(5, 10)) for m in half for n in half if m != n] + [(4, 5)]
    membership, modularity = communities(wiring(10, edges))
    assert len(set(membership[:5])) == len(set(membership[5:])) == 1
    assert membership[0] != membership[9]
    row = measures(wiring(10, edges), ["communities"]).iloc[0]
    assert row["community_count"] == 2
    assert row["modularity"] == modularity > 0.4


def test_random_state_is_neither_read_nor_set():
    data = random_wiring(0, 40, 0.1)
    random.seed(7)
    before = random.getstate()
    first = communities(data, seed=3)
    assert random.getstate() == before
    random.seed(8)
    second = communities(data, seed=3)
    assert np.array_equal(first[0], second[0])
    assert first[1] == second[1]


def test_without_igraph_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(
        ImportError, match=r"finding communities needs 'igraph', which is not installed; run: pip install 'elegans-pyg\[structure\]'"
    ):
        communities(wiring(2, [(0, 1)]))
