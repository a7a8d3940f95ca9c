"""Simulated voltages against time: curves of some neurons, and a map of all."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure

from elegans_pyg.plots.style import BARE, INK, MUTED, RED, TYPE_COLOURS, Array, canvas, checked, dress, numbers
from elegans_pyg.wirings import NEURON_TYPES

_TRACE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C6D31")
_STYLES = ("-", (0, (5, 1.5)), (0, (1, 1)))
# Names that a legend has below each other before it takes another column.
_TALLEST = 14


def voltage_traces(
    time_ms: Array, voltage_mV: Array, record: Sequence[str], current_pA: Array, inputs: Sequence[str], driven_mV: Array | None = None
) -> Figure:
    """Voltages of some neurons against time; below them those of the driven neurons, if given, and the currents that drive these.

    Args:
        time_ms: ``(T,)``.
        voltage_mV: ``(T, len(record))``, of one stimulus.
        current_pA: ``(T, len(inputs))``; inputs with the same current share a line.
        record, inputs: names of the recorded and of the driven neurons.
        driven_mV: ``(T, len(inputs))``.
    """
    time = numbers(time_ms)
    panels = [("recorded", checked("voltage_mV", voltage_mV, (len(time), len(record))), record)]
    current = checked("current_pA", current_pA, (len(time), len(inputs)))
    if driven_mV is not None:
        panels.append(("driven", checked("driven_mV", driven_mV, (len(time), len(inputs))), inputs))
    figure, axes = canvas(9, 3.4 + 2.2 * len(panels), len(panels) + 1, 1, sharex=True, height_ratios=[*[2.4] * len(panels), 1])
    for panel, (title, voltage, names) in zip(axes, panels, strict=False):
        for row, name in enumerate(names):
            # Left and right cells often coincide: of two such lines the later is dashed.
            style = _STYLES[(row // len(_TRACE_COLOURS) + row % 2) % len(_STYLES)]
            panel.plot(time, voltage[:, row], color=_TRACE_COLOURS[row % len(_TRACE_COLOURS)], ls=style, lw=1.5, label=name)
        dress(panel, f"{title} neurons", ylabel="membrane potential (mV)")
    groups: dict[bytes, list[int]] = {}
    for column in range(len(inputs)):
        groups.setdefault(np.ascontiguousarray(current[:, column]).tobytes(), []).append(column)
    # The voltage at a time is that of the end of a step, through which its current flows.
    edges = np.concatenate([[2 * time[0] - time[1] if len(time) > 1 else 0], time])
    for row, columns in enumerate(groups.values()):
        label = "\n".join([*(inputs[column] for column in columns), *(["(each)"] if len(columns) > 1 else [])])
        look = {"color": (INK, RED, MUTED)[row % 3], "ls": _STYLES[row // 3 % 3], "lw": 1.4}
        axes[-1].stairs(current[:, columns[0]], edges, baseline=None, label=label, **look)
    dress(axes[-1], "current into the driven neurons", ylabel="current (pA)", xlabel="time (ms)", xlim=(edges[0], edges[-1]))
    for panel in axes:
        ncols = -(-len(panel.get_legend_handles_labels()[1]) // _TALLEST)
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=ncols, **{**BARE, "handlelength": 1.6})
        panel.margins(y=0.08)
    return figure


def voltage_map(
    time_ms: Array, voltage_mV: Array, neuron_type: Array, neuron_name: Sequence[str] = (), named: Mapping[str, Sequence[str]] | None = None
) -> Figure:
    """All voltages of one stimulus as a heat map, one row per neuron: neurons by type, and within a type by their mean voltage.

    Args:
        time_ms: ``(T,)``.
        voltage_mV: ``(T, N)``.
        neuron_type: ``(N,)``, positions in ``NEURON_TYPES``.
        neuron_name: of the ``N`` neurons; needed with ``named``.
        named: neurons that have rows with their names above the map too, by their role, such as ``"driven"``.
    """
    time, types = numbers(time_ms), numbers(neuron_type)
    voltage = checked("voltage_mV", voltage_mV, (len(time), len(types)))
    names = [str(name) for name in neuron_name]
    rows = {what: [names.index(name) for name in wanted] for what, wanted in (named or {}).items() if wanted}
    # More columns than the figure has dots would only slow it down.
    every, norm = max(1, len(time) // 1500), voltage_norm(voltage)
    count = sum(map(len, rows.values()))
    extra = 0.2 * count + 0.35 * len(rows)
    panels = [*(0.2 * len(own) for own in rows.values()), 6.0]
    figure, grid = canvas(9, 6.9 + extra, len(panels), 2, width_ratios=[1, 60], height_ratios=panels, squeeze=False)
    image: Any = None
    for (strip, axes), (what, own) in zip(grid, rows.items(), strict=False):
        strip.axis("off")
        image = _heat(axes, time, voltage[::every, own], norm)
        axes.set_yticks(np.arange(len(own)) + 0.5, [names[row] for row in own], fontsize=8)
        axes.tick_params(length=0, labelbottom=False)
        axes.set_title(f"{what} neurons", loc="left", fontsize=10, color=MUTED)
    strip, axes = grid[-1]
    order = np.lexsort((-voltage.mean(0), types))
    image = _heat(axes, time, voltage[::every, order], norm)
    axes.set(xlabel="time (ms)", yticks=[])
    title = f"all {len(types)} neurons by type, within a type by mean voltage, the highest on top"
    axes.set_title(title, loc="left", fontsize=10, color=MUTED)
    _type_strip(strip, axes, types[order])
    bar = figure.colorbar(
        image, ax=grid[:, 1].tolist(), label="membrane potential (mV), on a scale that is not linear", pad=0.015, aspect=40
    )
    bar.set_ticks(voltage_ticks(norm))
    return figure


def voltage_norm(voltage: npt.NDArray[np.floating]) -> FuncNorm:
    """A colour scale from the lowest to the highest voltage: linear about the median, where most neurons are, and logarithmic far from it,
    so that the few driven neurons do not leave all others one colour."""
    middle = float(np.median(voltage))
    low, high = float(voltage.min()), float(voltage.max())
    if high - low < 1e-3:
        low, high = middle - 0.5, middle + 0.5
    width = max(float(np.quantile(np.abs(voltage - middle), 0.75)), (high - low) / 100)
    return FuncNorm((lambda v: np.arcsinh((np.asarray(v) - middle) / width), lambda c: np.sinh(c) * width + middle), low, high)


def voltage_ticks(norm: FuncNorm) -> list[float]:
    """Round voltages at about even distances along the colours of a :func:`voltage_norm`."""
    marks = norm.inverse(np.linspace(0, 1, 7))
    low, high = marks[0], marks[-1]
    digits = 0 if high - low > 10 else 1 if high - low > 1 else 3
    return sorted({float(mark) for mark in np.round(marks, digits) if low <= mark <= high})


def _heat(axes: Axes, time: npt.NDArray[np.floating], voltage: npt.NDArray[np.floating], norm: FuncNorm) -> Any:
    """Voltages ``(T, rows)`` as an image with time to the right."""
    axes.spines[:].set_visible(False)
    extent = (float(time[0]), float(time[-1]), voltage.shape[1], 0)
    return axes.imshow(voltage.T, aspect="auto", interpolation="nearest", extent=extent, cmap="cividis", norm=norm)


def _type_strip(strip: Axes, axes: Axes, types: npt.NDArray[np.integer]) -> None:
    """Colours and names of the types beside the rows of a map, and lines between them."""
    lowest = -np.inf
    for index in np.unique(types):
        rows = np.flatnonzero(types == index)
        name = NEURON_TYPES[int(index)]
        strip.barh(rows.mean() + 0.5, 1, height=len(rows), color=TYPE_COLOURS[name], lw=0)
        # Small groups follow each other closely, and their names must not.
        lowest = max(rows.mean() + 0.5, lowest + len(types) / 28)
        strip.annotate(f"{name} ({len(rows)})", (-0.2, lowest), ha="right", va="center", fontsize=9, color=INK, annotation_clip=False)
        if rows[0]:
            axes.axhline(rows[0], color="white", lw=0.8)
    strip.set(xlim=(0, 1), ylim=(len(types), 0))
    strip.axis("off")
