"""Distances and levels, against NetworkX."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elegans_pyg.transforms.levels import distance_from, longest_path_levels


@st.composite
def graphs(draw: st.DrawFn, acyclic: bool) -> tuple[Tensor, int]:
    num_nodes = draw(st.integers(1, 12))
    pairs = draw(st.lists(st.tuples(st.integers(0, num_nodes - 1), st.integers(0, num_nodes - 1)), max_size=30))
    if acyclic:
        number = draw(st.permutations(range(num_nodes)))
        pairs = [pair if number[pair[0]] < number[pair[1]] else pair[::-1] for pair in pairs if pair[0] != pair[1]]
    return torch.tensor(pairs, dtype=torch.long).view(-1, 2).T.contiguous(), num_nodes


def as_networkx(edge_index: Tensor, num_nodes: int) -> nx.DiGraph:
    graph = nx.DiGraph(edge_index.T.tolist())
    graph.add_nodes_from(range(num_nodes))
    return graph


def sources(edge_index: Tensor, num_nodes: int) -> Tensor:
    return torch.bincount(edge_index[1], minlength=num_nodes) == 0


@settings(max_examples=50, deadline=None)
@given(graphs(acyclic=True))
def test_levels_from_all_sources_are_networkx_generations(graph: tuple[Tensor, int]) -> None:
    found = longest_path_levels(graph[0], sources(*graph)).tolist()
    for number, nodes in enumerate(nx.topological_generations(as_networkx(*graph))):
        assert all(found[node] == number for node in nodes)


@settings(max_examples=50, deadline=None)
@given(graphs(acyclic=False))
def test_cycles_are_refused_where_networkx_finds_one(graph: tuple[Tensor, int]) -> None:
    if nx.is_directed_acyclic_graph(as_networkx(*graph)):
        longest_path_levels(graph[0], sources(*graph))
    else:
        with pytest.raises(ValueError, match="expected a graph without cycles"):
            longest_path_levels(graph[0], sources(*graph))


@settings(max_examples=50, deadline=None)
@given(graphs(acyclic=False), st.data())
def test_distance_is_the_shortest_path(graph: tuple[Tensor, int], data: st.DataObject) -> None:
    edge_index, num_nodes = graph
    start = torch.tensor(data.draw(st.lists(st.booleans(), min_size=num_nodes, max_size=num_nodes)))
    starts = set(start.nonzero().view(-1).tolist())
    expected = nx.multi_source_dijkstra_path_length(as_networkx(*graph), starts) if starts else {}
    assert distance_from(edge_index, start).tolist() == [expected.get(node, -1) for node in range(num_nodes)]


@settings(max_examples=50, deadline=None)
@given(graphs(acyclic=True), st.data())
def test_levels_are_longest_paths_from_inputs(graph: tuple[Tensor, int], data: st.DataObject) -> None:
    edge_index, num_nodes = graph
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=num_nodes, max_size=num_nodes)))
    whole = as_networkx(*graph)
    expected = []
    for node in range(num_nodes):
        lengths = [
            len(path) - 1 for start in mask.nonzero().view(-1).tolist() for path in nx.all_simple_paths(whole, start, node) if start != node
        ]
        expected.append(max(lengths, default=0 if mask[node] else -1))
    assert longest_path_levels(edge_index, mask).tolist() == expected


def test_the_longest_path_counts_whichever_comes_last() -> None:
    # 0 -> 1 -> 3, and 4 -> 5 -> 2 -> 3, of which only 0 and 2 are inputs: 2 comes after 1, and its path is the shorter one.
    edge_index = torch.tensor([[0, 1, 4, 5, 2], [1, 3, 5, 2, 3]])
    inputs = torch.tensor([True, False, True, False, False, False])
    assert longest_path_levels(edge_index, inputs).tolist() == [0, 1, 0, 2, -1, -1]


def test_a_cycle_out_of_reach_is_still_refused() -> None:
    edge_index = torch.tensor([[0, 2, 3], [1, 3, 2]])
    with pytest.raises(ValueError, match="got one with 2 nodes on or behind a cycle"):
        longest_path_levels(edge_index, torch.tensor([True, False, False, False]))


def test_long_chain() -> None:
    rng = np.random.default_rng(0)
    order = torch.from_numpy(rng.permutation(2000))
    edge_index = torch.stack([order[:-1], order[1:]])
    assert torch.equal(longest_path_levels(edge_index, sources(edge_index, 2000))[order], torch.arange(2000))
