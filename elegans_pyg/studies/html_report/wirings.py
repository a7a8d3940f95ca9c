"""A wiring as plain values for the page: positions and properties of its neurons, and its edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from elegans_pyg.plots.layout import layered_layout
from elegans_pyg.plots.style import TYPE_COLOURS
from elegans_pyg.transforms.levels import distance_from
from elegans_pyg.wirings import MOTOR, NEURON_TYPES, SENSORY, as_wiring, roles

MOST_NODES, MOST_EDGES = 5_000, 150_000
"""Size limits of a wiring on a page."""


def drawn(wiring: Data) -> dict[str, Any] | None:
    """Lay out a wiring from left (inputs) to right, by level, or, if it has cycles, by distance from the inputs.

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
        # Without types, sources are the inputs and sinks the outputs, as in ConstrainedDAG.
        kinds = types if (types == SENSORY).any() else roles(whole.edge_index, len(types)).numpy()
        inputs, outputs = kinds == SENSORY, kinds == MOTOR
        level = distance_from(whole.edge_index, torch.from_numpy(inputs)).numpy()
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
        "word": "level" if dag else "distance from the inputs",
    }


def types() -> list[dict[str, str]]:
    """Names and colours of the neuron types, by number."""
    return [{"name": name, "colour": TYPE_COLOURS[name]} for name in NEURON_TYPES]
