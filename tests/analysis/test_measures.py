from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from torch_geometric.data import Batch, Data

from elegans_pyg.analysis import MEASURES, measures
from elegans_pyg.datasets import Connectome, WiringEnsemble
from elegans_pyg.transforms import ConstrainedDAG, Rewired
from tests.analysis.graphs import random_wiring, wiring, wirings
from tests.dags import dags

ON_REQUEST = {"small_world", "four_motifs", "communities"}


@pytest.fixture(scope="module")
def base():
    return Connectome("witvliet2021-1")[0]


@settings(max_examples=15, deadline=None)
@given(wirings())
def test_any_wiring_gives_finite_numbers_in_the_documented_columns(data):
    table = measures([data, wiring(1, []), wiring(3, [(1, 1)])])
    assert list(table.columns) == [name for name, entry in MEASURES.items() if entry.group not in ON_REQUEST and not entry.needs]
    assert np.isfinite(table.to_numpy(dtype=float)).all()
    assert all(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes)


@settings(max_examples=10, deadline=None)
@given(dags())
def test_a_dag_gives_finite_numbers_in_every_column(data):
    pytest.importorskip("igraph", reason="igraph is not installed (extra `structure`)")
    pytest.importorskip("numba", reason="numba is not installed (extra `fast`)")
    table = measures(data, list(MEASURES))
    assert list(table.columns) == list(MEASURES)
    assert np.isfinite(table.to_numpy(dtype=float)).all()


def test_data_batch_ensemble_and_list_give_the_same_rows(base):
    ensemble = WiringEnsemble(base, "rewired", 3, seed=1, progress=False)
    graphs = list(ensemble)
    table = measures(ensemble)
    assert "levels" in table.columns
    assert "bilateral_symmetry" in table.columns
    pd.testing.assert_frame_equal(table, measures(graphs))
    pd.testing.assert_frame_equal(table, measures(Batch.from_data_list(graphs)))
    pd.testing.assert_frame_equal(table, pd.concat([measures(graph) for graph in graphs], ignore_index=True))
    assert table["motif_entropy"].nunique() == 3


def test_rewiring_keeps_what_it_keeps_and_dags_are_acyclic(base):
    table = measures([base, Rewired(seed=0)(base)])
    for name in ("edges", "self_loops", "in_degree_sd", "out_degree_sd", "out_strength_sd"):
        assert table[name][0] == pytest.approx(table[name][1])
    assert table["dyadic_information"][0] > table["dyadic_information"][1]
    assert table["motif_information"][0] > table["motif_information"][1]
    dag = measures(ConstrainedDAG()(base)).iloc[0]
    assert dag["reciprocity"] == dag["three_cycles"] == dag["spectral_radius"] == dag["self_loops"] == 0


def test_copies_are_measured_once_and_small_changes_are_seen(base, monkeypatch):
    module = sys.modules["elegans_pyg.analysis.measures"]
    calls = []
    original = module._GROUPS["size"]
    monkeypatch.setitem(module._GROUPS, "size", lambda *arguments: calls.append(1) or original(*arguments))
    other = base.clone()
    other.edge_weight[0] += 1
    table = measures([base, base.clone(), other, base], ["size", "out_strength_sd"])
    assert len(calls) == 2
    assert table.iloc[0].equals(table.iloc[1])
    assert table.iloc[0].equals(table.iloc[3])
    assert table["out_strength_sd"][2] != table["out_strength_sd"][0]


@pytest.mark.parametrize("name", ["edge_weight", "edge_type", "neuron_type", "level", "output_mask", "neuron_name"])
def test_no_two_wirings_that_differ_in_what_is_measured_pass_for_copies(base, name):
    dag = ConstrainedDAG()(base)
    other = dag.clone()
    if name == "neuron_name":
        other.neuron_name = [*dag.neuron_name[:-1], "NEW"]
    else:
        other[name][-1] = not dag[name][-1] if name == "output_mask" else 2 if name == "level" else 1 - dag[name][-1].clamp(max=1)
    module = sys.modules["elegans_pyg.analysis.measures"]
    assert module._fingerprint(dag) == module._fingerprint(dag.clone())
    assert module._fingerprint(dag) != module._fingerprint(other)


def test_wirings_that_differ_in_what_is_filled_in_are_measured_each():
    edges = torch.tensor([[0], [1]])
    sizes = measures([Data(edge_index=edges, num_nodes=nodes) for nodes in (2, 100)], ["nodes"])
    assert sizes["nodes"].tolist() == [2, 100]
    wedge = torch.tensor([[0, 0], [1, 2]])
    weighted = [Data(edge_index=wedge, num_nodes=3, **{name: torch.tensor([1.0, 5.0])}) for name in ("edge_attr", "weight")]
    spread = measures([Data(edge_index=wedge, num_nodes=3), *weighted], ["out_strength_sd"])["out_strength_sd"]
    assert spread[0] < spread[1] == spread[2]


def test_names_choose_columns_in_order(base):
    table = measures(base, ["motif_entropy", "size", "nodes"])
    assert list(table.columns) == ["motif_entropy", "nodes", "edges", "self_loops", "isolated", "density"]
    assert measures(base, ["sigma"], seed=1)["sigma"][0] != measures(base, ["sigma"], seed=2)["sigma"][0]
    pd.testing.assert_frame_equal(measures(base, ["sigma"], seed=1), measures([base, base], ["omega", "sigma"], seed=1)[["sigma"]][:1])


def test_columns_that_not_all_can_have_are_left_out_and_refused_by_name(base):
    dag = ConstrainedDAG()(base)
    assert "levels" in measures(dag).columns
    assert "levels" not in measures([dag, base]).columns
    with pytest.raises(ValueError, match="which: 'levels' needs wirings with level, and wiring 1 has none; leave the measure out"):
        measures([dag, base], ["dag"])
    with pytest.raises(ValueError, match="which: 'bilateral_symmetry' needs wirings with neuron_name, and wiring 0 has none"):
        measures(random_wiring(0, 4, 0.5), ["bilateral_symmetry"])


def test_bad_input_is_refused_in_one_line(base):
    with pytest.raises(ValueError, match=r"which: expected groups .*size, degrees.* or measures .*motif_entropy.*, got 'motiv'"):
        measures(base, ["motiv"])
    with pytest.raises(TypeError, match="which: expected a sequence of names, got 'size'"):
        measures(base, "size")
    with pytest.raises(ValueError, match="which: expected at least one"):
        measures(base, [])
    with pytest.raises(ValueError, match="graphs: expected at least one wiring, got none"):
        measures([])
    with pytest.raises(TypeError, match="graphs: expected a Data for each wiring, got str as number 1"):
        measures([base, "varshney"])
    with pytest.raises(TypeError, match="graphs: expected a Data, a Batch, a dataset or a sequence of Data, got int"):
        measures(3)
    with pytest.raises(ValueError, match="graphs: wiring 1: data: expected at least one neuron, got an empty graph"):
        measures([base, wiring(0, [])], ["size"])
    with pytest.raises(ValueError, match="seed: expected 0 or more, got -1"):
        measures(base, seed=-1)
    broken = base.clone()
    del broken.edge_index
    with pytest.raises(ValueError, match="graphs: wiring 0: data: expected a wiring, but it has no edge_index"):
        measures(broken)


def test_every_measure_is_described():
    assert not set(MEASURES) & {entry.group for entry in MEASURES.values()}  # or which could not tell them apart
    for name, entry in MEASURES.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert entry.description
        assert entry.direction in ("directed", "undirected", "dag")
        assert entry.needs in ("", "level", "neuron_name")
        assert not entry.source or re.search(r"\d{4}, doi:10\.", entry.source)


def test_inputs_and_random_states_are_left_alone(base):
    torch.manual_seed(0)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002, it is the state that is tested
    before = {name: base[name].clone() for name in ("edge_index", "edge_weight", "edge_type", "neuron_type", "x")}
    measures(base, ["sigma", "motif_entropy"])
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
    assert all(torch.equal(base[name], value) for name, value in before.items())


def test_electrical_synapses_alone_have_no_direction():
    row = measures(Connectome("witvliet2021-8", synapses="electrical")[0]).iloc[0]
    assert row["reciprocity"] == 1
    assert row["feed_forward_loops"] == row["three_cycles"] == 0
    assert row["clustering"] == pytest.approx(row["clustering_directed"])
    assert row["heterophilicity_sensory_motor"] == pytest.approx(row["heterophilicity_motor_sensory"])
