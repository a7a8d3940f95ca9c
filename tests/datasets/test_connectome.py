"""The packaged connectomes: exact counts, published facts, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from elegans_pyg._files import data_folder
from elegans_pyg.datasets import Connectome
from elegans_pyg.wirings import EXTRASYNAPTIC, NEURON_TYPES

# name: neurons and edges of the chemical graph, its self-loops; pairs of the electrical one; neurons by type (in the order of NEURON_TYPES)
COUNTS = {
    "cook2019-hermaphrodite": (282, 3567, 37, 1069, [83, 81, 108, 0, 8, 2]),
    "cook2019-male": (360, 3907, 59, 1269, [81, 80, 108, 0, 89, 2]),
    "cook2019-male-uncorrected": (359, 3899, 59, 1270, [81, 79, 108, 0, 89, 2]),
    "varshney2011-hermaphrodite": (279, 2194, 0, 517, [83, 81, 108, 0, 7, 0]),
    "witvliet2021-1": (161, 675, 0, 83, [61, 68, 32, 0, 0, 0]),
    "witvliet2021-2": (162, 865, 0, 121, [61, 69, 32, 0, 0, 0]),
    "witvliet2021-3": (162, 887, 0, 94, [61, 69, 32, 0, 0, 0]),
    "witvliet2021-4": (168, 1011, 0, 205, [65, 69, 34, 0, 0, 0]),
    "witvliet2021-5": (173, 1324, 0, 289, [67, 72, 34, 0, 0, 0]),
    "witvliet2021-6": (175, 1315, 0, 212, [67, 73, 34, 0, 0, 1]),
    "witvliet2021-7": (180, 1944, 11, 267, [69, 75, 34, 0, 2, 0]),
    "witvliet2021-8": (180, 1933, 0, 304, [69, 75, 34, 0, 2, 0]),
}
# name: neurons, pairs, self-loops, signals; neurons by type; and with the pharynx neurons, pairs, signals, senders
LAYERS = {
    "bentley2016-monoamine": (219, 1668, 10, 2322, [75, 43, 97, 0, 2, 2], (237, 1952, 2626, 18)),
    "bentley2016-neuropeptide": (222, 5960, 41, 7445, [65, 61, 88, 0, 8, 0], (239, 7078, 8931, 141)),
}


def edges_by_name(data: Data) -> dict[tuple[str, str], float]:
    source, target = data.edge_index.tolist()
    return {(data.neuron_name[m], data.neuron_name[n]): w for m, n, w in zip(source, target, data.edge_weight.tolist(), strict=True)}


def test_every_packaged_connectome_is_counted_here():
    assert [*COUNTS, *LAYERS] == Connectome.names()
    tables = {path.stem for path in data_folder("connectomes").glob("*.csv")}
    assert tables == {*COUNTS, *LAYERS, "neurons", "polarity", "somata"}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    neurons, chemical, loops, pairs, types = COUNTS[name]
    data = Connectome(name)[0]
    assert data.num_nodes == neurons
    assert data.num_edges == chemical
    assert int((data.edge_index[0] == data.edge_index[1]).sum()) == loops
    assert data.neuron_type.bincount(minlength=len(NEURON_TYPES)).tolist() == types
    with (data_folder("connectomes") / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["weight"]) > 0 for row in rows)
    electrical = Connectome(name, synapses="electrical")[0]
    m, n = electrical.edge_index
    assert int((m <= n).sum()) == pairs


@pytest.mark.parametrize("name", LAYERS)
def test_counts_of_extrasynaptic_layers(name):
    neurons, pairs, loops, signals, types, (all_neurons, all_pairs, all_signals, senders) = LAYERS[name]
    data, whole = (Connectome(name, pharynx=pharynx, edge_attributes=True)[0] for pharynx in (False, True))
    assert (data.num_nodes, data.num_edges, int(data.edge_weight.sum())) == (neurons, pairs, signals)
    assert int((data.edge_index[0] == data.edge_index[1]).sum()) == loops
    assert data.neuron_type.bincount(minlength=len(NEURON_TYPES)).tolist() == types
    assert (whole.num_nodes, whole.num_edges, int(whole.edge_weight.sum())) == (all_neurons, all_pairs, all_signals)
    assert len(whole.edge_index[0].unique()) == senders
    for graph in (data, whole):
        assert bool((graph.edge_type == EXTRASYNAPTIC).all())
        assert graph.edge_signal.shape == (graph.num_edges, len(graph.signal_name))
        assert torch.equal(graph.edge_signal.sum(1).float(), graph.edge_weight)
        assert bool(graph.edge_signal.any(0).all())
    assert Connectome(name, synapses="both")[0].num_edges == pairs


def test_published_facts_of_extrasynaptic_layers():
    # Bentley et al. 2016: four monoamines, 15 neuropeptides that act on 12 receptors; who makes a monoamine is known from the literature.
    amines, peptides = (
        Connectome(f"bentley2016-{layer}", pharynx=True, edge_attributes=True)[0] for layer in ("monoamine", "neuropeptide")
    )
    senders: dict[str, set[str]] = {}
    for edge, signal in amines.edge_signal.nonzero().tolist():
        amine = amines.signal_name[signal].split(":")[0]
        senders.setdefault(amine, set()).add(amines.neuron_name[int(amines.edge_index[0, edge])][:3])
    assert senders == {"dopamine": {"CEP", "ADE", "PDE"}, "serotonin": {"ADF", "HSN", "NSM"}, "tyramine": {"RIM"}, "octopamine": {"RIC"}}
    for part, count in ((0, 15), (1, 12)):
        assert len({name.split(":")[part] for name in peptides.signal_name}) == count
    # Tyramine from RIM hyperpolarises head and neck motor neurons through LGC-55 (Pirri et al. 2009, doi:10.1016/j.neuron.2009.04.013).
    column = amines.edge_signal[:, amines.signal_name.index("tyramine:lgc-55")]
    assert ("RIML", "SMDVL") in {tuple(amines.neuron_name[n] for n in pair) for pair in amines.edge_index[:, column].T.tolist()}


@pytest.mark.parametrize("name", COUNTS)
def test_electrical_synapses_stand_in_both_directions(name):
    data = Connectome(name, synapses="electrical")[0]
    assert bool((data.edge_type == 1).all())
    matrix = np.zeros((data.num_nodes, data.num_nodes))
    matrix[tuple(data.edge_index.numpy())] = data.edge_weight
    np.testing.assert_array_equal(matrix, matrix.T)


def test_conventions():
    data = Connectome("cook2019-hermaphrodite", synapses="both")[0]
    assert torch.equal(data.x.argmax(1), data.neuron_type)
    assert bool((data.x.sum(1) == 1).all())
    key = data.edge_index[0] * 10**6 + data.edge_index[1] * 10 + data.edge_type
    assert bool((key.diff() > 0).all()), "edges are sorted by source, target and type, each once"
    assert data.edge_weight.dtype == torch.float32
    assert len(set(data.neuron_name)) == data.num_nodes == 282


def test_published_facts():
    herm = Connectome("cook2019-hermaphrodite")[0]
    edges = edges_by_name(herm)
    # Nociceptors and touch interneurons drive the command interneurons; AVA drives the A-type motor neurons.
    for pair in (("ASHL", "AVAL"), ("PVCL", "AVBL"), ("AVAL", "VA8"), ("AIYL", "RIAL")):
        assert pair in edges, pair
    kinds = dict(zip(herm.neuron_name, herm.neuron_type.tolist(), strict=True))
    for neuron, kind in {"ASEL": "sensory", "AVAL": "inter", "DB1": "motor", "HSNL": "sex-specific", "CANL": "other"}.items():
        assert NEURON_TYPES[kinds[neuron]] == kind
    # 26 GABAergic neurons are classical: 19 D-type motor neurons, four RME, RIS, AVL and DVB.
    gaba = {name for name, flag in zip(herm.neuron_name, herm.inhibitory.tolist(), strict=True) if flag}
    classical = {f"DD{i}" for i in range(1, 7)} | {f"VD{i}" for i in range(1, 14)} | {"RMEL", "RMER", "RMED", "RMEV", "RIS", "AVL", "DVB"}
    assert classical <= gaba
    assert gaba - classical == {"ALA", "RIBL", "RIBR"}


def test_the_whole_animal_has_302_neurons():
    assert Connectome("cook2019-hermaphrodite", synapses="both", pharynx=True)[0].num_nodes == 302
    table = pd.read_csv(data_folder("connectomes") / "neurons.csv", keep_default_na=False)
    assert (table["sex"] != "male").sum() == 302
    assert table["name"].is_unique
    assert set(table["type"]) <= set(NEURON_TYPES)


def test_isolated_neurons_are_kept_on_request():
    assert Connectome("cook2019-hermaphrodite", synapses="electrical")[0].num_nodes == 278
    assert Connectome("cook2019-hermaphrodite", synapses="electrical", keep_isolated=True)[0].num_nodes == 282


def test_transforms_run_when_they_should():
    calls = []

    def note(label):
        return lambda data: calls.append(label) or data

    dataset = Connectome("witvliet2021-1", transform=note("access"), pre_transform=note("once"))
    assert calls == ["once"]
    dataset[0], dataset[0]
    assert calls == ["once", "access", "access"]
    assert len(dataset) == 1


def test_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Connectome("witvliet2021-1")
    assert list(tmp_path.iterdir()) == []


def test_files_of_ones_own_are_read_from_root(tmp_path):
    (tmp_path / "neurons.csv").write_text("name,class,type,sex,neurotransmitter\nA,A,sensory,both,ACh\nB,B,motor,both,GABA; ACh\n")
    (tmp_path / "mine.csv").write_text("pre,post,weight,synapse\nA,B,3,chemical\nB,A,2,electrical\n")
    data = Connectome("mine", synapses="both", root=tmp_path)[0]
    assert data.neuron_name == ["A", "B"]
    assert data.edge_index.tolist() == [[0, 0, 1], [1, 1, 0]]
    assert data.edge_type.tolist() == [0, 1, 1]
    assert data.edge_weight.tolist() == [3, 2, 2]
    assert data.inhibitory.tolist() == [False, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv", "neurons.csv"]


@pytest.mark.parametrize("word", ["pharyngeal", "Pharynx"])
def test_the_pharynx_is_left_out_by_any_of_its_words(tmp_path: Path, word: str):
    (tmp_path / "neurons.csv").write_text(f"name,type\nA,sensory\nB,motor\nM1,{word}\n")
    (tmp_path / "mine.csv").write_text("pre,post,weight,synapse\nA,B,3,chemical\nM1,B,2,chemical\n")
    assert Connectome("mine", root=tmp_path)[0].neuron_name == ["A", "B"]
    assert Connectome("mine", root=tmp_path, pharynx=True)[0].neuron_name == ["A", "B", "M1"]


def test_from_files_looks_up_the_worms_neurons(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("pre,post,weight,synapse\nASEL,AIYL,13,chemical\nDD01,AIYL,2,chemical\nAIYL,DD01,1,electrical\n")
    data = Connectome.from_edges(file)
    assert data.neuron_name == ["ASEL", "AIYL", "DD01"]
    assert [NEURON_TYPES[kind] for kind in data.neuron_type] == ["sensory", "inter", "motor"]
    assert data.inhibitory.tolist() == [False, False, True]
    assert data.num_edges == 2
    assert Connectome.from_edges(file, synapses="both").num_edges == 4


def test_bad_arguments_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"name: expected one of cook2019-hermaphrodite, .*, got 'cook2020'; .* Connectome\.from_edges"):
        Connectome("cook2020")
    with pytest.raises(ValueError, match="synapses: expected one of chemical, electrical, extrasynaptic, both, got 'gap'"):
        Connectome(synapses="gap")
    with pytest.raises(ValueError, match=r"expected synapses of the kind 'chemical', got none; .* \(there: extrasynaptic\)"):
        Connectome("bentley2016-monoamine", synapses="chemical")
    with pytest.raises(FileNotFoundError, match=r"root: there is no file '.*neurons\.csv'; check the name"):
        Connectome("mine", root=tmp_path)
