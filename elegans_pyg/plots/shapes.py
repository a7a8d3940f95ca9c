"""One neuron's shape, coloured by voltage."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from elegans_pyg.plots.style import INK, MUTED, Array, canvas, checked, dress, numbers


def neuron_shape(proximal: Array, distal: Array, voltage_mV: Array, time_ms: Sequence[float], name: str) -> Figure:
    """One neuron from the side, coloured by the voltage of each segment: one panel per moment, all with one scale of colours.

    The head is to the left and the belly below; the two directions have scales of their own, since neurons are up to a hundred times longer
    than high. Lines are wider where the neuron is thicker, and the disc is the soma.

    Args:
        proximal, distal: ``(G, 4)``; x, y, z and diameter of the segments' ends in um, the soma first, as in ``Worm.segments``.
        voltage_mV: ``(T, G)``; ``time_ms``: the ``T`` moments, a few.
        name: the neuron's.
    """
    begin, end = numbers(proximal), numbers(distal)
    voltage = checked("voltage_mV", voltage_mV, (len(time_ms), len(begin)))
    figure, grid = canvas(9, 1.0 + 1.4 * len(time_ms), len(time_ms), 1, squeeze=False, sharex=True, sharey=True)
    lines = np.stack([begin[:, [1, 2]], end[:, [1, 2]]], axis=1)
    width = np.clip(2 + 2.5 * (begin[:, 3] + end[:, 3]) / 2, 0, 6)
    scale: dict[str, Any] = {"cmap": "cividis", "norm": Normalize(float(voltage.min()), float(voltage.max()))}
    for axes, moment, values in zip(grid[:, 0], time_ms, voltage, strict=True):
        # Where lines cross, the highest voltage is on top.
        order = np.argsort(values)
        axes.add_collection(LineCollection(list(lines[order]), array=values[order], linewidths=width[order], capstyle="round", **scale))
        soma = axes.scatter(*lines[0, 0], c=[values[0]], s=90, edgecolors=INK, linewidths=0.8, zorder=3, **scale)
        axes.margins(0.03, 0.2)
        dress(axes, f"{moment:g} ms", grid=None, ylabel="height (um)")
    dress(grid[-1, 0], grid=None, xlabel="along the body (um)")
    figure.suptitle(f"{name}: {len(begin):,} segments", fontsize=11, color=MUTED)
    figure.colorbar(soma, ax=list(grid[:, 0]), label="membrane potential (mV)", pad=0.015)
    return figure
