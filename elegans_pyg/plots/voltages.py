"""Simulated voltages, and the circuits that they run through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from torch_geometric.data import Data

from elegans_pyg.neuron_types import NEURON_TYPES
from elegans_pyg.plots.style import HALO, INK, MUTED, RED, RULE, TYPE_COLOURS, Array, clean, numbers

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
        record: the recorded neurons' names.
        current_pA: ``(T, len(inputs))``; inputs with the same current share a line.
        inputs: the driven neurons' names.

    Raises:
        ValueError: if shapes do not go together.
    """
    time, voltage, current = numbers(time_ms), numbers(voltage_mV), numbers(current_pA)
    for name, values, width in (("voltage_mV", voltage, len(record)), ("current_pA", current, len(inputs))):
        if values.shape != (len(time), width) or not width or not len(time):
            raise ValueError(f"{name}: expected {(len(time), width)} numbers, at least one, got {values.shape}; give one stimulus")
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    styles = ("-", (0, (5, 1.5)), (0, (1, 1)))
    for row, name in enumerate(record):
        style = styles[row // len(_TRACE_COLOURS) % len(styles)]
        upper.plot(time, voltage[:, row], color=_TRACE_COLOURS[row % len(_TRACE_COLOURS)], ls=style, lw=1.5, label=name)
    upper.set_ylabel("membrane potential (mV)")
    upper.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, handlelength=1.6)
    groups: dict[bytes, list[int]] = {}
    for column in range(len(inputs)):
        groups.setdefault(np.ascontiguousarray(current[:, column]).tobytes(), []).append(column)
    # The voltage at a time is that of the end of a step, through which its current flows.
    edges = np.concatenate([[2 * time[0] - time[1] if len(time) > 1 else 0], time])
    for row, columns in enumerate(groups.values()):
        label = ", ".join(inputs[column] for column in columns)
        lower.stairs(
            current[:, columns[0]], edges, baseline=None, color=(INK, RED, MUTED)[row % 3], ls=styles[row // 3 % 3], lw=1.4, label=label
        )
    lower.set_ylabel("current (pA)")
    lower.set_xlabel("time (ms)")
    lower.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, handlelength=1.6)
    lower.set_xlim(edges[0], edges[-1])
    for axes in (upper, lower):
        clean(axes)
        axes.grid(axis="y", color=RULE, lw=0.6)
        axes.margins(y=0.08)
    return figure


def voltage_map(time_ms: Array, voltage_mV: Array, neuron_type: Array) -> Figure:
    """All voltages of one stimulus as a heat map, a row a neuron: neurons by type, and within a type by their mean voltage.

    Args:
        time_ms: ``(T,)``.
        voltage_mV: ``(T, N)``.
        neuron_type: ``(N,)``, positions in ``NEURON_TYPES``.

    Raises:
        ValueError: if shapes do not go together.
    """
    time, voltage, types = numbers(time_ms), numbers(voltage_mV), numbers(neuron_type)
    if voltage.shape != (len(time), len(types)) or not voltage.size:
        raise ValueError(f"voltage_mV: expected {(len(time), len(types))} numbers, at least one, got {voltage.shape}; give one stimulus")
    order = np.lexsort((-voltage.mean(0), types))
    # More columns than the figure has dots would only slow it down.
    every = max(1, len(time) // 1500)
    figure = Figure(figsize=(9, 6.6), layout="constrained")
    strip, axes = figure.subplots(1, 2, width_ratios=[1, 60])
    # The few driven neurons would leave all others one colour: what lies beyond a hundredth at either end gets the end's colour.
    low, high = (float(end) for end in np.quantile(voltage, (0.01, 0.99)))
    image = axes.imshow(
        voltage[::every, order].T,
        aspect="auto",
        interpolation="nearest",
        cmap="cividis",
        vmin=low,
        vmax=high if high > low else low + 1,
        extent=(0, float(time[-1]), len(types), 0),
    )
    figure.colorbar(image, ax=axes, label="membrane potential (mV)", pad=0.015, extend="both")
    ordered = types[order]
    lowest = -np.inf
    for index in np.unique(ordered):
        rows = np.flatnonzero(ordered == index)
        name = NEURON_TYPES[int(index)]
        strip.barh(rows.mean() + 0.5, 1, height=len(rows), color=TYPE_COLOURS[name], lw=0)
        # Small groups follow each other closely, and their names must not.
        lowest = max(rows.mean() + 0.5, lowest + len(types) / 28)
        strip.annotate(f"{name} ({len(rows)})", (-0.2, lowest), ha="right", va="center", fontsize=9, color=INK, annotation_clip=False)
        if rows[0]:
            axes.axhline(rows[0], color="white", lw=0.8)
    strip.set_ylim(len(types), 0)
    strip.set_xlim(0, 1)
    strip.axis("off")
    axes.set_yticks([])
    axes.set_xlabel("time (ms)")
    axes.spines[:].set_visible(False)
    return figure


def scenario_circuit(data: Data, inputs: Sequence[str], outputs: Sequence[str], between: int = 12) -> Figure:
    """The circuit of a scenario: driven neurons on the left, recorded ones on the right, between them those that join them best.

    A neuron joins, in two steps, as well as the smaller of two sums: weights of its edges from the inputs, and onto the outputs. Widths
    grow with the weights; edges between the neurons of one column are left out.

    Args:
        data: a wiring with ``neuron_name``, such as ``Worm.data``.
        inputs: names of the driven neurons.
        outputs: names of the recorded neurons.
        between: how many neurons to draw between them at most.

    Raises:
        ValueError: for a neuron that the wiring does not have, or no input or output.
    """
    names = [str(name) for name in data.neuron_name]
    for argument, given in (("inputs", inputs), ("outputs", outputs)):
        strangers = [name for name in given if name not in names]
        if strangers or not given:
            got = f"'{strangers[0]}'" if strangers else "none"
            raise ValueError(f"{argument}: expected neurons of the wiring's {len(names)}, got {got}; correct the names")
    number = {name: row for row, name in enumerate(names)}
    left = [number[name] for name in inputs]
    right = [number[name] for name in outputs if name not in inputs]
    source, target = numbers(data.edge_index)
    weight = numbers(data.edge_weight).astype(float)
    count = len(names)
    into = np.bincount(target[np.isin(source, left)], weight[np.isin(source, left)], minlength=count)
    onto = np.bincount(source[np.isin(target, right)], weight[np.isin(target, right)], minlength=count)
    joins = np.minimum(into, onto)
    joins[[*left, *right]] = 0
    middle = [int(row) for row in np.argsort(-joins, kind="stable")[:between] if joins[row] > 0]

    columns = (left, middle, right)
    place = {row: (x, 1 - (index + 0.5) / len(rows)) for x, rows in enumerate(columns) for index, row in enumerate(rows)}
    height = max(3.6, 0.42 * max(len(rows) for rows in columns) + 1.4)
    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(-0.25, 2.25)
    axes.set_ylim(-0.02, 1.06)
    axes.axis("off")
    legend = _draw_edges(axes, data, place, source, target, weight)
    types = numbers(data.neuron_type)
    for row, (x, y) in place.items():
        end = row in left or row in right
        axes.scatter(
            x, y, s=330, color=TYPE_COLOURS[NEURON_TYPES[int(types[row])]], edgecolors=INK if end else "white", linewidths=1.6, zorder=3
        )
        shift, align = ((-17, 0), "right") if x == 0 else ((17, 0), "left") if x == 2 else ((0, 0), "center")
        label = axes.annotate(
            names[row], (x, y), shift, textcoords="offset points", ha=align, va="center", fontsize=9 if end else 7, zorder=4
        )
        label.set_path_effects([*HALO])
    for x, text in ((0, "current flows in"), (1, f"{len(middle)} that join them best"), (2, "voltage recorded")):
        axes.annotate(text, (x, 1.04), ha="center", va="bottom", fontsize=10, color=MUTED, annotation_clip=False)
    drawn = sorted({int(types[row]) for row in place})
    handles = [Line2D([], [], marker="o", ls="", ms=9, color=TYPE_COLOURS[NEURON_TYPES[i]], label=NEURON_TYPES[i]) for i in drawn]
    handles += [Line2D([], [], color=colour, lw=1.6, ls=style, label=name) for name, (colour, style) in _EDGES.items() if name in legend]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9, handlelength=1.8)
    return figure


def _draw_edges(
    axes: Axes,
    data: Data,
    place: dict[int, tuple[int, float]],
    source: npt.NDArray[Any],
    target: npt.NDArray[Any],
    weight: npt.NDArray[np.float64],
) -> set[str]:
    """Draw the edges between columns; returns the kinds of edge that there are."""
    kind = numbers(data.edge_type)
    inhibits = numbers(data.inhibitory)
    drawn = [
        edge
        for edge in range(len(source))
        if source[edge] in place
        and target[edge] in place
        and place[source[edge]][0] != place[target[edge]][0]
        and (kind[edge] == 0 or source[edge] < target[edge])
    ]
    heaviest = max((float(weight[edge]) for edge in drawn), default=1.0)
    found: set[str] = set()
    for edge in drawn:
        begin, end = place[source[edge]], place[target[edge]]
        name = "gap junction" if kind[edge] == 1 else "inhibitory synapse" if inhibits[source[edge]] else "excitatory synapse"
        found.add(name)
        colour, style = _EDGES[name]
        # Edges that skip the middle bend round it, and those that lead back bend away from those that lead on.
        bend = 0.18 if abs(begin[0] - end[0]) == 2 else 0.06 if begin[0] < end[0] else 0.14
        axes.add_patch(
            FancyArrowPatch(
                begin,
                end,
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-" if kind[edge] == 1 else "-|>,head_length=4,head_width=2",
                linestyle=style,
                lw=0.5 + 2.5 * (float(weight[edge]) / heaviest) ** 0.5,
                color=colour,
                alpha=0.45,
                shrinkA=9,
                shrinkB=10,
                zorder=1,
            )
        )
    return found
