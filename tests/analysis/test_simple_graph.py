from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy import stats
from torch_geometric.data import Batch

from elegans_pyg.analysis.simple_graph import SimpleGraph, divergence, entropy, pairs_by_distance
from tests.analysis.graphs import digraph, random_wiring, simple, wiring, wirings


@settings(max_examples=20, deadline=None)
@given(wirings())
def test_merged_edges_are_those_of_a_loop_over_synapses(data):
    for synapses, kinds in (("all", (0, 1)), ("chemical", (0,)), ("electrical", (1,))):
        graph, oracle = SimpleGraph.from_data(data, synapses), digraph(data, kinds)
        edges = sorted(oracle.edges)
        assert list(zip(graph.source.tolist(), graph.target.tolist(), strict=True)) == edges
        assert graph.weight.tolist() == [oracle.edges[edge]["weight"] for edge in edges]
        assert graph.out_degree.tolist() == [d for _, d in oracle.out_degree]
        assert graph.in_degree.tolist() == [d for _, d in oracle.in_degree]
        assert graph.is_mutual.tolist() == [oracle.has_edge(n, m) for m, n in edges]
        dense = nx.to_numpy_array(oracle, weight=None)
        assert np.array_equal(graph.adjacency.toarray(), dense)
        assert np.array_equal(graph.support.toarray(), np.maximum(dense, dense.T))
        assert np.array_equal(graph.matrix(True).toarray(), nx.to_numpy_array(oracle))
    loops = {m for m, n in data.edge_index.T.tolist() if m == n}
    assert simple(data).self_loops == len(loops)


@pytest.mark.parametrize(("num_nodes", "density"), [(1, 0.0), (5, 0.0), (9, 0.2), (64, 0.02), (65, 0.03), (130, 0.01)])
def test_pairs_by_distance_are_those_of_breadth_first_search(num_nodes, density):
    data = random_wiring(num_nodes, num_nodes, density)
    graph = simple(data)
    lengths = {m: dict(row) for m, row in nx.all_pairs_shortest_path_length(digraph(data))}
    found = {(int(m), int(n)): k + 1 for k, pairs in enumerate(pairs_by_distance(graph.adjacency)) for m, n in np.argwhere(pairs)}
    assert found == {(m, n): k for m, row in lengths.items() for n, k in row.items() if m != n}


def test_entropy_and_divergence_agree_with_scipy():
    rng = np.random.default_rng(0)
    p, q = rng.integers(0, 9, 20), rng.integers(1, 9, 20)
    assert entropy(p) == pytest.approx(stats.entropy(p, base=2))
    assert divergence(p, q) == pytest.approx(stats.entropy(p, q, base=2))
    assert entropy([]) == entropy([0, 0]) == entropy([0, 5]) == divergence([0, 0], [1, 2]) == divergence([2, 4], [1, 2]) == 0


def test_bad_wirings_are_refused_in_one_line():
    data = wiring(3, [(0, 1)])
    with pytest.raises(ValueError, match="synapses: expected one of all, chemical, electrical, extrasynaptic, got 'gap'"):
        SimpleGraph.from_data(data, "gap")
    with pytest.raises(TypeError, match="expected the Data of one wiring, got DataBatch"):
        SimpleGraph.from_data(Batch.from_data_list([data, data]))
    with pytest.raises(ValueError, match="expected at least one neuron, got an empty graph"):
        SimpleGraph.from_data(wiring(0, []))
    with pytest.raises(ValueError, match=r"neuron_type: expected 0..5, got 0..6"):
        SimpleGraph.from_data(wiring(2, [], [0, 6]))
    del data.edge_index
    with pytest.raises(ValueError, match="it has no edge_index"):
        SimpleGraph.from_data(data)


def test_the_wiring_is_left_as_it_was():
    data = random_wiring(0, 6, 0.5)
    before = {name: value.clone() for name, value in data.to_dict().items() if isinstance(value, torch.Tensor)}
    list(pairs_by_distance(simple(data).adjacency))
    assert all(torch.equal(data[name], value) for name, value in before.items())
