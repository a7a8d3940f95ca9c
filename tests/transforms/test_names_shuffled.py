"""NamesShuffled: the same graph, with other neurons of each type at its nodes."""

from __future__ import annotations

import networkx as nx
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from elegans_pyg.transforms import NamesShuffled
from tests.transforms.wirings import connectomes, random_connectome, redrawn, same, without_loops


def typed(data: Data) -> nx.DiGraph:
    """Types of neurons, and what joins two of them, of all kinds at once."""
    graph = nx.DiGraph()
    graph.add_nodes_from((node, {"type": kind}) for node, kind in enumerate(data.neuron_type.tolist()))
    for source, target, kind, weight in without_loops(data):
        joined = graph.get_edge_data(source, target, {"joined": ()})["joined"]
        graph.add_edge(source, target, joined=(*joined, (kind, weight)))
    return graph


@settings(max_examples=40, deadline=None)
@given(connectomes(), st.integers(0, 2**40))
def test_the_graph_and_its_types_stay(data: Data, seed: int) -> None:
    one, other = typed(data), typed(redrawn(NamesShuffled(seed), data))
    assert nx.is_isomorphic(one, other, lambda a, b: a["type"] == b["type"], lambda a, b: a["joined"] == b["joined"])


def test_neurons_change_their_places() -> None:
    data = random_connectome(0, 30, chemical=0.1)
    new = NamesShuffled(0)(data)
    before, after = ({edge[:2] for edge in without_loops(graph)} for graph in (data, new))
    assert len(before & after) < 0.5 * len(before)
    assert not same(new, NamesShuffled(1)(data))
    # Nothing to permute where every neuron has a type of its own.
    few = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), neuron_type=torch.tensor([0, 1, 2]), num_nodes=3)
    assert torch.equal(NamesShuffled(0)(few).edge_index, few.edge_index)
