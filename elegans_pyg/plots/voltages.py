"""Simulated voltages, and the circuits that they run through."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from torch_geometric.data import Data

from elegans_pyg.plots.style import BARE, HALO, INK, MUTED, RED, TYPE_COLOURS, Array, canvas, checked, dot, dress, numbers
from elegans_pyg.wirings import NEURON_TYPES

_TRACE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C6D31")
_EDGES: dict[str, tuple[str, Any]] = {
    "excitatory synapse": (INK, "-"),
    "inhibitory synapse": ("#0072B2", "-"),
    "gap junction": (MUTED, (0, (1, 1.5))),
}


def voltage_traces(time_ms: Array, voltage_mV: Array, record: Sequence[str], current_pA: Array, inputs: Sequence[str]) -> Figure:
    """Voltages of some neurons against time, with the currents that drive them below.

    Args:
        time_ms: ``(T,)``.
        voltage_mV: ``(T, len(record))``, of one stimulus.
        current_pA: ``(T, len(inputs))``; inputs with the same current share a line.
        record, inputs: names of the recorded and of the driven neurons.
    """
    time = numbers(time_ms)
    voltage = checked("voltage_mV", voltage_mV, (len(time), len(record)))
    current = checked("current_pA", current_pA, (len(time), len(inputs)))
    figure, (upper, lower) = canvas(9, 5.4, 2, 1, sharex=True, height_ratios=[3, 1])
    styles = ("-", (0, (5, 1.5)), (0, (1, 1)))
    for row, name in enumerate(record):
        style = styles[row // len(_TRACE_COLOURS) % len(styles)]
        upper.plot(time, voltage[:, row], color=_TRACE_COLOURS[row % len(_TRACE_COLOURS)], ls=style, lw=1.5, label=name)
    groups: dict[bytes, list[int]] = {}
    for column in range(len(inputs)):
        groups.setdefault(np.ascontiguousarray(current[:, column]).tobytes(), []).append(column)
    # The voltage at a time is that of the end of a step, through which its current flows.
    edges = np.concatenate([[2 * time[0] - time[1] if len(time) > 1 else 0], time])
    for row, columns in enumerate(groups.values()):
        label, colour = ", ".join(inputs[column] for column in columns), (INK, RED, MUTED)[row % 3]
        lower.stairs(current[:, columns[0]], edges, baseline=None, label=label, color=colour, ls=styles[row // 3 % 3], lw=1.4)
    lower.set(xlabel="time (ms)", xlim=(edges[0], edges[-1]))
    for axes, label in ((upper, "membrane potential (mV)"), (lower, "current (pA)")):
        dress(axes, ylabel=label)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), **{**BARE, "handlelength": 1.6})
        axes.margins(y=0.08)
    return figure


def voltage_map(time_ms: Array, voltage_mV: Array, neuron_type: Array) -> Figure:
    """All voltages ``(T, N)`` of one stimulus as a heat map, a row a neuron: neurons by type, and within a type by their mean voltage.
    ``time_ms`` is ``(T,)``; ``neuron_type (N,)`` holds positions in ``NEURON_TYPES``."""
    time, types = numbers(time_ms), numbers(neuron_type)
    voltage = checked("voltage_mV", voltage_mV, (len(time), len(types)))
    order = np.lexsort((-voltage.mean(0), types))
    # More columns than the figure has dots would only slow it down.
    every = max(1, len(time) // 1500)
    figure, (strip, axes) = canvas(9, 6.6, 1, 2, width_ratios=[1, 60])
    # The few driven neurons would leave all others one colour: what lies beyond a hundredth at either end gets the end's colour.
    low, high = (float(end) for end in np.quantile(voltage, (0.01, 0.99)))
    scale = {"cmap": "cividis", "vmin": low, "vmax": high if high > low else low + 1}
    extent = (0, float(time[-1]), len(types), 0)
    image = axes.imshow(voltage[::every, order].T, aspect="auto", interpolation="nearest", extent=extent, **scale)
    figure.colorbar(image, ax=axes, label="membrane potential (mV)", pad=0.015, extend="both")
    lowest = -np.inf
    for index in np.unique(types):
        rows = np.flatnonzero(types[order] == index)
        name = NEURON_TYPES[int(index)]
        strip.barh(rows.mean() + 0.5, 1, height=len(rows), color=TYPE_COLOURS[name], lw=0)
        # Small groups follow each other closely, and their names must not.
        lowest = max(rows.mean() + 0.5, lowest + len(types) / 28)
        strip.annotate(f"{name} ({len(rows)})", (-0.2, lowest), ha="right", va="center", fontsize=9, color=INK, annotation_clip=False)
        if rows[0]:
            axes.axhline(rows[0], color="white", lw=0.8)
    strip.set(xlim=(0, 1), ylim=(len(types), 0))
    strip.axis("off")
    axes.set(xlabel="time (ms)", yticks=[])
    axes.spines[:].set_visible(False)
    return figure


def scenario_circuit(data: Data, inputs: Sequence[str], outputs: Sequence[str], between: int = 12) -> Figure:
    """The circuit of a scenario: driven neurons on the left, recorded ones on the right, between them those that join them best.

    A neuron joins, in two steps, as well as the smaller of two sums: weights of its edges from the inputs, and onto the outputs. Widths
    grow with the weights; edges between the neurons of one column are left out.

    Args:
        data: a wiring with ``neuron_name``, such as ``Worm.data``.
        inputs, outputs: names of the driven and of the recorded neurons.
        between: how many neurons to draw between them at most.
    """
    names = [str(name) for name in data.neuron_name]
    for argument, given in (("inputs", inputs), ("outputs", outputs)):
        unknown = [name for name in given if name not in names]
        if unknown or not given:
            got = f"'{unknown[0]}'" if unknown else "none"
            raise ValueError(f"{argument}: expected neurons of the wiring's {len(names)}, got {got}; correct the names")
    left = [names.index(name) for name in inputs]
    right = [names.index(name) for name in outputs if name not in inputs]
    source, target = numbers(data.edge_index)
    weight = numbers(data.edge_weight).astype(float)
    into = np.bincount(target, weight * np.isin(source, left), minlength=len(names))
    onto = np.bincount(source, weight * np.isin(target, right), minlength=len(names))
    joins = np.minimum(into, onto)
    joins[[*left, *right]] = 0
    middle = [int(row) for row in np.argsort(-joins, kind="stable")[:between] if joins[row] > 0]

    columns = (left, middle, right)
    place = {row: (x, 1 - (index + 0.5) / len(rows)) for x, rows in enumerate(columns) for index, row in enumerate(rows)}
    figure, axes = canvas(9, max(3.6, 0.42 * max(map(len, columns)) + 1.4))
    axes.set(xlim=(-0.25, 2.25), ylim=(-0.02, 1.06))
    axes.axis("off")
    legend = _draw_edges(axes, data, place)
    types = numbers(data.neuron_type)
    for row, (x, y) in place.items():
        end = row in left or row in right
        colour = TYPE_COLOURS[NEURON_TYPES[int(types[row])]]
        axes.scatter(x, y, s=330, color=colour, edgecolors=INK if end else "white", linewidths=1.6, zorder=3)
        shift, align = ((-17, 0), "right") if x == 0 else ((17, 0), "left") if x == 2 else ((0, 0), "center")
        look: dict[str, Any] = {"ha": align, "va": "center", "fontsize": 9 if end else 7, "zorder": 4, "path_effects": HALO}
        axes.annotate(names[row], (x, y), shift, textcoords="offset points", **look)
    for x, text in ((0, "current flows in"), (1, f"{len(middle)} that join them best"), (2, "voltage recorded")):
        axes.annotate(text, (x, 1.04), ha="center", va="bottom", fontsize=10, color=MUTED, annotation_clip=False)
    handles = [dot(TYPE_COLOURS[NEURON_TYPES[i]], NEURON_TYPES[i], 9) for i in sorted({int(types[row]) for row in place})]
    handles += [Line2D([], [], color=colour, lw=1.6, ls=style, label=name) for name, (colour, style) in _EDGES.items() if name in legend]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), **{**BARE, "handlelength": 1.8})
    return figure


def _draw_edges(axes: Axes, data: Data, place: dict[int, tuple[int, float]]) -> set[str]:
    """Draw the edges between columns; returns the kinds of edge that there are."""
    inhibits = numbers(data.inhibitory)
    edges = zip(*(numbers(values).tolist() for values in (*data.edge_index, data.edge_type, data.edge_weight)), strict=True)
    # A gap junction is stored in both directions, and drawn in one.
    drawn = [
        (source, target, kind, weight)
        for source, target, kind, weight in edges
        if source in place and target in place and place[source][0] != place[target][0] and (kind == 0 or source < target)
    ]
    heaviest = max((float(weight) for *_, weight in drawn), default=1.0)
    found: set[str] = set()
    for source, target, kind, weight in drawn:
        begin, end = place[source], place[target]
        name = "gap junction" if kind == 1 else "inhibitory synapse" if inhibits[source] else "excitatory synapse"
        found.add(name)
        colour, style = _EDGES[name]
        # Edges that skip the middle bend round it, and those that lead back bend away from those that lead on.
        bend = 0.18 if abs(begin[0] - end[0]) == 2 else 0.06 if begin[0] < end[0] else 0.14
        width, tip = 0.5 + 2.5 * (weight / heaviest) ** 0.5, "-" if kind == 1 else "-|>,head_length=4,head_width=2"
        shape: dict[str, Any] = {"arrowstyle": tip, "connectionstyle": f"arc3,rad={bend}", "shrinkA": 9, "shrinkB": 10}
        axes.add_patch(FancyArrowPatch(begin, end, lw=width, ls=style, color=colour, alpha=0.45, zorder=1, **shape))
    return found
