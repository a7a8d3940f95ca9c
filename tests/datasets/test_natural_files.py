"""Wirings as other libraries write them, all read without options; and the way there and back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse
import torch
from torch_geometric.data import Data
from torch_geometric.datasets import KarateClub
from torch_geometric.utils import from_networkx, to_networkx

from elegans_pyg.datasets import Connectome
from elegans_pyg.transforms import FAMILIES, ConstrainedDAG, RandomDAG
from elegans_pyg.wirings import NEURON_TYPES

EDGES = {("p", "q"): 3.0, ("p", "r"): 1.0, ("q", "r"): 2.0, ("r", "s"): 12.0, ("s", "q"): 1.0, ("t", "p"): 5.0}
NUMBERED = {("10", "11"): 3.0, ("11", "12"): 1.0, ("12", "10"): 2.0, ("12", "14"): 1.5}
TYPED = {"p": "sensory", "q": "inter", "r": "Kenyon cell", "s": "motor", "t": "sensory"}


def graph(edges: dict[tuple[str, str], float] = EDGES) -> nx.DiGraph:
    made = nx.DiGraph()
    made.add_weighted_edges_from((*ends, int(weight) if weight.is_integer() else weight) for ends, weight in edges.items())
    return made


def table(pre: str = "source", post: str = "target", weight: str = "weight") -> pd.DataFrame:
    return pd.DataFrame([(*ends, int(number)) for ends, number in EDGES.items()], columns=[pre, post, weight])


def matrix() -> pd.DataFrame:
    return nx.to_pandas_adjacency(graph(), dtype=int)


def typed_graph() -> nx.DiGraph:
    made = graph()
    nx.set_node_attributes(made, TYPED, "type")
    return made


def edges_of(data: Data) -> dict[tuple[str, str], float]:
    pairs = zip(*data.edge_index.tolist(), data.edge_weight.tolist(), strict=True)
    found = {(data.neuron_name[a], data.neuron_name[b]): weight for a, b, weight in pairs}
    assert len(found) == data.num_edges
    return found


def of_karate() -> dict[tuple[str, str], float]:
    weights = nx.karate_club_graph().edges(data="weight")
    return {pair: float(weight) for a, b, weight in weights for pair in ((str(a), str(b)), (str(b), str(a)))}


def text(content: str, encoding: str = "utf-8") -> Callable[[Path], Any]:
    return lambda path: path.write_text(content, encoding=encoding)


def numbers() -> dict[tuple[str, str], float]:
    """Edges of the matrix, by the nodes' positions."""
    place = {name: str(number) for number, name in enumerate(graph().nodes)}
    return {(place[a], place[b]): weight for (a, b), weight in EDGES.items()}


ONES = dict.fromkeys(EDGES, 1.0)
LINES = "".join(f"{a} {b} {w:g}\n" for (a, b), w in NUMBERED.items())
FILES: dict[str, tuple[Callable[[Path], Any], dict[tuple[str, str], float]]] = {
    # The ten of a new user's first hour.
    "plain.graphml": (lambda path: nx.write_graphml(nx.DiGraph(list(EDGES)), path), ONES),
    "typed.graphml": (lambda path: nx.write_graphml(typed_graph(), path), EDGES),
    "karate.graphml": (lambda path: nx.write_graphml(nx.karate_club_graph(), path), of_karate()),
    "named.csv": (lambda path: table().to_csv(path, index=False), EDGES),
    "index.csv": (lambda path: table().to_csv(path), EDGES),
    "pre-post.csv": (lambda path: table("pre", "post").to_csv(path, index=False), EDGES),
    "headerless.csv": (lambda path: table().to_csv(path, index=False, header=False), EDGES),
    "adjacency.csv": (lambda path: matrix().to_csv(path), EDGES),
    "named.tsv": (lambda path: table().to_csv(path, index=False, sep="\t"), EDGES),
    "weighted.edgelist": (lambda path: nx.write_weighted_edgelist(graph(), path), EDGES),
    # Twenty more, and a few.
    "data.edgelist": (lambda path: nx.write_edgelist(graph(), path), EDGES),
    "commas.edgelist": (lambda path: nx.write_edgelist(graph(), path, delimiter=","), EDGES),
    "bare.edgelist": (lambda path: nx.write_edgelist(graph(), path, data=False), ONES),
    "plain.gml": (lambda path: nx.write_gml(graph(), path), EDGES),
    "karate.gml": (lambda path: nx.write_gml(nx.karate_club_graph(), path), of_karate()),
    "plain.gexf": (lambda path: nx.write_gexf(graph(), path), EDGES),
    "karate.gexf": (lambda path: nx.write_gexf(nx.karate_club_graph(), path), of_karate()),
    "plain.xml": (lambda path: nx.write_graphml_xml(graph(), path), EDGES),
    "from-to.csv": (lambda path: table("from", "to", "synapses").to_csv(path, index=False), EDGES),
    "flywire.csv": (lambda path: table("pre_root_id", "post_root_id", "syn_count").assign(nt_type="GABA").to_csv(path, index=False), EDGES),
    "hemibrain.csv": (lambda path: table("bodyId_pre", "bodyId_post").to_csv(path, index=False), EDGES),
    "free.csv": (lambda path: table("Nerve cell", "Partner", "Strength (n)").to_csv(path, index=False), EDGES),
    "reordered.csv": (lambda path: table()[["weight", "target", "source"]].to_csv(path, index=False), EDGES),
    "unweighted.csv": (lambda path: table()[["source", "target"]].to_csv(path, index=False), ONES),
    "numbered.txt": (text(LINES), NUMBERED),
    "commented.txt": (text("# from to weight\n% of a worm\n\n" + LINES.replace(" ", "   ")), NUMBERED),
    "numbered.csv": (text(LINES.replace(" ", ",")), NUMBERED),
    "excel.csv": (text("\ufeffsource;target;weight\r\n" + LINES.replace(" ", ";").replace(".", ",").replace("\n", "\r\n")), NUMBERED),
    "separator.csv": (text("sep=;\r\n" + LINES.replace(" ", ";").replace(".", ",")), NUMBERED),
    "quoted.csv": (lambda path: table().to_csv(path, index=False, quoting=1), EDGES),
    "from-r.txt": (text('"source" "target" "weight"\n' + "".join(f'"{a}{b}" "{a}" "{b}" {w}\n' for (a, b), w in EDGES.items())), EDGES),
    "kinds.csv": (text("".join(f"{a},{b},{w:g},chemical\n" for (a, b), w in EDGES.items())), EDGES),
    "bare-matrix.csv": (lambda path: matrix().to_csv(path, index=False, header=False), numbers()),
    "columns-matrix.csv": (lambda path: matrix().to_csv(path, index=False), EDGES),
    "matrix.txt": (lambda path: np.savetxt(path, matrix().to_numpy()), numbers()),
    "sorted-matrix.csv": (lambda path: matrix().sort_index().replace(0, np.nan).to_csv(path, sep=";"), EDGES),
    "matrix.npy": (lambda path: np.save(path, matrix().to_numpy()), numbers()),
    "edges.npy": (lambda path: np.save(path, np.array([(int(a), int(b)) for a, b in NUMBERED])), dict.fromkeys(NUMBERED, 1.0)),
    "sparse.mtx": (lambda path: scipy.io.mmwrite(path, nx.to_scipy_sparse_array(graph())), numbers()),
    "dense.mtx": (lambda path: scipy.io.mmwrite(path, matrix().to_numpy()), numbers()),
    "karate.mtx": (lambda path: scipy.io.mmwrite(path, nx.to_scipy_sparse_array(nx.karate_club_graph())), of_karate()),
    "named.parquet": (lambda path: table().to_parquet(path), EDGES),
    "adjacency.parquet": (lambda path: matrix().to_parquet(path), EDGES),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_load_without_options(tmp_path: Path, name: str) -> None:
    write, expected = FILES[name]
    write(tmp_path / name)
    data = Connectome.from_edges(tmp_path / name)
    assert edges_of(data) == expected
    assert bool((data.edge_type == 0).all())
    if name != "typed.graphml":
        assert "no types: inputs are sources (1), outputs sinks (" in data.read_as
    assert ConstrainedDAG()(data).input_mask.any()


def test_sources_that_count_are_not_row_numbers(tmp_path: Path) -> None:
    for lines, expected in {
        "0 1 3.5 chemical\n1 2 4 chemical\n2 0 5 chemical\n": {("0", "1"): 3.5, ("1", "2"): 4, ("2", "0"): 5},
        "0 p 3 chemical\n1 q 4 chemical\n": {("0", "p"): 3, ("1", "q"): 4},
        # Row numbers, which pandas writes unless told otherwise.
        "0 p q chemical\n1 q r chemical\n": {("p", "q"): 1, ("q", "r"): 1},
        "0 1 3 2\n1 2 4 5\n": {("1", "3"): 2, ("2", "4"): 5},
        "0 5 6 3 chemical\n1 6 5 4 chemical\n": {("5", "6"): 3, ("6", "5"): 4},
    }.items():
        (tmp_path / "w.txt").write_text(lines)
        assert edges_of(Connectome.from_edges(tmp_path / "w.txt")) == expected
    lines = "0 1 3 chemical\n1 2 4 chemical\n2 0 5 chemical\n"
    (tmp_path / "w.txt").write_text(lines)
    with pytest.raises(ValueError, match="line 1: expected edges with one meaning, got 0 for a source or for the row; name the columns"):
        Connectome.from_edges(tmp_path / "w.txt")
    (tmp_path / "w.txt").write_text("source target weight synapse\n" + lines)
    assert edges_of(Connectome.from_edges(tmp_path / "w.txt")) == {("0", "1"): 3, ("1", "2"): 4, ("2", "0"): 5}


def test_types_of_a_graph_are_kept(tmp_path: Path) -> None:
    nx.write_graphml(typed_graph(), tmp_path / "w.graphml")
    data = Connectome.from_edges(tmp_path / "w.graphml")
    types = [NEURON_TYPES[number] for number in data.neuron_type]
    assert dict(zip(data.neuron_name, types, strict=True)) == TYPED | {"r": "other"}
    assert dict(zip(data.neuron_name, data.cell_type, strict=True)) == TYPED


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("headerless.csv", "columns 1, 2 as edges, 3 as weight"),
        ("index.csv", "columns source, target as edges, weight as weight"),
        ("free.csv", "columns Nerve cell, Partner as edges, Strength (n) as weight"),
        ("unweighted.csv", "columns source, target as edges, each of weight 1"),
        ("kinds.csv", "columns 1, 2 as edges, 3 as weight, 4 as kind of synapse"),
        ("adjacency.csv", "a matrix of 5 nodes, from rows to columns, entries as weight"),
        ("karate.graphml", "edges of the graph, weight as weight, in both directions (undirected)"),
    ],
)
def test_what_was_taken_for_what_is_said(tmp_path: Path, name: str, said: str) -> None:
    FILES[name][0](tmp_path / name)
    assert Connectome.from_edges(tmp_path / name).read_as.partition(";")[0] == said


def test_objects_are_taken_as_files_are() -> None:
    assert edges_of(Connectome.from_pandas(table())) == EDGES
    assert edges_of(Connectome.from_pandas(matrix())) == EDGES
    assert edges_of(Connectome.from_pandas(pd.DataFrame([[0, 1, 2], [1, 2, 3], [2, 0, 4]]))) == {
        ("0", "1"): 2,
        ("1", "2"): 3,
        ("2", "0"): 4,
    }
    assert edges_of(Connectome.from_networkx(graph())) == EDGES
    assert edges_of(Connectome.from_scipy(nx.to_scipy_sparse_array(graph()))) == numbers()
    assert edges_of(Connectome.from_scipy(scipy.sparse.csr_matrix(matrix().to_numpy()))) == numbers()
    assert edges_of(Connectome.from_edges(matrix().to_numpy())) == numbers()
    data = from_networkx(graph())
    assert edges_of(Connectome.from_data(data)) == numbers()
    assert edges_of(Connectome.from_data(KarateClub()[0])) == dict.fromkeys(of_karate(), 1.0)


def same_wiring(left: Data, right: Data) -> None:
    assert left.neuron_name == right.neuron_name
    for name in ("edge_index", "edge_weight", "edge_type", "neuron_type", "inhibitory", "x"):
        assert torch.equal(left[name], right[name]), name


@pytest.mark.parametrize("synapses", ["chemical", "both"])
def test_a_packaged_connectome_comes_back(tmp_path: Path, synapses: str) -> None:
    data = Connectome("witvliet2021-8", synapses=synapses)[0]
    edges, neurons = Connectome.to_pandas(data)
    same_wiring(Connectome.from_pandas(edges, neurons, synapses), data)
    edges.to_csv(tmp_path / "edges.csv", index=False)
    neurons.to_csv(tmp_path / "neurons.csv", index=False)
    same_wiring(Connectome.from_edges(tmp_path / "edges.csv", tmp_path / "neurons.csv", synapses), data)
    attributes = ["neuron_name", "neuron_type", "inhibitory"], ["edge_weight", "edge_type"]
    networkx = to_networkx(data, *attributes, to_multi=True)
    same_wiring(Connectome.from_networkx(networkx, synapses=synapses), data)
    nx.write_graphml(networkx, tmp_path / "w.graphml")
    same_wiring(Connectome.from_edges(tmp_path / "w.graphml", synapses=synapses), data)
    same_wiring(Connectome.from_data(data), data)


def test_types_of_any_words_come_back() -> None:
    data = Connectome.from_networkx(typed_graph(), sensory=["Kenyon cell"])
    assert [NEURON_TYPES[number] for number in data.neuron_type] == ["inter", "inter", "sensory", "motor", "inter"]
    again = Connectome.from_pandas(*Connectome.to_pandas(data))
    same_wiring(again, data)
    assert again.cell_type == data.cell_type


def test_inputs_and_outputs_are_chosen() -> None:
    data = Connectome.from_networkx(graph(), inputs=["p"], outputs=["r", "s"])
    types = dict(zip(data.neuron_name, data.neuron_type.tolist(), strict=True))
    assert types == {"p": 0, "q": 1, "r": 2, "s": 2, "t": 1}
    dag = ConstrainedDAG()(data)
    assert [name for name, chosen in zip(dag.neuron_name, dag.input_mask, strict=True) if chosen] == ["p"]
    assert [name for name, chosen in zip(dag.neuron_name, dag.output_mask, strict=True) if chosen] == ["r", "s"]
    with pytest.raises(ValueError, match="inputs: expected names of neurons of the wiring, got 'z'; choose from p, q, r, s, t"):
        Connectome.from_networkx(graph(), inputs=["p", "z"])
    with pytest.raises(ValueError, match="motor: expected types of neurons of the wiring, got 'DN'; choose from sensory, inter, Kenyon"):
        Connectome.from_networkx(typed_graph(), motor=["DN"])


def methane() -> Data:
    """A carbon and four hydrogens, each bond in both directions, as QM9 has them: four kinds of bond for each edge."""
    source, target = [0, 0, 0, 0, 1, 2, 3, 4], [1, 2, 3, 4, 0, 0, 0, 0]
    return Data(edge_index=torch.tensor([source, target]), edge_attr=torch.eye(4)[[0] * 8], z=torch.tensor([6, 1, 1, 1, 1]), num_nodes=5)


@pytest.mark.filterwarnings("ignore:.*found no swap")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["methane", "karate", "random"])
def test_plain_graphs_go_through_every_family(name: str, family: str) -> None:
    graphs = {"methane": methane, "karate": lambda: KarateClub()[0], "random": lambda: from_networkx(nx.gnp_random_graph(20, 0.6, seed=1))}
    data = graphs[name]()
    rewiring = FAMILIES[family].rewiring
    wiring = data if rewiring is None else rewiring(seed=3)(data)
    assert (wiring.num_nodes, wiring.num_edges) == (data.num_nodes, data.num_edges)
    for dag in (ConstrainedDAG()(wiring), RandomDAG(3)(wiring)):
        assert nx.is_directed_acyclic_graph(to_networkx(dag))
        assert bool(dag.input_mask.any() & dag.output_mask.any())


def shared(name: str) -> Path:
    folder = os.environ.get("ELEGANS_PYG_IMAGES")
    if folder is None or not (path := Path(folder) / "wirings" / name).exists():
        pytest.skip(f"needs wirings/{name} in the folder $ELEGANS_PYG_IMAGES")
    return path


@pytest.mark.parametrize(
    ("name", "neurons", "nodes", "edges"),
    [
        ("herm.gml", None, 279, 2194),
        ("neurodata_herm.graphml", None, 279, 2194),
        ("neurodata_male.graphml", None, 256, 2802),
        ("herm_chem_edgelist.csv", "herm_chem_nodes.csv", 286, 2838),
        ("maggot_subset_edgelist.csv", "maggot_subset_nodes.csv", 1240, 32564),
    ],
)
def test_published_files(name: str, neurons: str | None, nodes: int, edges: int) -> None:
    data = Connectome.from_edges(shared(name), None if neurons is None else shared(neurons))
    assert (data.num_nodes, data.num_edges) == (nodes, edges)


def test_the_gml_and_the_graphml_of_the_hermaphrodite_agree() -> None:
    same_wiring(Connectome.from_edges(shared("herm.gml")), Connectome.from_edges(shared("neurodata_herm.graphml")))


def test_the_larva() -> None:
    """What docs/your_own_connectome.md says of it."""
    path = shared("maggot_subset_edgelist.csv")
    data = Connectome.from_edges(path)
    frame = pd.read_csv(path, header=None, dtype={0: str, 1: str})
    assert edges_of(data) == {(a, b): float(w) for a, b, w in frame.itertuples(index=False)}
    dag = ConstrainedDAG()(data)
    assert (data.num_nodes, int(dag.input_mask.sum()), dag.num_edges) == (1240, 23, 20984)
    assert (int(dag.level.max()) + 1, int(dag.output_mask.sum())) == (423, 135)
