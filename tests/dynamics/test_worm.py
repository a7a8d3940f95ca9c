from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from elegans_pyg.datasets import Connectome
from elegans_pyg.dynamics import Worm, simulate
from elegans_pyg.dynamics.membrane import MEMBRANES, Membrane
from elegans_pyg.transforms import Rewired
from elegans_pyg.wirings import as_wiring
from tests.dynamics.circuits import five
from tests.dynamics.ode import FOLDER


def test_c302_has_the_counts_and_constants_of_its_files() -> None:
    worm = Worm("c302-C1")
    data = worm.data
    rows = list(csv.DictReader((FOLDER / "c302-C1.csv").read_text().splitlines()))
    table = json.loads((FOLDER / "c302-C1.json").read_text())
    assert len(worm.neuron_name) == 302
    assert sorted(worm.neuron_name) == sorted(table["neurons"])
    assert int((data.edge_type == 0).sum()) == 3653
    assert int((data.edge_type == 1).sum()) == 2 * 1080
    edges = {
        (worm.neuron_name[a], worm.neuron_name[b], k): (g, e)
        for (a, b), k, g, e in zip(
            data.edge_index.T.tolist(), data.edge_type.tolist(), data.conductance_nS.tolist(), data.reversal_mV.tolist(), strict=True
        )
    }
    for row in rows:
        weight, inhibitory = float(row["weight"]), row["pre"] in table["inhibitory"]
        if row["synapse"] == "chemical":
            assert edges[row["pre"], row["post"], 0] == pytest.approx((0.09 * weight, -70 if inhibitory else 0))
        else:
            for pair in ((row["pre"], row["post"]), (row["post"], row["pre"])):
                assert edges[(*pair, 1)] == pytest.approx((0.00052 * weight, 0))
    # A sphere of 5 um: 1 uF and 0.005 mS a cm2.
    area_cm2 = np.pi * (5e-4) ** 2
    assert data.capacitance_pF.tolist() == pytest.approx([1e6 * area_cm2] * 302)
    assert data.leak_nS.tolist() == pytest.approx([5e3 * area_cm2] * 302)
    assert data.channel_nS[7].tolist() == pytest.approx([3e6 * area_cm2, 0.0711643917483308e6 * area_cm2, 3e6 * area_cm2])
    # c302 takes the D-type motor neurons for GABAergic; those listed have a synapse onto another neuron.
    assert [name for name, inhibits in zip(worm.neuron_name, data.inhibitory, strict=True) if inhibits] == sorted(
        {row["pre"] for row in rows if row["synapse"] == "chemical" and row["pre"][:2] in ("DD", "VD")}, key=worm.neuron_name.index
    )


def test_kunerts_rest_solves_the_equations() -> None:
    worm = Worm("kunert")
    data, table = worm.data, json.loads((FOLDER / "kunert.json").read_text())
    # Three of the 517 pairs are neurons with themselves.
    assert repr(worm) == "Worm(kunert, 279 neurons, 2194 chemical synapses, 514 gap junctions)"
    half = 1 / (1 + 2 * table["synapse"]["decay_per_ms"] / table["synapse"]["rise_per_ms"])
    rest = data.threshold_mV
    net = data.leak_nS * (-35 - rest)
    for (a, b), kind, conductance, reversal in zip(
        data.edge_index.T.tolist(), data.edge_type.tolist(), data.conductance_nS.tolist(), data.reversal_mV.tolist(), strict=True
    ):
        net[b] += conductance * (rest[a] - rest[b]) if kind else conductance * half * (reversal - rest[b])
    assert float(net.abs().max()) < 1e-12
    assert worm.initial_state().activation.tolist() == pytest.approx([half] * 279)


def test_any_connectome_and_its_rewirings_can_be_simulated() -> None:
    data = Connectome("witvliet2021-1", synapses="both")[0]
    edges = data.edge_weight.clone()
    for wiring in (data, Rewired(seed=0)(data)):
        worm = Worm.from_connectome(wiring)
        _, voltage = simulate(worm, torch.full((1, 100, 1), 5.0), [worm.neuron_name[0]], duration_ms=5.0)
        assert voltage.shape == (1, 100, data.num_nodes)
        assert torch.isfinite(voltage).all()
    assert torch.equal(data.edge_weight, edges)
    assert "conductance_nS" not in data


@pytest.mark.parametrize("name", MEMBRANES)
def test_ablation_takes_a_neuron_and_its_synapses_away(name: str) -> None:
    intact = Worm(name)
    worm = intact.without(["AVB", "DB1"])
    assert set(intact.neuron_name) - set(worm.neuron_name) == {"AVBL", "AVBR", "DB1"}
    assert len(intact.neuron_name) == len(Worm(name).neuron_name)
    # The same as leaving the neurons in, with every conductance of theirs at 0.
    cut = Worm(name)
    gone = torch.tensor([cut.neuron_name.index(neuron) for neuron in ("AVBL", "AVBR", "DB1")])
    touched = torch.isin(cut.data.edge_index, gone).any(0)
    cut.data.conductance_nS = cut.data.conductance_nS * ~touched
    assert worm.data.num_edges == int((~touched).sum())
    current = torch.full((1, 400, 2), 5.0, dtype=torch.float64)
    options = {"inputs": ["PLML", "PVCR"], "duration_ms": 20.0, "record": ["VB1", "PVR"]}
    _, expected = simulate(cut, current, **options)
    _, got = simulate(intact, current, ablate=["AVB", "DB1"], **options)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)


def test_neurons_of_no_class_are_ablated_by_name_and_strangers_refused() -> None:
    worm = Worm("c302-C1")
    assert "AVG" not in worm.without(["AVG"]).neuron_name
    assert len(worm.without(["VD"]).neuron_name) == 289
    with pytest.raises(ValueError, match="ablate: expected each neuron once, got 'AVBL' twice"):
        worm.without(["AVBL", "AVB"])
    with pytest.raises(ValueError, match="ablate: expected some neurons to be left"):
        worm.without(worm.neuron_name)
    with pytest.raises(TypeError, match=r"ablate: expected a list of neurons, got the string 'AVB'; write \['AVB'\]"):
        worm.without("AVB")


def test_refuses_unknown_names_and_broken_wirings() -> None:
    with pytest.raises(ValueError, match="name: expected one of c302-C1, c302-D1, kunert, got 'c302-C2'"):
        Worm("c302-C2")
    with pytest.raises(ValueError, match="membrane: expected one of c302-C1, c302-D1, kunert, got 'hodgkin'"):
        Worm.from_connectome(five(), "hodgkin")
    data = five()
    del data.inhibitory
    with pytest.raises(ValueError, match=r"data.inhibitory: expected 5 entries, one per neuron, got 0"):
        Worm.from_connectome(data)
    data = five()
    data.neuron_name = ["N0"]
    with pytest.raises(ValueError, match=r"data.neuron_name: expected 5 entries, one per neuron, got 1"):
        Worm.from_connectome(data)
    with pytest.raises(TypeError, match="expected the Data of one wiring"):
        Worm.from_connectome(None)  # type: ignore[arg-type]


def test_names_that_are_numbers_are_those_of_neurons() -> None:
    data = five()
    data.neuron_name = list("01234")
    worm = Worm.from_connectome(data)
    assert worm.resolve([3, 1], "inputs") == ["3", "1"]  # type: ignore[list-item]
    assert simulate(worm, torch.zeros(1, 4, 1), [3], 0.05, 0.2).voltage_mV.shape == (1, 4, 5)  # type: ignore[list-item]
    assert worm.without([3]).neuron_name == ["0", "1", "2", "4"]  # type: ignore[list-item]


def test_a_file_with_other_gates_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    table = json.loads((FOLDER / "c302-C1.json").read_text())
    table["channels"]["k_fast"]["gates"]["p"]["power"] = 3
    (tmp_path / "c302-C1.json").write_text(json.dumps(table))
    monkeypatch.setattr("elegans_pyg.dynamics.membrane.data_folder", lambda _: tmp_path)
    with pytest.raises(ValueError, match="channels: expected the gates and powers"):
        Membrane.load("c302-C1")


def test_without_where_there_are_as_many_synapses_as_neurons() -> None:
    """PyG then takes every attribute for one of nodes."""
    edge_index = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 4, 4]])
    wiring = Data(edge_index=edge_index, edge_weight=torch.arange(1.0, 6.0), num_nodes=5, inhibitory=torch.zeros(5, dtype=torch.bool))
    wiring.neuron_name = list("ABCDE")
    worm = Worm.from_connectome(as_wiring(wiring))
    worm.data.channel_nS = torch.arange(15.0, dtype=torch.float64).view(5, 3)
    data = worm.without(["B"]).data
    assert data.neuron_name == list("ACDE")
    assert data.edge_index.tolist() == [[1, 2, 0], [2, 3, 3]]
    assert data.edge_weight.tolist() == [3, 4, 5]
    assert torch.equal(data.conductance_nS, worm.data.conductance_nS[[2, 3, 4]])
    assert data.channel_nS[:, 0].tolist() == [0, 6, 9, 12]


def test_scaled_conductances_and_the_thresholds_that_follow() -> None:
    worm = Worm("kunert")
    before = worm.data.conductance_nS.clone()
    factors = torch.tensor([2.0, 3.0, 0.5, 1.5], dtype=torch.float64, requires_grad=True)
    scaled = worm.scaled(*factors)
    electrical = worm.data.edge_type == 1
    inhibits = worm.data.inhibitory[worm.data.edge_index[0]]
    ratio = (scaled.data.conductance_nS / worm.data.conductance_nS).detach()
    expected = torch.where(electrical, 0.5, torch.where(inhibits, 3.0, 2.0)).double()
    # A gap junction of a neuron with itself has no conductance.
    here = before > 0
    torch.testing.assert_close(ratio[here], expected[here])
    torch.testing.assert_close(scaled.data.leak_nS.detach(), 1.5 * worm.data.leak_nS)
    assert torch.equal(worm.data.conductance_nS, before)
    # At rest nothing flows: the thresholds are the potentials that a long simulation without input stays at.
    _, voltage = simulate(scaled, torch.zeros(1, 400, 1), [scaled.neuron_name[0]], 0.05, 20.0, backend="reference")
    torch.testing.assert_close(voltage[0, -1].double(), scaled.data.threshold_mV, rtol=1e-4, atol=1e-3)
    (slope,) = torch.autograd.grad(scaled.data.threshold_mV.sum(), factors)
    step = 1e-5 * torch.eye(4, dtype=torch.float64)
    for number, own in enumerate(step):
        ends = [worm.scaled(*(factors.detach() + sign * own)).data.threshold_mV.sum() for sign in (1, -1)]
        assert float(slope[number]) == pytest.approx(float((ends[0] - ends[1]) / 2e-5), rel=1e-4)
