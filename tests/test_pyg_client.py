"""The library as a user of PyTorch Geometric meets it: nothing here knows more than PyG's own documentation says."""

from __future__ import annotations

import copy
import io

import networkx as nx
import numpy as np
import pytest
import torch
import torch_geometric.transforms as T
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Batch, Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage
from torch_geometric.loader import DataLoader, NeighborLoader
from torch_geometric.nn import DirGNNConv, GATConv, SAGEConv, global_mean_pool
from torch_geometric.nn.models import GAT, GCN, GIN
from torch_geometric.utils import from_networkx, from_scipy_sparse_matrix, to_dense_adj, to_networkx, to_scipy_sparse_matrix

from elegans_pyg.datasets import Connectome, WiringEnsemble
from elegans_pyg.models import ConnectomeClassifier
from elegans_pyg.transforms import FAMILIES, ConstrainedDAG, ErdosRenyi, RandomDAG, Rewired


@pytest.fixture(scope="module")
def herm() -> Data:
    return Connectome("witvliet2021-1")[0]


@pytest.fixture(scope="module")
def nulls(herm: Data) -> WiringEnsemble:
    return WiringEnsemble(herm, "er", 4)


def names_of_edges(data: Data) -> set[tuple[str, str, int, float]]:
    ends = data.edge_index.T.tolist()
    rows = zip(ends, data.edge_type.tolist(), data.edge_weight.tolist(), strict=True)
    return {(data.neuron_name[s], data.neuron_name[t], kind, weight) for (s, t), kind, weight in rows}


@pytest.mark.parametrize("reverse", [False, True])
def test_graphs_batch_in_any_order_and_lose_nothing(herm: Data, nulls: WiringEnsemble, reverse: bool) -> None:
    dag = ConstrainedDAG()(herm)
    graphs = [*nulls, dag] if reverse else [dag, *nulls]
    batch = Batch.from_data_list(graphs)
    assert batch.family == [graph.family for graph in graphs]
    assert batch.wiring_seed.tolist() == [graph.wiring_seed for graph in graphs]
    for back, graph in zip(batch.to_data_list(), graphs, strict=True):
        assert set(back.keys()) == set(graph.keys())
        assert torch.equal(back.edge_index, graph.edge_index)
        assert back.neuron_name == graph.neuron_name
    logits = ConnectomeClassifier(batch, 1, 3, channels=2)(torch.rand(2, 1, 8, 8))
    assert logits.shape == (5, 2, 3)


def test_every_transform_says_what_its_graph_is(herm: Data) -> None:
    assert (herm.family, herm.wiring_seed) == ("connectome", 0)
    for name, family in FAMILIES.items():
        if family.rewiring is not None:
            graph = ConstrainedDAG()(family.rewiring(seed=3)(herm))
            assert (graph.family, graph.wiring_seed) == (name, 3)
    assert RandomDAG(5)(herm).wiring_seed == 5


def test_data_sets_have_labels(herm: Data, nulls: WiringEnsemble) -> None:
    data = Connectome("witvliet2021-1")
    assert data.num_classes == 6
    assert torch.equal(data[0].y, data[0].neuron_type)
    assert nulls.num_classes == len(FAMILIES)
    assert all(list(FAMILIES)[graph.y] == "er" for graph in nulls)
    assert data.num_node_features == 6


def test_transforms_and_filters_of_a_data_set(herm: Data) -> None:
    few = WiringEnsemble(
        herm, "er", 3, pre_filter=lambda graph: graph.num_edges > 10, pre_transform=T.Constant(), transform=T.NormalizeFeatures()
    )
    assert few[0].x.size(1) == 7
    with pytest.raises(ValueError, match="pre_filter: expected at least one graph"):
        WiringEnsemble(herm, "er", 2, pre_filter=lambda graph: False)
    assert "rank" in Connectome("witvliet2021-1", transform=lambda data: data.update({"rank": torch.arange(data.num_nodes)}))[0]


@pytest.mark.slow
def test_data_loader_with_spawned_workers(nulls: WiringEnsemble) -> None:
    batches = list(DataLoader(nulls, batch_size=2, num_workers=2, multiprocessing_context="spawn"))
    assert [batch.num_graphs for batch in batches] == [2, 2]
    assert torch.equal(batches[1][1].edge_index, nulls[3].edge_index)


def test_neighbor_loader(herm: Data) -> None:
    try:
        batch = next(iter(NeighborLoader(herm, [5, 5], batch_size=8)))
    except ImportError:
        pytest.skip("PyG's NeighborLoader needs pyg-lib or torch-sparse, and neither is installed")
    assert batch.batch_size == 8


def test_slices_copies_and_pickles(nulls: WiringEnsemble) -> None:
    assert [graph.wiring_seed for graph in nulls[1:3]] == [nulls[1].wiring_seed, nulls[2].wiring_seed]
    assert len(nulls[torch.tensor([True, False, True, False])]) == 2
    assert len(nulls.shuffle()) == 4
    again = copy.deepcopy(nulls)
    assert torch.equal(again[2].edge_index, nulls[2].edge_index)


def test_saved_graphs_load_with_weights_only(herm: Data) -> None:
    buffer = io.BytesIO()
    torch.save(herm, buffer)
    buffer.seek(0)
    # PyG's own classes; the library adds none.
    with torch.serialization.safe_globals([Data, DataEdgeAttr, DataTensorAttr, GlobalStorage]):
        back = torch.load(buffer, weights_only=True)
    assert names_of_edges(back) == names_of_edges(herm)


def test_other_libraries_and_back(herm: Data) -> None:
    graph = to_networkx(herm, node_attrs=["neuron_name", "neuron_type"], edge_attrs=["edge_weight", "edge_type"])
    assert isinstance(graph, nx.DiGraph)
    back = from_networkx(graph)
    assert torch.equal(back.edge_index, herm.edge_index)
    assert back.neuron_name == herm.neuron_name
    matrix = to_scipy_sparse_matrix(herm.edge_index, herm.edge_weight, herm.num_nodes)
    assert np.array_equal(matrix.toarray(), to_dense_adj(herm.edge_index, edge_attr=herm.edge_weight, max_num_nodes=herm.num_nodes)[0])
    edge_index, weight = from_scipy_sparse_matrix(matrix)
    own = ConstrainedDAG()(Data(edge_index=edge_index, edge_weight=weight.float(), num_nodes=herm.num_nodes, neuron_type=herm.neuron_type))
    assert torch.equal(own.edge_index, ConstrainedDAG()(herm).edge_index)


@pytest.mark.parametrize(
    "transform", [T.ToUndirected(), T.LargestConnectedComponents(), T.AddRandomWalkPE(4), T.AddLaplacianEigenvectorPE(3)], ids=repr
)
def test_transforms_that_keep_a_wiring_a_wiring(herm: Data, transform: T.BaseTransform) -> None:
    out = transform(herm)
    for number, name in enumerate(out.neuron_name):
        assert out.neuron_type[number] == herm.neuron_type[herm.neuron_name.index(name)]
    if not isinstance(transform, T.ToUndirected):
        assert names_of_edges(out) <= names_of_edges(herm)
    dag = ConstrainedDAG()(out)
    assert bool(dag.output_mask.any())
    ErdosRenyi(0)(herm)
    for name in ("random_walk_pe", "laplacian_eigenvector_pe"):
        assert (name in out) == (name in dag)


def test_subgraphs_keep_names_types_and_kinds(herm: Data) -> None:
    chosen = torch.randperm(herm.num_nodes, generator=torch.Generator().manual_seed(0))[:60]
    part = herm.subgraph(chosen)
    # In the order chosen, or sorted, as the version of PyG has it.
    types = {herm.neuron_name[number]: int(herm.neuron_type[number]) for number in chosen}
    assert dict(zip(part.neuron_name, part.neuron_type.tolist(), strict=True)) == types
    assert names_of_edges(part) == {edge for edge in names_of_edges(herm) if {*edge[:2]} <= {*part.neuron_name}}
    assert bool(RandomDAG(0)(part).output_mask.any())


def test_isolated_neurons() -> None:
    """PyG's RemoveIsolatedNodes indexes each attribute of nodes with a tensor, which no list takes; subgraph keeps names and all else."""
    whole = Connectome("witvliet2021-1", synapses="electrical", keep_isolated=True)[0]
    with pytest.raises(TypeError):
        T.RemoveIsolatedNodes()(whole)
    part = whole.subgraph(whole.edge_index.unique())
    expected = Connectome("witvliet2021-1", synapses="electrical")[0]
    assert part.neuron_name == expected.neuron_name != whole.neuron_name
    assert torch.equal(part.edge_index, expected.edge_index)
    assert torch.equal(part.neuron_type, expected.neuron_type)
    nameless = copy.copy(whole)
    del nameless.neuron_name
    assert torch.equal(T.RemoveIsolatedNodes()(nameless).x, expected.x)


def test_the_largest_component_keeps_its_names() -> None:
    whole = Connectome("witvliet2021-1", synapses="electrical")[0]
    components = list(nx.weakly_connected_components(to_networkx(whole)))
    assert len(components) > 1
    part = T.LargestConnectedComponents()(whole)
    assert part.neuron_name == [whole.neuron_name[number] for number in sorted(max(components, key=len))]
    assert names_of_edges(part) == {edge for edge in names_of_edges(whole) if edge[0] in part.neuron_name}


def test_both_directions_of_a_wiring() -> None:
    """Weights of the two directions add up; so do the kinds, and what is then no kind is refused."""
    chemical, both = (Connectome("witvliet2021-1", synapses=kind)[0] for kind in ("chemical", "both"))
    matrix = to_scipy_sparse_matrix(chemical.edge_index, chemical.edge_weight, chemical.num_nodes).toarray()
    out = T.ToUndirected()(copy.copy(chemical))
    assert np.array_equal(to_scipy_sparse_matrix(out.edge_index, out.edge_weight, out.num_nodes).toarray(), matrix + matrix.T)
    assert not out.edge_type.any()
    with pytest.raises(
        ValueError, match=r"edge_type: expected extrasynaptic edges from sender to receiver, got .* ToUndirected\(reduce='max'\)"
    ):
        ConstrainedDAG()(T.ToUndirected()(copy.copy(both)))
    largest = T.ToUndirected(reduce="max")(copy.copy(both))
    assert set(largest.edge_type.tolist()) == {0, 1}
    assert ConstrainedDAG()(largest).num_edges > 0


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (T.AddSelfLoops(), "build them together .PyG's AddSelfLoops and RemoveSelfLoops change one attribute of edges only"),
        (T.RemoveSelfLoops(), "build them together"),
        (T.VirtualNode(), "neuron_name: expected 162 entries, one per neuron, got 161; name every neuron"),
    ],
    ids=repr,
)
def test_transforms_that_do_not_are_refused_with_the_reason(herm: Data, transform: T.BaseTransform, message: str) -> None:
    loops = copy.copy(herm)
    loops.edge_index = torch.cat([herm.edge_index, torch.zeros(2, 1, dtype=torch.long)], 1)
    loops.edge_weight, loops.edge_type = torch.cat([herm.edge_weight, torch.ones(1)]), torch.cat([herm.edge_type, torch.zeros(1).long()])
    with pytest.raises(ValueError, match=message):
        ConstrainedDAG()(transform(loops))


def test_self_loops_can_be_handled_one_attribute_at_a_time(herm: Data) -> None:
    """What PyG's transform leaves out, the default of a missing attribute gives: without edge_type every synapse is chemical."""
    bare = Data(edge_index=herm.edge_index, edge_weight=herm.edge_weight, num_nodes=herm.num_nodes, neuron_type=herm.neuron_type)
    assert torch.equal(ConstrainedDAG()(T.AddSelfLoops("edge_weight")(bare)).edge_index, ConstrainedDAG()(herm).edge_index)


class Direction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([DirGNNConv(SAGEConv(6, 16)), DirGNNConv(GATConv(16, 16, add_self_loops=False))])

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, edge_index).relu()
        return x


MODELS = {
    "gin": lambda: GIN(6, 16, 2),
    "gcn": lambda: GCN(6, 16, 2),
    "gat": lambda: GAT(6, 16, 2),
    "dir": Direction,
}


LABELLED = ("ba", "er", "rewired")


@pytest.fixture(scope="module")
def labelled(herm: Data) -> list[Data]:
    return [graph for family in LABELLED for graph in WiringEnsemble(herm, family, 8)]


@pytest.mark.parametrize("name", MODELS)
def test_models_of_pyg_tell_families_apart(labelled: list[Data], name: str) -> None:
    torch.manual_seed(0)
    label = {list(FAMILIES).index(family): number for number, family in enumerate(LABELLED)}
    model, head = MODELS[name](), nn.Linear(16, 3)
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], 0.01)
    losses = []
    for _ in range(12):
        for batch in DataLoader(labelled, batch_size=12, shuffle=True):
            out = head(global_mean_pool(model(batch.x, batch.edge_index), batch.batch))
            loss = F.cross_entropy(out, torch.tensor([label[int(y)] for y in batch.y]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_lightning_trains_a_classifier(nulls: WiringEnsemble) -> None:
    lightning = pytest.importorskip("pytorch_lightning", reason="PyTorch Lightning is not installed")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = ConnectomeClassifier(Batch.from_data_list(list(nulls)), 1, 2, channels=2)
            self.losses: list[float] = []

        def training_step(self, batch: list[Tensor], number: int) -> Tensor:
            images, labels = batch
            logits = self.model(images)
            loss = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)))
            self.losses.append(float(loss.detach()))
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), 0.02)

    labels = torch.arange(64) % 2
    images = labels.view(-1, 1, 1, 1).float() + 0.1 * torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), 16)
    module = Module()
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    lightning.Trainer(max_epochs=4, accelerator="cpu", **options).fit(module, loader)
    assert module.losses[-1] < module.losses[0]


def test_models_take_a_batch_a_data_set_or_a_list(nulls: WiringEnsemble) -> None:
    images = torch.rand(2, 1, 8, 8)
    outputs = [
        ConnectomeClassifier(graphs, 1, 2, channels=2).eval()(images) for graphs in (Batch.from_data_list(list(nulls)), nulls, list(nulls))
    ]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    assert ConnectomeClassifier(nulls[0], 1, 2, channels=2)(images).size(0) == 1
    assert len(Rewired(0)(Connectome("witvliet2021-1")[0]).neuron_name) == 161
