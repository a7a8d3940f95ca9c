from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans_pyg.analysis import path_lengths, small_world
from elegans_pyg.analysis.small_world import path_measures, triangle_measures
from tests.analysis.graphs import digraph, random_wiring, simple, wiring, wirings


def mean_length(graph: nx.Graph) -> float:
    lengths = [k for row in dict(nx.all_pairs_shortest_path_length(graph)).values() for k in row.values() if k]
    return float(np.mean(lengths)) if lengths else 0.0


@settings(max_examples=25, deadline=None)
@given(wirings(max_nodes=10))
def test_measures_agree_with_networkx(data):
    graph = digraph(data)
    values = {**triangle_measures(simple(data)), **path_measures(simple(data))}
    support = graph.to_undirected()
    assert values["clustering"] == pytest.approx(nx.average_clustering(support))
    assert values["clustering_directed"] == pytest.approx(nx.average_clustering(graph))
    assert values["transitivity"] == pytest.approx(nx.transitivity(support))
    assert values["path_length"] == pytest.approx(mean_length(graph))
    lengths = [k for row in dict(nx.all_pairs_shortest_path_length(graph)).values() for k in row.values() if k]
    pairs = max(len(graph) * (len(graph) - 1), 1)
    assert values["efficiency"] == pytest.approx(sum(1 / k for k in lengths) / pairs)
    assert values["reachable_share"] == pytest.approx(len(lengths) / pairs)
    assert values["diameter"] == max(lengths, default=0)
    assert values["components"] == nx.number_weakly_connected_components(graph)
    assert values["largest_strong_share"] == pytest.approx(max(map(len, nx.strongly_connected_components(graph))) / len(graph))
    table = path_lengths(data)
    assert dict(zip(table["length"], table["pairs"], strict=True)) == {k: lengths.count(k) for k in set(lengths)}
    assert table["share"].sum() == pytest.approx(values["reachable_share"])


def test_small_world_of_a_ring_lattice_and_of_a_random_graph():
    """What the papers say of the two ends: a lattice has omega near -1, a random graph sigma near 1 and omega near 1."""
    ring = wiring(100, [(n, (n + step) % 100) for n in range(100) for step in (1, 2, 3)])
    values = small_world(ring)
    assert values["clustering"] == values["lattice_clustering"] == pytest.approx(nx.average_clustering(nx.circulant_graph(100, [1, 2, 3])))
    assert values["path_length"] == pytest.approx(mean_length(nx.circulant_graph(100, [1, 2, 3])))
    assert values["omega"] == pytest.approx(values["random_path_length"] / values["path_length"] - 1)
    assert values["omega"] < -0.5
    assert values["sigma"] > 3
    drawn = wiring(100, list(nx.gnm_random_graph(100, 300, seed=1).edges))
    values = small_world(drawn, nulls=20)
    assert values["sigma"] == pytest.approx(1, abs=0.3)
    assert values["omega"] > 0.8
    assert values["random_path_length"] == pytest.approx(mean_length(nx.gnm_random_graph(100, 300, seed=2)), rel=0.03)
    assert small_world(drawn, seed=1) == small_world(drawn, seed=1) != small_world(drawn, seed=2)


@settings(max_examples=20, deadline=None)
@given(wirings(max_nodes=9))
def test_coefficients_follow_from_their_parts(data):
    values = small_world(data, nulls=2)
    support = digraph(data).to_undirected()
    assert values["clustering"] == pytest.approx(nx.average_clustering(support))
    assert values["path_length"] == pytest.approx(mean_length(support))
    if values["random_clustering"] and values["path_length"]:
        ratio = values["clustering"] / values["random_clustering"] * values["random_path_length"] / values["path_length"]
        assert values["sigma"] == pytest.approx(ratio)
    else:
        assert values["sigma"] == 0
    assert not any(np.isnan(list(values.values())))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.data())
def test_nulls_have_the_edges_asked_for(number, draw):
    from elegans_pyg.analysis.small_world import _random_pairs, _ring_pairs

    edges = draw.draw(st.integers(0, number * (number - 1) // 2))
    for pairs in (_random_pairs(number, edges, np.random.default_rng(0)), _ring_pairs(number, edges)):
        unordered = {frozenset(pair) for pair in pairs.T.tolist()}
        assert pairs.shape == (2, edges)
        assert len(unordered) == edges
        assert all(len(pair) == 2 and pair <= set(range(number)) for pair in unordered)
    distance = [min((i - j) % number, (j - i) % number) for i, j in _ring_pairs(number, edges).T.tolist()]
    unused = [min(j - i, number - j + i) for i, j in combinations(range(number), 2) if frozenset((i, j)) not in unordered]
    assert max(distance, default=0) <= min(unused, default=number)


def test_random_pairs_are_equally_likely():
    from elegans_pyg.analysis.small_world import _random_pairs

    rng = np.random.default_rng(0)
    drawn = [tuple(sorted(pair)) for _ in range(3000) for pair in _random_pairs(5, 3, rng).T.tolist()]
    counts = [drawn.count(pair) for pair in combinations(range(5), 2)]
    assert sum(counts) == 9000
    assert sum((count - 900) ** 2 / 900 for count in counts) < 27.9  # chi-squared, 9 degrees of freedom, p = 0.001


def test_bad_numbers_are_refused():
    data = random_wiring(0, 4, 0.5)
    with pytest.raises(ValueError, match="nulls: expected 1 or more, got 0"):
        small_world(data, nulls=0)
    with pytest.raises(ValueError, match="seed: expected 0 or more, got -1"):
        small_world(data, seed=-1)
