"""The circuits that signals run through, from driven to recorded neurons."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from torch_geometric.data import Data

from elegans_pyg.plots.style import BARE, HALO, INK, MUTED, TYPE_COLOURS, canvas, dot, numbers
from elegans_pyg.wirings import ELECTRICAL, NEURON_TYPES

_EXCITATORY, _INHIBITORY, _GAP = INK, "#0072B2", "#8C6D31"
# Where along an edge its arrow stands: past the middle, and short of the crowd about the neuron that it leads to.
_ARROW = 0.64


def scenario_circuit(data: Data, inputs: Sequence[str], outputs: Sequence[str], between: int = 12) -> Figure:
    """The circuit of a scenario, once with its chemical synapses and once with its gap junctions: driven neurons on the left, recorded ones
    on the right, between them the neurons that connect them most strongly.

    A neuron's strength as a connection of two steps is the smaller of two sums: the weights of its edges from the inputs, and those onto
    the outputs. Widths grow with the square root of the weight; edges between the neurons of one column are left out.

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
    columns = _columns(data, [names.index(name) for name in inputs], [names.index(name) for name in outputs if name not in inputs], between)
    place = {row: (x, 1 - (index + 0.5) / len(rows)) for x, rows in enumerate(columns) for index, row in enumerate(rows)}
    edges = _edges(data, place)
    heaviest = max((weight for *_, weight in edges), default=1.0)
    figure, panels = canvas(12, max(3.8, 0.36 * max(map(len, columns)) + 1.8), 1, 2)
    types = [NEURON_TYPES[int(index)] for index in numbers(data.neuron_type)]
    used: dict[str, str] = {}
    for axes, title, electrical in ((panels[0], "chemical synapses", False), (panels[1], "gap junctions", True)):
        axes.set(xlim=(-0.35, 2.35), ylim=(-0.02, 1.08))
        axes.axis("off")
        axes.set_title(title, fontsize=11, color=INK)
        for source, target, kind, weight in edges:
            if (kind == ELECTRICAL) == electrical:
                name = "gap junction" if electrical else "inhibitory synapse" if data.inhibitory[source] else "excitatory synapse"
                used[name] = {"gap junction": _GAP, "inhibitory synapse": _INHIBITORY}.get(name, _EXCITATORY)
                _draw_edge(axes, place[source], place[target], used[name], _width(weight, heaviest), arrow=not electrical)
        for row, (x, y) in place.items():
            axes.scatter(x, y, s=90, color=TYPE_COLOURS[types[row]], edgecolors="white", linewidths=1.0, zorder=3)
            shift, align = ((-9, 0), "right") if x == 0 else ((9, 0), "left")
            look: dict[str, Any] = {"ha": align, "va": "center", "fontsize": 9, "zorder": 4, "path_effects": HALO}
            axes.annotate(names[row], (x, y), shift, textcoords="offset points", **look)
        for x, text in enumerate(("current flows in", f"the {len(columns[1])} strongest between", "voltage recorded")):
            axes.annotate(text, (x, 1.03), ha="center", va="bottom", fontsize=9, color=MUTED, annotation_clip=False)
    handles = [dot(TYPE_COLOURS[kind], kind, 8) for kind in NEURON_TYPES if any(types[row] == kind for row in place)]
    handles += [Line2D([], [], color=colour, lw=2, label=name) for name, colour in used.items()]
    for weight in sorted({1.0, max(1.0, round(heaviest / 4)), heaviest}):
        handles.append(Line2D([], [], color=MUTED, lw=_width(weight, heaviest), label=f"weight {weight:g}"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), **{**BARE, "handlelength": 1.8, "columnspacing": 1.4})
    return figure


def _columns(data: Data, left: list[int], right: list[int], between: int) -> tuple[list[int], list[int], list[int]]:
    """Driven neurons, those between, and recorded ones."""
    source, target = numbers(data.edge_index)
    weight, number = numbers(data.edge_weight).astype(float), len(data.neuron_name)
    into = np.bincount(target, weight * np.isin(source, left), minlength=number)
    onto = np.bincount(source, weight * np.isin(target, right), minlength=number)
    joins = np.minimum(into, onto)
    joins[[*left, *right]] = 0
    return left, [int(row) for row in np.argsort(-joins, kind="stable")[:between] if joins[row] > 0], right


def _edges(data: Data, place: dict[int, tuple[int, float]]) -> list[tuple[int, int, int, float]]:
    """Source, target, kind and weight of the edges between columns; a gap junction, which is stored in both directions, once."""
    edges = zip(*(numbers(values).tolist() for values in (*data.edge_index, data.edge_type, data.edge_weight)), strict=True)
    return [
        (source, target, kind, float(weight))
        for source, target, kind, weight in edges
        if source in place and target in place and place[source][0] != place[target][0] and (kind != ELECTRICAL or source < target)
    ]


def _width(weight: float, heaviest: float) -> float:
    return 0.5 + 3.0 * (weight / heaviest) ** 0.5


def _draw_edge(axes: Axes, begin: tuple[int, float], end: tuple[int, float], colour: str, width: float, arrow: bool) -> None:
    """A curve between two neurons: those that skip the middle bend round it, and those that lead back bend to the other side."""
    p0, p1 = np.array(begin, float), np.array(end, float)
    bend = (0.16 if abs(begin[0] - end[0]) == 2 else 0.05) * (1 if begin[0] < end[0] else -1.6)
    middle = (p0 + p1) / 2 + np.array([0.0, bend])
    curve = Path([p0, middle, p1], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
    axes.add_patch(PathPatch(curve, fill=False, lw=width, edgecolor=colour, alpha=0.4, zorder=1, capstyle="round"))
    if arrow:
        ends = [(1 - t) ** 2 * p0 + 2 * t * (1 - t) * middle + t**2 * p1 for t in (_ARROW - 0.02, _ARROW + 0.02)]
        look = {"arrowstyle": "-|>", "color": colour, "lw": 0, "mutation_scale": 6 + 2.2 * width, "alpha": 0.85}
        axes.annotate("", ends[1], ends[0], arrowprops=look, zorder=2)
