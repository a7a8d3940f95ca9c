"""RandomDAG, against NetworkX."""

from __future__ import annotations

from collections import defaultdict

import networkx as nx
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from elegans_pyg.datasets import Connectome
from elegans_pyg.transforms import ConstrainedDAG, RandomDAG
from tests.transforms.wirings import applied, connectomes, digraph, edge_list, random_connectome, same


@settings(max_examples=60, deadline=None)
@given(connectomes(), st.integers(0, 2**40))
def test_every_pair_once_along_a_numbering(data: Data, seed: int) -> None:
    dag = applied(RandomDAG(seed), data)
    weights: dict[frozenset[int], float] = defaultdict(float)
    kinds: dict[frozenset[int], set[int]] = defaultdict(set)
    for s, t, kind, weight in edge_list(data):
        if s != t and (kind == 0 or s < t):
            weights[frozenset((s, t))] += weight
            kinds[frozenset((s, t))].add(kind)
    edges = edge_list(dag)
    assert {frozenset((s, t)): weight for s, t, _, weight in edges} == weights
    assert {frozenset((s, t)): {kind} for s, t, kind, _ in edges} == {pair: {min(of)} for pair, of in kinds.items()}
    assert len(edges) == len(weights)
    graph = digraph(dag)
    assert nx.is_directed_acyclic_graph(graph)
    for level, nodes in enumerate(nx.topological_generations(graph)):
        assert all(dag.level[n] == level for n in nodes)
    assert dag.input_mask.tolist() == [graph.in_degree(n) == 0 for n in range(data.num_nodes)]
    assert dag.output_mask.tolist() == [graph.out_degree(n) == 0 for n in range(data.num_nodes)]


def test_an_electrical_synapse_counts_once_however_it_is_stored() -> None:
    there, back = torch.tensor([[0], [1]]), torch.tensor([[1], [0]])
    for edges, weights in ((there, [5]), (torch.cat([there, back], 1), [5, 5])):
        for weight in (torch.tensor(weights), torch.tensor(weights).float()):
            data = Data(edge_index=edges, edge_weight=weight, edge_type=torch.ones(len(weights)).long(), num_nodes=2)
            assert RandomDAG(0)(data).edge_weight.tolist() == [5]


def test_seed_decides() -> None:
    data = random_connectome(0, 30)
    assert same(RandomDAG(5)(data), RandomDAG(5)(data))
    assert not same(RandomDAG(5)(data), RandomDAG(6)(data))


def test_both_directions_are_equally_likely() -> None:
    data = random_connectome(0, 2, chemical=1.0, loops=0.0)
    forward = sum(int(RandomDAG(seed)(data).edge_index[0, 0]) == 0 for seed in range(400))
    assert 150 < forward < 250  # 5 standard deviations


def test_leaves_no_trace_of_another_dag() -> None:
    dag = RandomDAG(0)(ConstrainedDAG()(random_connectome(0, 8)))
    assert "sensory_distance" not in dag
    assert isinstance(dag.level, torch.Tensor)


def test_hermaphrodite() -> None:
    data = Connectome("cook2019-hermaphrodite")[0]
    dag = RandomDAG(0)(data)
    assert dag.num_edges == nx.Graph(digraph(data)).number_of_edges() - 37 == 2897  # less the self-loops
    assert float(dag.edge_weight.sum()) == float(data.edge_weight[data.edge_index[0] != data.edge_index[1]].sum())
