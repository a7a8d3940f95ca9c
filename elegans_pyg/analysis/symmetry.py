"""Left-right symmetry."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch_geometric.data import Data

from elegans_pyg.analysis.simple_graph import Ints, SimpleGraph, measured, share


def mirror_neurons(names: Sequence[str]) -> Ints:
    """Position of each neuron's partner on the other side, whose name differs only in its last letter, ``L`` or ``R``, as in ``ASEL`` and
    ``ASER``; its own position if it has none, as ``AVL`` and ``AQR``; ``(N,)``."""
    place = {name: number for number, name in enumerate(names)}
    swap = {"L": "R", "R": "L"}
    return np.array([place.get(name[:-1] + swap.get(name[-1:], "?"), number) for number, name in enumerate(names)], dtype=np.int64)


_MIRRORED = "share of the edges with a paired neuron at an end whose left-right mirror image is an edge too; 0 if there are none"


@measured(
    "symmetry",
    ("mirrored_neurons", "neurons with a partner on the other side, by their names", "neurons"),
    ("bilateral_symmetry", _MIRRORED),
    needs="neuron_name",
)
def symmetry_measures(graph: SimpleGraph, data: Data, *_: Any) -> tuple[float, ...]:
    names = data.neuron_name
    if len(names) != graph.num_nodes or len(set(names)) != graph.num_nodes:
        raise ValueError(f"data.neuron_name: expected {graph.num_nodes} different names, got {len(set(names))}; name every neuron")
    mirror = mirror_neurons(names)
    moves = (mirror[graph.source] != graph.source) | (mirror[graph.target] != graph.target)
    image = mirror[graph.source] * graph.num_nodes + mirror[graph.target]
    kept = np.isin(image, graph.source * graph.num_nodes + graph.target) & moves
    return int((mirror != np.arange(len(mirror))).sum()), share(int(kept.sum()), int(moves.sum()))
