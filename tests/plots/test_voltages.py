from __future__ import annotations

import numpy as np
import pytest
import torch

from elegans_pyg.plots import voltage_map, voltage_traces
from elegans_pyg.plots.voltages import voltage_norm, voltage_ticks


def test_traces_show_the_voltages_over_the_currents_that_inputs_share() -> None:
    time = np.arange(1, 101) * 0.5
    voltage = np.stack([np.sin(time), np.cos(time)], axis=1)
    current = torch.zeros(100, 3)
    current[20:, :2] = 2
    driven = voltage[:, [0, 0, 1]] * 10
    figure = voltage_traces(time, voltage, ["DB1", "VB1"], current, ["PLML", "PLMR", "AVBL"], driven)
    upper, between, lower = figure.axes
    assert [text.get_text() for text in upper.get_legend().get_texts()] == ["DB1", "VB1"]
    assert np.array_equal(upper.lines[1].get_ydata(), voltage[:, 1])
    assert [text.get_text() for text in between.get_legend().get_texts()] == ["PLML", "PLMR", "AVBL"]
    assert np.array_equal(between.lines[2].get_ydata(), driven[:, 2])
    # A current that flows into several neurons flows into each.
    assert [text.get_text() for text in lower.get_legend().get_texts()] == ["PLML\nPLMR\n(each)", "AVBL"]
    assert len(voltage_traces(time, voltage, ["DB1", "VB1"], current, ["PLML", "PLMR", "AVBL"]).axes) == 2
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
    names = [f"N{row}" for row in range(9)]
    figure = voltage_map(np.arange(1, 41), voltage, types, names, {"driven": ["N4", "N1"], "recorded": []})
    above, strip, below = figure.axes[1:4]
    assert [label.get_text() for label in above.get_yticklabels()] == ["N4", "N1"]
    assert np.array_equal(above.images[0].get_array(), voltage[:, [4, 1]].T)
    expected = sorted(range(9), key=lambda row: (int(types[row]), -voltage[:, row].mean()))
    assert np.array_equal(below.images[0].get_array(), voltage[:, expected].T)
    assert [text.get_text() for text in strip.texts] == ["sensory (3)", "inter (2)", "motor (3)", "other (1)"]
    assert "by type, within a type by mean voltage" in below.get_title(loc="left")


def test_colours_span_all_voltages_and_tell_the_common_ones_apart() -> None:
    voltage = np.concatenate([np.random.default_rng(0).normal(-45, 1, 3000), [30.0, 29.0]])
    norm = voltage_norm(voltage)
    assert (norm.vmin, norm.vmax) == (voltage.min(), voltage.max())
    assert float(norm(30)) == 1
    # On a linear scale these two would be 0.025 apart.
    assert float(norm(-44)) - float(norm(-46)) > 0.2
    ticks = voltage_ticks(norm)
    assert len(ticks) >= 5
    assert all(voltage.min() <= tick <= 30 for tick in ticks)
    flat = voltage_norm(np.full(5, -60.0))
    assert 0 < float(flat(-60)) < 1


def test_refuse_what_does_not_go_together() -> None:
    with pytest.raises(ValueError, match=r"voltage_mV: expected \(5, 1\) numbers, at least one, got \(4, 1\)"):
        voltage_traces(np.arange(5), np.zeros((4, 1)), ["A"], np.zeros((5, 1)), ["B"])
    with pytest.raises(ValueError, match=r"driven_mV: expected \(5, 1\)"):
        voltage_traces(np.arange(5), np.zeros((5, 1)), ["A"], np.zeros((5, 1)), ["B"], np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"current_pA: expected \(5, 2\)"):
        voltage_traces(np.arange(5), np.zeros((5, 1)), ["A"], np.zeros((5, 1)), ["B", "C"])
    with pytest.raises(ValueError, match=r"voltage_mV: expected \(5, 3\)"):
        voltage_map(np.arange(5), np.zeros((5, 2)), torch.zeros(3))
