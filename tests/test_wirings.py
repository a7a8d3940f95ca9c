"""What is no wiring, and that every transform refuses it."""

from __future__ import annotations

import copy

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import from_networkx

from elegans_pyg.datasets import WiringEnsemble
from elegans_pyg.transforms import FAMILIES, ConstrainedDAG, ErdosRenyi, RandomDAG, Rewired, WeightShuffled
from elegans_pyg.wirings import INTER, MOTOR, SENSORY, roles
from tests.transforms.wirings import random_connectome

GRAPHS = [nx.karate_club_graph(), nx.gnp_random_graph(20, 0.2, seed=0, directed=True), nx.random_regular_graph(4, 20, seed=0)]

ALL = pytest.mark.parametrize("transform", [ConstrainedDAG(), RandomDAG(0), ErdosRenyi(0), Rewired(0), WeightShuffled(0)])


def changed(**attributes: object) -> Data:
    data = random_connectome(0, 6)
    for name, value in attributes.items():
        data[name] = value
    return data


@ALL
def test_wrong_types(transform: BaseTransform) -> None:
    with pytest.raises(TypeError, match="expected the Data of one wiring, got DataBatch; apply the transform to each graph"):
        transform(Batch.from_data_list([random_connectome(0, 4)]))


@ALL
def test_edges_are_all_that_a_wiring_needs(transform: BaseTransform) -> None:
    with pytest.raises(ValueError, match="has no edge_index; load one with Connectome"):
        transform(Data(num_nodes=2))
    data = transform(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2, edge_attr=torch.tensor([3.0])))
    assert data.edge_weight.tolist() == [3.0]
    assert data.edge_type.tolist() == [0]
    assert data.neuron_name == ["0", "1"]
    assert "edge_attr" not in data


def networkx_roles(graph: nx.DiGraph) -> list[int]:
    """Types by the definition, component by component."""
    found = [INTER] * len(graph)
    parts = nx.condensation(graph)
    for role, degree, lead in (
        (MOTOR, parts.out_degree, lambda n: graph.in_degree(n) - graph.out_degree(n)),
        (SENSORY, parts.in_degree, lambda n: graph.out_degree(n) - graph.in_degree(n)),
    ):
        for part in parts:
            members = parts.nodes[part]["members"]
            ends = graph.in_degree if role == MOTOR else graph.out_degree
            best = min(members, key=lambda n: (-lead(n), -ends(n), n))
            if degree(part) == 0 and ends(best) > 0:
                found[best] = role
    return found


@settings(deadline=None)
@given(st.integers(1, 12), st.floats(0, 0.5), st.integers(0, 10**6))
def test_roles_are_those_of_the_definition(nodes: int, density: float, seed: int) -> None:
    graph = nx.gnp_random_graph(nodes, density, seed=seed, directed=True)
    edges = torch.tensor(list(graph.edges), dtype=torch.long).view(-1, 2).T
    assert roles(edges, nodes).tolist() == networkx_roles(graph)
    # Self-loops do not count.
    loops = torch.arange(nodes).expand(2, -1)
    assert roles(torch.cat([edges, loops], 1), nodes).tolist() == networkx_roles(graph)


@pytest.mark.parametrize("graph", GRAPHS, ids=range(3))
def test_graphs_that_are_no_worms_go_through_every_family(graph: nx.Graph) -> None:
    data = from_networkx(graph)
    before = copy.deepcopy(data)
    for name, family in FAMILIES.items():
        wiring = data if family.rewiring is None else family.rewiring(seed=0)(data)
        for dag in (ConstrainedDAG()(wiring), RandomDAG(0)(wiring)):
            assert bool(dag.input_mask.any()), name
            assert bool(dag.output_mask.any()), name
        assert len(WiringEnsemble(data, name, 2)) == 2
    assert data.keys() == before.keys()
    assert torch.equal(data.edge_index, before.edge_index)


@ALL
def test_empty_graph(transform: BaseTransform) -> None:
    none = torch.empty(0, dtype=torch.long)
    with pytest.raises(ValueError, match="at least one neuron, got an empty graph"):
        transform(Data(edge_index=none.new_empty(2, 0), edge_weight=none.float(), edge_type=none, neuron_type=none))


@ALL
@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 0.0, -2.0])
def test_bad_weights(transform: BaseTransform, weight: float) -> None:
    data = random_connectome(0, 6)
    weights = data.edge_weight.clone()
    weights[2] = weight
    a, b = data.edge_index[:, 2].tolist()
    with pytest.raises(ValueError, match=f"finite weights above zero, got {weight} on edge {a} -> {b}; correct or remove"):
        transform(changed(edge_weight=weights))


@ALL
def test_bad_edges(transform: BaseTransform) -> None:
    data = random_connectome(0, 6)
    with pytest.raises(ValueError, match=r"data\.edge_index: expected 0\.\.5, got 1\.\.\d+; list every neuron in neuron_type"):
        transform(changed(edge_index=data.edge_index + 1))
    with pytest.raises(ValueError, match=r"expected edge_index \(2, E\) with edge_weight \(E,\)"):
        transform(changed(edge_weight=data.edge_weight[1:]))
    with pytest.raises(ValueError, match=r"data\.edge_type: expected 0\.\.2, got 3\.\.3; give 0 for chemical"):
        transform(changed(edge_type=torch.full_like(data.edge_type, 3)))
    with pytest.raises(ValueError, match=r"data\.edge_index: expected torch\.int64, got torch\.int32; convert it with \.long\(\)"):
        transform(changed(edge_index=data.edge_index.int()))
    with pytest.raises(ValueError, match=r"data\.neuron_type: expected 0\.\.5, got 6\.\.6; give positions in NEURON_TYPES"):
        transform(changed(neuron_type=torch.full_like(data.neuron_type, 6)))
    with pytest.raises(TypeError, match=r"data\.edge_weight: expected a tensor, got list; convert it with torch\.tensor"):
        transform(changed(edge_weight=data.edge_weight.tolist()))
    assert "edge_attr" not in transform(changed(edge_attr=data.edge_weight))


@ALL
@pytest.mark.parametrize(
    ("edge_index", "message"),
    [
        (torch.tensor([[0, 1], [1, 9]]), r"data\.edge_index: expected 0\.\.2, got 0\.\.9; "),
        (torch.tensor([[0, -1], [1, 2]]), r"data\.edge_index: expected 0\.\.2, got -1\.\.2; "),
        (torch.tensor([[0.0], [1.0]]), r"data\.edge_index: expected torch\.int64, got torch\.float32; convert it with \.long\(\)"),
        (torch.zeros(3, 4).long(), r"data\.edge_index: expected \(2, E\), got \(3, 4\); "),
        (torch.zeros(2).long(), r"data\.edge_index: expected \(2, E\), got \(2,\); "),
    ],
)
def test_bad_edges_of_neurons_without_types(transform: BaseTransform, edge_index: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transform(Data(edge_index=edge_index, num_nodes=3))


@ALL
@pytest.mark.parametrize("name", ["input_mask", "output_mask"])
def test_masks_that_are_none(transform: BaseTransform, name: str) -> None:
    for mask, got in ((torch.ones(6).long(), r"torch\.int64 \(6,\)"), (torch.ones(4).bool(), r"torch\.bool \(4,\)"), ([True] * 6, "list")):
        with pytest.raises(ValueError, match=rf"data\.{name}: expected torch\.bool \(6,\), got {got}; "):
            transform(changed(**{name: mask}))


@pytest.mark.parametrize("transform", [ErdosRenyi(0), Rewired(0), WeightShuffled(0)])
def test_rewirings_refuse_dags_and_ambiguous_edges(transform: BaseTransform) -> None:
    data = random_connectome(0, 6)
    with pytest.raises(ValueError, match=r"got a DAG .* rewire the connectome first"):
        transform(ConstrainedDAG()(data))
    twice = Data(
        edge_index=torch.tensor([[0, 0], [1, 1]]),
        edge_weight=torch.ones(2),
        edge_type=torch.zeros(2).long(),
        neuron_type=torch.zeros(2).long(),
    )
    with pytest.raises(ValueError, match="got several from 0 to 1; merge them"):
        transform(twice)
    with pytest.raises(ValueError, match="every electrical synapse in both directions with equal weights"):
        transform(changed(edge_type=torch.ones_like(data.edge_type)))


def test_repr_names_the_options() -> None:
    assert repr(Rewired(3, fraction=0.5)) == "Rewired(seed=3, fraction=0.5)"
