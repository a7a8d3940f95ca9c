"""Signs of synapses against the predictions as published, and what becomes of edge attributes."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.utils import degree

from elegans_pyg.datasets import Connectome, WiringEnsemble, edge_sign
from elegans_pyg.dynamics import Worm
from elegans_pyg.transforms import FAMILIES, ConstrainedDAG, RandomDAG
from elegans_pyg.wirings import EXTRASYNAPTIC, as_wiring

SIGN = {"+": 1, "-": -1, "complex": 0, "no pred": 0}
LAYERS = ("bentley2016-monoamine", "bentley2016-neuropeptide")


@pytest.fixture(scope="module")
def published() -> list[dict[str, str]]:
    with (Path(__file__).parent / "fenyves2020-predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def graph_of(pairs: list[tuple[str, str]]) -> Data:
    names = sorted({name for pair in pairs for name in pair})
    edges = torch.tensor([[names.index(name) for name in pair] for pair in pairs]).T
    return Data(edge_index=edges, num_nodes=len(names), neuron_name=names)


def by_name(data: Data) -> dict[tuple[str, str], int]:
    pairs = data.edge_index.T.tolist()
    return {(data.neuron_name[m], data.neuron_name[n]): sign for (m, n), sign in zip(pairs, data.edge_sign.tolist(), strict=True)}


def test_the_rule_gives_every_published_prediction(published):
    # The numbers of the abstract and of the authors' summary sheet.
    synapses = Counter()
    for row in published:
        synapses[row["prediction"]] += int(row["weight"])
    assert len(published) == 3638
    assert synapses == {"+": 9070, "-": 2580, "complex": 3413, "no pred": 5526}
    assert synapses.total() == 20589
    signs = edge_sign(graph_of([(row["pre"], row["post"]) for row in published]))
    assert signs.dtype == torch.int64
    assert signs.tolist() == [SIGN[row["prediction"]] for row in published]


def test_connectomes_carry_the_signs(published):
    data = Connectome("cook2019-hermaphrodite", synapses="both", pharynx=True, edge_attributes=True)[0]
    chemical = data.edge_type == 0
    assert bool((data.edge_sign[~chemical] == 0).all())
    assert [int((data.edge_sign == sign).sum()) for sign in (1, -1)] == [1360, 440]
    signs = by_name(Connectome("cook2019-hermaphrodite", pharynx=True, edge_attributes=True)[0])
    listed = {(row["pre"], row["post"]): SIGN[row["prediction"]] for row in published}
    both = signs.keys() & listed.keys()
    assert len(both) == 3516
    assert all(signs[pair] == listed[pair] for pair in both)
    # Male neurons are not in the paper's tables.
    male = Connectome("cook2019-male", edge_attributes=True)[0]
    specific = (male.neuron_type == 4)[male.edge_index].any(0)
    assert bool((male.edge_sign[specific] == 0).all())
    assert bool((male.edge_sign != 0).any())


def test_known_synapses():
    # AWC inhibits AIY and excites AIB by glutamate (Chalasani et al. 2007, doi:10.1038/nature06292); RIS inhibits AVE by GABA.
    pairs = [("AWCL", "AIYL"), ("AWCL", "AIBL"), ("RIS", "AVEL"), ("nobody", "AIYL")]
    assert edge_sign(graph_of(pairs)).tolist() == [-1, 1, -1, 0]


def test_signs_survive_where_edges_do():
    data = Connectome("witvliet2021-1", edge_attributes=True)[0]
    signs = by_name(data)
    for kept in (data.subgraph(torch.arange(0, data.num_nodes, 2)), data.edge_subgraph(data.edge_weight > 2)):
        assert 0 < kept.num_edges < data.num_edges
        assert by_name(kept).items() <= signs.items()
    batch = Batch.from_data_list([data, data])
    assert torch.equal(batch.edge_sign, data.edge_sign.repeat(2))


@pytest.mark.parametrize("name", ["witvliet2021-1", *LAYERS])
def test_a_connectome_and_its_nulls_make_a_batch_in_any_order(name):
    base = Connectome(name)[0]
    null = FAMILIES["rewired"].rewiring(seed=0)(base)
    for pair in ([base, null], [null, base]):
        batch = Batch.from_data_list(pair)
        assert set(batch.keys()) - {"batch", "ptr"} == set(base.keys())


def test_signs_are_left_out_where_edges_are_made_and_found_again():
    data = Connectome("witvliet2021-1", edge_attributes=True)[0]
    signs = by_name(data)
    assert "edge_sign" not in as_wiring(data)
    dag = ConstrainedDAG()(data)
    assert "edge_sign" not in dag
    dag.edge_sign = edge_sign(dag)
    assert by_name(dag).items() <= signs.items()
    assert "edge_sign" in data
    assert "edge_sign" not in WiringEnsemble(data, family="rewired", count=1, seed=0)[0]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.rewiring])
def test_every_family_redraws_a_layer(name, family):
    layer = Connectome(name, edge_attributes=True)[0]
    null = FAMILIES[family].rewiring(seed=0)(layer)
    assert bool((null.edge_type == EXTRASYNAPTIC).all())
    assert null.num_edges == layer.num_edges
    changed = ("edge_index", "edge_weight")[family == "weight_shuffled"]
    assert not torch.equal(null[changed], layer[changed])
    assert "edge_signal" not in null
    if family in ("rewired", "type_rewired"):
        for end in (0, 1):
            assert torch.equal(degree(null.edge_index[end], layer.num_nodes), degree(layer.edge_index[end], layer.num_nodes))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_becomes_a_dag(name):
    layer = Connectome(name, edge_attributes=True)[0]
    dag = ConstrainedDAG()(layer)
    assert 0 < dag.num_edges < layer.num_edges
    assert bool((dag.edge_type == EXTRASYNAPTIC).all())
    # Both directions of a pair become one edge.
    pairs = {tuple(sorted(pair)) for pair in layer.edge_index.T.tolist() if pair[0] != pair[1]}
    assert RandomDAG(0)(layer).num_edges == len(pairs)


def test_an_edge_merged_of_several_kinds():
    for kinds, merged in (([0, 1, 2], 0), ([1, 2], 2), ([1], 1), ([0, 1], 0), ([0, 2], 0)):
        types = torch.tensor(kinds)
        edges = torch.tensor([[0], [1]]).repeat(1, len(kinds))
        graph = Data(edge_index=edges, edge_type=types, num_nodes=2, neuron_type=torch.tensor([0, 2]))
        assert ConstrainedDAG()(graph).edge_type.tolist() == [merged]


def test_layers_may_have_both_directions_of_a_pair():
    """Only where every edge is mirrored with its weight can it be what PyG's ToUndirected leaves."""
    pairs = torch.tensor([[0, 1, 1], [1, 0, 2]])
    for edges, kinds, weights in ((2, [2, 2], [1.0, 3.0]), (3, [2, 2, 2], [1.0, 1.0, 1.0]), (3, [2, 2, 0], [1.0, 1.0, 2.0])):
        layer = Data(edge_index=pairs[:, :edges], edge_type=torch.tensor(kinds), edge_weight=torch.tensor(weights), num_nodes=3)
        assert torch.equal(as_wiring(layer).edge_type, layer.edge_type)
    layer = Data(edge_index=pairs[:, :2], edge_type=torch.tensor([2, 2]), edge_weight=torch.ones(2), num_nodes=2)
    with pytest.raises(ValueError, match="in both directions with equal weights, as ToUndirected makes them of electrical ones"):
        as_wiring(layer)


def test_the_simulator_refuses_a_layer():
    with pytest.raises(ValueError, match=r"data\.edge_type: expected chemical and electrical synapses, got extrasynaptic ones"):
        Worm.from_connectome(Connectome("bentley2016-monoamine")[0])
    assert "edge_sign" not in Worm("kunert").data
