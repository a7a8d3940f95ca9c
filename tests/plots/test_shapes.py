from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from elegans_pyg.dynamics.cables import read_segments
from elegans_pyg.plots import neuron_shape


def test_every_segment_has_the_colour_of_its_voltage() -> None:
    shape = read_segments(["PLML"])
    voltage = np.linspace(-60, 20, 2 * len(shape.number)).reshape(2, -1)
    figure = neuron_shape(shape.proximal, shape.distal, voltage, [5.0, 10.0], "PLML")
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["5 ms", "10 ms"]
    for axes, values in zip(panels, voltage, strict=True):
        (lines,) = (each for each in axes.collections if isinstance(each, LineCollection))
        assert np.array_equal(np.sort(lines.get_array()), values)
        assert (lines.norm.vmin, lines.norm.vmax) == (-60, 20)
        ends = {tuple(end) for line in lines.get_segments() for end in line}
        assert ends == {tuple(point[1:3]) for points in (shape.proximal, shape.distal) for point in points}


def test_refuses_voltages_of_other_segments() -> None:
    shape = read_segments(["PLML"])
    with pytest.raises(ValueError, match=r"voltage_mV: expected \(1, \d+\) numbers"):
        neuron_shape(shape.proximal, shape.distal, np.zeros((1, 3)), [0.0], "PLML")
