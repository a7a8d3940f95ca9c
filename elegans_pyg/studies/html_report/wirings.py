"""A wiring as plain values for the page: positions and properties of its neurons, and its edges."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch_geometric.data import Data

from elegans_pyg.plots.layout import layered_layout
from elegans_pyg.plots.style import TYPE_COLOURS
from elegans_pyg.wirings import MOTOR, NEURON_TYPES, SENSORY, as_wiring

MOST_NODES, MOST_EDGES = 5_000, 150_000
"""Size limits of a wiring on a page."""


def drawn(wiring: Data) -> dict[str, Any] | None:
    """Lay out a wiring from left (inputs) to right, by level, or, if it has cycles, by distance from the sensory neurons.

    Returns:
        per neuron ``x``, ``y``, ``name``, ``type``, ``level`` (-1: no input reaches it), ``into`` and ``out`` (degrees); ``source`` and
        ``target`` of the edges; the indices of the ``inputs`` and ``outputs``; and ``word``, the name of what ``level`` counts. ``None`` if
        the wiring is too large.
    """
    if (wiring.num_nodes or 0) > MOST_NODES or wiring.num_edges > MOST_EDGES:
        return None
    whole = as_wiring(wiring)
    edges, types = whole.edge_index.numpy(), whole.neuron_type.numpy()
    dag = wiring.get("level") is not None
    if dag:
        level, inputs = wiring.level.numpy(), wiring.input_mask.numpy()
        outputs = wiring.output_mask.numpy() & (level >= 0)
    else:
        inputs, outputs = types == SENSORY, types == MOTOR
        level = _distances(edges, inputs if inputs.any() else np.arange(len(types)) == 0)
    # Unreached neurons are in a column of their own, on the right.
    placed = np.where(level < 0, level.max(initial=0) + 1, level)
    layout = layered_layout(placed, edges, types)
    degrees = {key: np.bincount(ends, minlength=len(types)).tolist() for key, ends in (("out", edges[0]), ("into", edges[1]))}
    return {
        "x": layout.x.round(2).tolist(),
        "y": layout.y.round(4).tolist(),
        "name": [str(name) for name in whole.neuron_name],
        "type": types.tolist(),
        "level": level.tolist(),
        **degrees,
        "source": edges[0].tolist(),
        "target": edges[1].tolist(),
        "inputs": np.flatnonzero(inputs).tolist(),
        "outputs": np.flatnonzero(outputs).tolist(),
        "word": "level" if dag else "distance from the sensory neurons",
    }


def types() -> list[dict[str, str]]:
    """Names and colours of the neuron types, by number."""
    return [{"name": name, "colour": TYPE_COLOURS[name]} for name in NEURON_TYPES]


def _distances(edges: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Fewest edges from the nodes of the mask ``start (N,)``, -1 for nodes that cannot be reached."""
    level, front, depth = np.where(start, 0, -1), start, 0
    while front.any():
        depth += 1
        front = np.zeros_like(start)
        front[edges[1][level[edges[0]] == depth - 1]] = True
        front &= level < 0
        level[front] = depth
    return level
