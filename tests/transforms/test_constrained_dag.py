"""ConstrainedDAG, against the paper's four steps taken literally with NetworkX, and on the real connectomes."""

from __future__ import annotations

import math
from collections import defaultdict

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch_geometric.data import Data

from elegans_pyg.datasets import Connectome
from elegans_pyg.transforms import ConstrainedDAG, RandomDAG
from elegans_pyg.wirings import SENSORY
from tests.transforms.wirings import applied, connectomes, digraph, edge_list, same


def four_steps(data: Data) -> tuple[set[tuple[int, int]], list[float]]:
    """Park & Kim's procedure, an edge at a time with a search of the whole graph for a cycle."""
    sensory = {n for n, kind in enumerate(data.neuron_type.tolist()) if kind == SENSORY}
    distance, layer, unused = {n: 0 for n in sensory}, set(sensory), set(range(data.num_nodes)) - sensory
    step = 0
    while layer:
        step += 1
        layer = {t for s, t, _, _ in edge_list(data) if s in layer and t in unused}
        unused -= layer
        distance.update(dict.fromkeys(layer, step))
    far = [distance.get(n, math.inf) for n in range(data.num_nodes)]
    weights: dict[tuple[int, int], float] = defaultdict(float)
    for s, t, _, weight in edge_list(data):
        weights[s, t] += weight
    dag = nx.DiGraph()
    dag.add_nodes_from(range(data.num_nodes))
    for (s, t), _ in sorted(weights.items(), key=lambda item: (-item[1], item[0])):
        if (s in sensory and t in sensory) or far[s] > far[t]:
            continue
        dag.add_edge(s, t)
        if not nx.is_directed_acyclic_graph(dag):
            dag.remove_edge(s, t)
    return set(dag.edges), far


@settings(max_examples=60, deadline=None)
@given(connectomes(max_nodes=12))
def test_matches_the_four_steps(data: Data) -> None:
    dag = applied(ConstrainedDAG(), data)
    expected, far = four_steps(data)
    assert [(s, t) for s, t, _, _ in edge_list(dag)] == sorted(expected)
    assert dag.sensory_distance.tolist() == [-1 if math.isinf(d) else d for d in far]


@settings(max_examples=40, deadline=None)
@given(connectomes(max_nodes=12))
def test_is_a_dag_with_the_sensory_neurons_as_input(data: Data) -> None:
    dag = ConstrainedDAG()(data)
    graph = digraph(dag)
    assert nx.is_directed_acyclic_graph(graph)
    assert torch.equal(dag.input_mask, data.neuron_type == SENSORY)
    inputs = dag.input_mask.nonzero().view(-1).tolist()
    reached = set(inputs).union(*(nx.descendants(graph, n) for n in inputs))
    assert set((dag.level >= 0).nonzero().view(-1).tolist()) == reached
    assert all(graph.in_degree(n) == 0 for n in inputs)
    assert dag.output_mask.tolist() == [n in reached and graph.out_degree(n) == 0 for n in range(data.num_nodes)]
    assert all(dag.level[t] > dag.level[s] for s, t in graph.edges if s in reached)
    for n in reached - set(inputs):
        assert dag.level[n] == 1 + max(int(dag.level[m]) for m in graph.predecessors(n) if m in reached)
    for name in ("x", "neuron_type", "inhibitory"):
        assert torch.equal(dag[name], data[name])
    assert dag.neuron_name == data.neuron_name
    assert same(ConstrainedDAG()(dag), dag)


def small(edges: list[tuple[int, int, int, float]], types: list[int]) -> Data:
    columns = list(zip(*edges, strict=True)) or [(), (), (), ()]
    return Data(
        edge_index=torch.tensor([columns[0], columns[1]], dtype=torch.long),
        edge_type=torch.tensor(columns[2], dtype=torch.long),
        edge_weight=torch.tensor(columns[3], dtype=torch.float),
        neuron_type=torch.tensor(types),
    )


def test_ties_go_by_source_then_target() -> None:
    data = small([(0, 1, 0, 1), (0, 2, 0, 1), (0, 3, 0, 1), (3, 1, 0, 2), (2, 3, 0, 2), (1, 2, 0, 2)], [0, 2, 2, 2])
    assert [(s, t) for s, t, _, _ in edge_list(ConstrainedDAG()(data))] == [(0, 1), (0, 2), (0, 3), (1, 2), (2, 3)]


def test_parallel_synapses_are_added_before_sorting() -> None:
    # 2 -> 1 alone (3) outweighs either 1 -> 2 (2 chemical, 2 electrical), but not their sum.
    data = small([(0, 1, 0, 1), (0, 2, 0, 1), (1, 2, 0, 2), (1, 2, 1, 2), (2, 1, 0, 1), (2, 1, 1, 2)], [0, 1, 1])
    assert edge_list(ConstrainedDAG()(data)) == [(0, 1, 0, 1.0), (0, 2, 0, 1.0), (1, 2, 0, 4.0)]
    electrical = small([(0, 1, 1, 5), (1, 0, 1, 5)], [0, 1])
    assert edge_list(ConstrainedDAG()(electrical)) == [(0, 1, 1, 5.0)]


def test_a_signal_beside_a_gap_junction_makes_an_extrasynaptic_edge() -> None:
    data = small([(0, 1, 1, 5), (0, 1, 2, 1), (1, 0, 1, 5), (0, 2, 0, 1), (0, 2, 2, 1)], [0, 1, 1])
    assert edge_list(ConstrainedDAG()(data)) == [(0, 1, 2, 6.0), (0, 2, 0, 2.0)]


def test_neurons_out_of_reach_stay_without_a_level() -> None:
    data = small([(0, 1, 0, 1), (2, 3, 0, 2), (3, 2, 0, 1), (2, 1, 0, 9), (0, 0, 0, 9)], [0, 1, 1, 1])
    dag = ConstrainedDAG()(data)
    assert [(s, t) for s, t, _, _ in edge_list(dag)] == [(0, 1), (2, 3)]
    assert dag.level.tolist() == [0, 1, -1, -1]
    assert dag.sensory_distance.tolist() == [0, 1, -1, -1]
    assert dag.output_mask.tolist() == [False, True, False, False]


def test_without_edges_every_input_is_an_output() -> None:
    dag = ConstrainedDAG()(small([], [0, 1]))
    assert (dag.level.tolist(), dag.input_mask.tolist(), dag.output_mask.tolist()) == ([0, -1], [True, False], [True, False])


def test_sources_are_the_input_where_no_neuron_is_sensory() -> None:
    dag = ConstrainedDAG()(small([(0, 1, 0, 1)], [1, 2]))
    assert dag.input_mask.tolist() == [True, False]
    assert dag.neuron_type.tolist() == [1, 2]


def test_the_wirings_own_choice_of_outputs_is_kept() -> None:
    wiring = small([(0, 1, 0, 1), (1, 2, 0, 1)], [0, 1, 2])
    wiring.output_mask = torch.tensor([False, True, False])
    dag = ConstrainedDAG()(wiring)
    assert dag.output_mask.tolist() == [False, True, False]
    # A DAG's are its own, and not its choice.
    again = RandomDAG(0)(dag)
    assert torch.equal(again.output_mask, torch.bincount(again.edge_index[0], minlength=3) == 0)


# nodes, edges, levels, input, output and unreached nodes of the DAG; the edges that Park & Kim give
REAL = {
    "cook2019-hermaphrodite": (282, 2263, 68, 83, 24, 0, 2260),
    "cook2019-male": (360, 2506, 91, 81, 32, 5, 2494),
    "cook2019-male-uncorrected": (359, 2498, 91, 81, 31, 5, 2494),
    "varshney2011-hermaphrodite": (279, 1555, 50, 83, 46, 2, None),
}


@pytest.mark.parametrize("name", REAL)
def test_counts_on_real_connectomes(name: str) -> None:
    data = Connectome(name)[0]
    dag = ConstrainedDAG()(data)
    inputs, outputs, unreached = int(dag.input_mask.sum()), int(dag.output_mask.sum()), int((dag.level < 0).sum())
    *expected, published = REAL[name]
    assert [dag.num_nodes, dag.num_edges, int(dag.level.max()) + 1, inputs, outputs, unreached] == expected
    if published:
        assert abs(dag.num_edges - published) < 0.01 * published


def test_four_steps_on_the_hermaphrodite() -> None:
    data = Connectome("cook2019-hermaphrodite", synapses="both")[0]
    assert [edge[:2] for edge in edge_list(ConstrainedDAG()(data))] == sorted(four_steps(data)[0])


def test_the_published_count_is_within_reach_of_the_order_of_ties() -> None:
    data = Connectome("cook2019-hermaphrodite")[0]
    counts = []
    for seed in range(10):
        number = torch.from_numpy(np.random.default_rng(seed).permutation(282))
        neuron_type = torch.empty_like(data.neuron_type)
        neuron_type[number] = data.neuron_type
        renumbered = Data(
            edge_index=number[data.edge_index], edge_weight=data.edge_weight, edge_type=data.edge_type, neuron_type=neuron_type
        )
        counts.append(ConstrainedDAG()(renumbered).num_edges)
    assert min(counts) < 2260 < max(counts)
    assert all(abs(count - 2260) < 0.01 * 2260 for count in counts)


def test_neurons_without_a_path_from_a_sensory_one() -> None:
    dag = ConstrainedDAG()(Connectome("cook2019-male")[0])
    assert [dag.neuron_name[n] for n in (dag.level < 0).nonzero().view(-1)] == ["AINL", "ALA", "CANL", "CANR", "CEMDR"]
