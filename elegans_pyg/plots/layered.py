"""Wirings drawn level by level."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from torch_geometric.data import Data

from elegans_pyg.analysis.simple_graph import Floats, Ints
from elegans_pyg.plots.layout import LayeredLayout, layered_layout
from elegans_pyg.plots.style import HALO, INK, TYPE_COLOURS, dot, dress, numbers
from elegans_pyg.wirings import NEURON_TYPES

Box = tuple[float, float, float, float]
CROWDED = 1_000
"""Neurons from which on dots are small, levels are folded into higher columns and no names are written."""
MOST_EDGES = 20_000
"""Edges drawn at most, the strongest: more would cover each other, and take half a minute to draw."""


def layered_dag(data: Data, hubs: int = 10) -> Figure:
    """A DAG from its input neurons (left) to the deepest level (right), coloured by neuron type as in figures 1 and 2 of Park & Kim 2023,
    with the number of neurons per level below.

    Dots grow with the number of edges; outputs (no outgoing edge) are ringed; edges have the colour of the neuron they leave, and are
    broader for more synaptic contacts; the more edges, the thinner and fainter. A crowded level is folded into several columns. From 1,000
    neurons on, dots are smaller and unnamed, and the edges are an image in the SVG too, which keeps the file small; of more than 20,000
    edges, those of most contacts are drawn, as the title says.

    Args:
        data: a DAG ``Data`` with ``edge_index``, ``level``, ``neuron_type``, ``output_mask``, and where given ``neuron_name`` (for the
            labels) and ``edge_weight`` (for the edges' widths). Neurons without a level are counted, not drawn.
        hubs: number of best-connected neurons named beside the outputs.
    """
    for name in ("edge_index", "level", "neuron_type", "output_mask"):
        if data.get(name) is None:
            got = ", ".join(data.keys()) or "nothing"
            raise ValueError(f"data must have {name!r}, got {got}; build the DAG with ConstrainedDAG or RandomDAG")
    level, types = numbers(data.level), numbers(data.neuron_type)
    output = numbers(data.output_mask).astype(bool) & (level >= 0)
    edges = numbers(data.edge_index)
    kept = (level[edges] >= 0).all(axis=0)
    edges = edges[:, kept]
    weights = np.ones(edges.shape[1]) if data.get("edge_weight") is None else numbers(data.edge_weight)[kept]
    placed = level >= 0
    crowded = int(placed.sum()) >= CROWDED
    layout = layered_layout(level, edges, types, rows=round(24 * (placed.sum() / 400) ** 0.5) if crowded else 24)
    degree = np.bincount(edges.ravel(), minlength=len(level))
    colours = np.array([to_rgba(TYPE_COLOURS[name]) for name in NEURON_TYPES])

    width = float(np.clip(2.5 + 0.19 * layout.right[-1], 7, 13 if crowded else 22))
    figure = Figure(figsize=(width, float(np.clip(0.75 * width, 5.5, 8.6))), layout=ConstrainedLayoutEngine(h_pad=0.06, hspace=0.02))
    graph, profile = figure.subplots(2, 1, sharex=True, height_ratios=[6.6, 1])
    strongest = np.argsort(-np.abs(weights), kind="stable")[:MOST_EDGES]
    drawn = edges[:, strongest]
    lines = _draw_edges(graph, _curves(layout, drawn), colours[types[drawn[0]]], weights[strongest])
    lines.set_rasterized(crowded)
    sizes = (0.15 if crowded else 1) * (16 + 120 * degree / max(degree.max(initial=0), 1))
    for index, name in enumerate(NEURON_TYPES):
        for mask, edge, rim in ((~output, "white", 0.15 if crowded else 0.6), (output, INK, 0.5 if crowded else 1.4)):
            chosen = placed & mask & (types == index)
            if chosen.any():
                look = {"color": TYPE_COLOURS[name], "edgecolors": edge, "linewidths": rim, "zorder": 3}
                graph.scatter(layout.x[chosen], layout.y[chosen], s=sizes[chosen], **look)
    graph.set(xlim=(layout.left[0] - 0.4, layout.right[-1] + 0.4), ylim=(-0.02, 1.02))
    graph.axis("off")
    present = np.unique(types[placed]).tolist()
    handles = [dot(TYPE_COLOURS[NEURON_TYPES[i]], f"{NEURON_TYPES[i]} ({(placed & (types == i)).sum()})") for i in present]
    handles.append(dot("white", f"output ({output.sum()})", mec=INK, mew=1.4))
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": len(handles)}
    graph.legend(handles=handles, frameon=False, fontsize=10, handletextpad=0.2, **place)
    missing = "" if placed.all() else f"; {(~placed).sum()} that no input reaches not drawn"
    some = "" if drawn.shape == edges.shape else f" (the {drawn.shape[1]:,} of most contacts drawn)"
    title = f"{placed.sum():,} neurons, {edges.shape[1]:,} edges{some}, {len(layout.left)} levels{missing}"
    graph.set_title(title, loc="left", fontsize=11, color=INK, pad=26)
    _level_profile(profile, layout, level, types, present)
    if data.get("neuron_name") is not None and not crowded:
        best = np.argsort(-degree, kind="stable")[:hubs]
        named = sorted({*np.flatnonzero(output).tolist(), *best[degree[best] > 0].tolist()}, key=lambda node: (-degree[node], node))
        _label_nodes(figure, graph, layout, named, sizes, [str(name) for name in data.neuron_name])
    return figure


def _draw_edges(axes: Axes, curves: Floats, shade: Floats, weights: Floats) -> PathCollection:
    """Weak edges first, strong ones broader and less transparent; all of them thinner and more transparent where there are thousands."""
    strength = np.sqrt(np.abs(weights) / max(np.abs(weights).max(initial=0), 1e-12))
    thin = min(1.0, (4000 / max(len(curves), 1)) ** 0.5)
    shade[:, 3] = np.clip(250 / max(len(curves), 1), 0.08 * thin, 0.5) + 0.22 * thin * strength
    order = np.argsort(strength, kind="stable")
    codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    paths = [Path(curve, codes) for curve in curves[order]]
    look = {"facecolors": "none", "edgecolors": shade[order], "linewidths": (thin * (0.35 + 1.3 * strength))[order]}
    lines = PathCollection(paths, zorder=1, **look)
    axes.add_collection(lines, autolim=False)
    return lines


def _level_profile(axes: Axes, layout: LayeredLayout, level: Ints, types: Ints, present: list[int]) -> None:
    widths = np.bincount(level[level >= 0])
    ceiling = int(widths.max())
    if len(widths) > 1 and ceiling > 3 * np.sort(widths)[-2]:
        ceiling = int(np.sort(widths)[-2]) * 2  # one crowded level would flatten all the others: cut its bar and write its width
    bottom = np.zeros(len(widths))
    for index in present:
        heights = np.bincount(level[(level >= 0) & (types == index)], minlength=len(widths))
        colour, width = TYPE_COLOURS[NEURON_TYPES[index]], layout.right - layout.left - 0.16
        axes.bar(layout.left + 0.08, heights, width, bottom=bottom, align="edge", color=colour)
        bottom += heights
    for depth in np.flatnonzero(widths > ceiling):
        middle = (layout.left[depth] + layout.right[depth]) / 2
        axes.text(middle, ceiling, f"{widths[depth]} ↑", ha="center", va="top", fontsize=8.5, color=INK, path_effects=HALO)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, len(widths)) if len(widths) / step <= 15)
    ticks = np.arange(0, len(widths), step)
    axes.set_xticks((layout.left + layout.right)[ticks] / 2, ticks)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    dress(axes, grid=None, xlabel="level", ylabel="neurons", ylim=(0, ceiling * 1.04))


def _curves(layout: LayeredLayout, edges: Ints) -> Floats:
    """The control points ``(E, 4, 2)`` of edges as cubic Bézier curves that leave and arrive level."""
    x0, x1 = layout.x[edges][:, :, None]
    y0, y1 = layout.y[edges][:, :, None]
    middle = (x0 + x1) / 2
    return np.stack([np.hstack([x0, middle, middle, x1]), np.hstack([y0, y0, y1, y1])], axis=-1)


def _label_nodes(figure: Figure, axes: Axes, layout: LayeredLayout, nodes: list[int], sizes: Floats, names: list[str]) -> None:
    """Names beside their dots, each where it covers least of the names already there and of all dots."""
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    dots = axes.transData.transform(np.column_stack([layout.x, layout.y])) * scale
    dots = np.where(np.isnan(dots), 1e9, dots)
    area = axes.get_window_extent()
    radius = np.sqrt(sizes) / 2
    taken: list[Box] = []
    for node in nodes:
        width, height = 5.0 * len(names[node]) + 1, 8.0
        reach = radius[node] + 2
        choices = []
        for rank, (dx, dy) in enumerate(((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))):
            cx, cy = dots[node] + (dx * (reach + width / 2), dy * (reach + height / 2))
            box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
            overlap = sum(_overlap(box, other) for other in taken)
            nearest = np.maximum(np.abs(dots - (cx, cy)) - (width / 2, height / 2), 0)
            covered = np.count_nonzero((nearest**2).sum(axis=1) < radius**2)
            outside = max(0.0, area.x0 * scale - box[0]) + max(0.0, box[2] - area.x1 * scale)
            choices.append((10 * overlap + 15 * covered + 50 * outside + rank, dx, dy, box))
        _, dx, dy, box = min(choices)
        taken.append(box)
        sides: dict[str, Any] = {"ha": ("right", "center", "left")[dx + 1], "va": ("top", "center", "bottom")[dy + 1]}
        look: dict[str, Any] = {"fontsize": 7.5, "color": INK, "path_effects": HALO, "zorder": 5}
        where, offset = (layout.x[node], layout.y[node]), (dx * reach, dy * reach)
        axes.annotate(names[node], where, offset, textcoords="offset points", **sides, **look)


def _overlap(one: Box, other: Box) -> float:
    """Area that two boxes share."""
    across, along = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, along)
