from __future__ import annotations

import pytest
from matplotlib.patches import PathPatch

from elegans_pyg.dynamics import Worm
from elegans_pyg.plots import scenario_circuit
from tests.dynamics.circuits import circuit


def test_circuit_draws_inputs_outputs_and_the_best_joins() -> None:
    # N0 drives; N3 is recorded; N1 joins them with 3, N2 with 1; N4 leads nowhere.
    edges = [(0, 1, 3.0, 0), (1, 3, 5.0, 0), (0, 2, 9.0, 0), (2, 3, 1.0, 1), (0, 4, 20.0, 0)]
    data = circuit(edges, [False, True, False, False, False])
    figure = scenario_circuit(data, ["N0"], ["N3"])
    chemical, electrical = figure.axes
    for axes in figure.axes:
        height = {text.get_text(): text.xy for text in axes.texts}
        assert {name for name in height if name.startswith("N")} == {"N0", "N1", "N2", "N3"}
        assert (height["N0"][0], height["N3"][0]) == (0, 2)
        assert height["N1"][1] > height["N2"][1]
    curves = [[patch for patch in axes.patches if isinstance(patch, PathPatch)] for axes in figure.axes]
    assert [len(own) for own in curves] == [3, 1]
    # Each chemical synapse has an arrow, and a gap junction has none.
    assert [sum(getattr(text, "arrow_patch", None) is not None for text in axes.texts) for axes in figure.axes] == [3, 0]
    heaviest = max(curves[0], key=lambda patch: patch.get_linewidth())
    assert tuple(heaviest.get_path().vertices[-1]) == {text.get_text(): text.xy for text in chemical.texts}["N2"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-6:] == ["excitatory synapse", "inhibitory synapse", "gap junction", "weight 1", "weight 2", "weight 9"]
    fewer = scenario_circuit(data, ["N0"], ["N3"], between=1)
    assert {text.get_text() for text in fewer.axes[0].texts if text.get_text().startswith("N")} == {"N0", "N1", "N3"}
    assert electrical.get_title() == "gap junctions"


def test_circuit_of_a_worm() -> None:
    figure = scenario_circuit(Worm("c302-C1").data, ["PLML", "PLMR", "AVBL", "AVBR"], ["DB1", "LUAL", "PVR", "VB1"])
    names = {text.get_text() for text in figure.axes[0].texts}
    assert {"PLML", "AVBR", "DB1", "PVCR"} <= names


def test_refuses_neurons_that_are_not_there() -> None:
    data = circuit([(0, 1, 1.0, 0)], [False, False])
    with pytest.raises(ValueError, match="outputs: expected neurons of the wiring's 2, got 'N7'"):
        scenario_circuit(data, ["N0"], ["N7"])
    with pytest.raises(ValueError, match="inputs: expected neurons of the wiring's 2, got none"):
        scenario_circuit(data, [], ["N1"])
