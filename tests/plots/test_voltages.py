from __future__ import annotations

import numpy as np
import pytest
import torch

from elegans_pyg.dynamics import Worm
from elegans_pyg.plots import scenario_circuit, voltage_map, voltage_traces
from tests.dynamics.circuits import circuit


def test_traces_show_the_voltages_over_the_currents_that_inputs_share() -> None:
    time = np.arange(1, 101) * 0.5
    voltage = np.stack([np.sin(time), np.cos(time)], axis=1)
    current = torch.zeros(100, 3)
    current[20:, :2] = 2
    figure = voltage_traces(time, voltage, ["DB1", "VB1"], current, ["PLML", "PLMR", "AVBL"])
    upper, lower = figure.axes
    assert [text.get_text() for text in upper.get_legend().get_texts()] == ["DB1", "VB1"]
    assert np.array_equal(upper.lines[1].get_ydata(), voltage[:, 1])
    assert [text.get_text() for text in lower.get_legend().get_texts()] == ["PLML, PLMR", "AVBL"]
    # The current of step t flows until the time of that step's voltage.
    stairs = lower.patches[0].get_data()
    assert stairs.edges[0] == 0
    assert stairs.edges[20] == time[19]
    assert stairs.values[19] == 0
    assert stairs.values[20] == 2


def test_map_orders_neurons_by_type_and_by_voltage() -> None:
    generator = np.random.default_rng(0)
    voltage = generator.normal(size=(40, 9))
    types = torch.tensor([2, 0, 1, 0, 2, 5, 1, 0, 2])
    figure = voltage_map(np.arange(1, 41), voltage, types)
    shown = figure.axes[1].images[0].get_array()
    expected = sorted(range(9), key=lambda row: (int(types[row]), -voltage[:, row].mean()))
    assert np.array_equal(shown, voltage[:, expected].T)
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels == ["sensory (3)", "inter (2)", "motor (3)", "other (1)"]


def test_circuit_draws_inputs_outputs_and_the_best_joins() -> None:
    # N0 drives; N3 is recorded; N1 joins them with 3, N2 with 1; N4 leads nowhere.
    edges = [(0, 1, 3.0, 0), (1, 3, 5.0, 0), (0, 2, 9.0, 0), (2, 3, 1.0, 1), (0, 4, 20.0, 0)]
    data = circuit(edges, [False, True, False, False, False])
    figure = scenario_circuit(data, ["N0"], ["N3"])
    axes = figure.axes[0]
    height = {text.get_text(): text.xy for text in axes.texts}
    assert {name for name in height if name.startswith("N")} == {"N0", "N1", "N2", "N3"}
    assert height["N0"][0] == 0
    assert height["N3"][0] == 2
    assert height["N1"][1] > height["N2"][1]
    assert len(axes.patches) == 4
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-3:] == ["excitatory synapse", "inhibitory synapse", "gap junction"]
    fewer = scenario_circuit(data, ["N0"], ["N3"], between=1)
    assert {text.get_text() for text in fewer.axes[0].texts if text.get_text().startswith("N")} == {"N0", "N1", "N3"}


def test_circuit_of_a_worm() -> None:
    figure = scenario_circuit(Worm("c302-C1").data, ["PLML", "PLMR", "AVBL", "AVBR"], ["DB1", "LUAL", "PVR", "VB1"])
    names = {text.get_text() for text in figure.axes[0].texts}
    assert {"PLML", "AVBR", "DB1", "PVCR"} <= names


def test_refuse_what_does_not_go_together() -> None:
    with pytest.raises(ValueError, match=r"voltage_mV: expected \(5, 1\) numbers, at least one, got \(4, 1\)"):
        voltage_traces(np.arange(5), np.zeros((4, 1)), ["A"], np.zeros((5, 1)), ["B"])
    with pytest.raises(ValueError, match=r"current_pA: expected \(5, 2\)"):
        voltage_traces(np.arange(5), np.zeros((5, 1)), ["A"], np.zeros((5, 1)), ["B", "C"])
    with pytest.raises(ValueError, match=r"voltage_mV: expected \(5, 3\)"):
        voltage_map(np.arange(5), np.zeros((5, 2)), torch.zeros(3))
    data = circuit([(0, 1, 1.0, 0)], [False, False])
    with pytest.raises(ValueError, match="outputs: expected neurons of the wiring's 2, got 'N7'"):
        scenario_circuit(data, ["N0"], ["N7"])
    with pytest.raises(ValueError, match="inputs: expected neurons of the wiring's 2, got none"):
        scenario_circuit(data, [], ["N1"])
