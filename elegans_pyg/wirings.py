"""The vocabulary of graphs: the types of neurons, the kinds of synapse, what a wiring must have, and the one place that checks it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

NEURON_TYPES = ("sensory", "inter", "motor", "pharyngeal", "sex-specific", "other")
"""The types that ``neuron_type`` of a ``Data`` indexes."""
SENSORY = NEURON_TYPES.index("sensory")

SYNAPSES = ("chemical", "electrical")
"""The kinds that ``edge_type`` of a ``Data`` indexes."""
CHEMICAL, ELECTRICAL = 0, 1

_EDGE_ATTRIBUTES = ("edge_index", "edge_weight", "edge_type")


def check_wiring(data: Data, argument: str = "data", cyclic: bool = False) -> None:
    """Refuse what is no wiring.

    Args:
        data: ``edge_index (2, E)``, ``edge_type (E,)`` and ``neuron_type (N,)`` int64, ``edge_weight (E,)`` finite and above 0.
        argument: what the caller's user knows it as.
        cyclic: refuse a DAG too.

    Raises:
        TypeError: if ``data`` is not a single ``Data``, or an attribute is no tensor.
        ValueError: if an attribute is missing or of the wrong length or dtype, there is no neuron, an edge leads outside the graph, a
            weight is not finite and above zero, or a type is unknown.
    """
    if not isinstance(data, Data) or isinstance(data, Batch):
        raise TypeError(
            f"{argument}: expected the Data of one wiring, got {type(data).__name__}; apply the transform to each graph on its own"
        )
    names = (*_EDGE_ATTRIBUTES, "neuron_type")
    if missing := [name for name in names if data.get(name) is None]:
        raise ValueError(
            f"{argument}: expected a wiring, but it has no {', '.join(missing)}; load one with Connectome or Connectome.from_files"
        )
    # A Data iterates over pairs, so its keys are asked for.
    if extra := [name for name in data.keys() if "edge" in name and name not in _EDGE_ATTRIBUTES]:  # noqa: SIM118
        raise ValueError(
            f"{argument}: expected the edge attributes {', '.join(_EDGE_ATTRIBUTES)} alone, got {', '.join(extra)} too; delete it first,"
            " because edges are merged or redrawn"
        )
    for name in names:
        if not isinstance(data[name], Tensor):
            raise TypeError(f"{argument}.{name}: expected a tensor, got {type(data[name]).__name__}; convert it with torch.tensor")
        if name != "edge_weight" and data[name].dtype != torch.int64:
            raise ValueError(f"{argument}.{name}: expected torch.int64, got {data[name].dtype}; convert it with .long()")
    edge_index, weight, kind, neuron_type = (data[name] for name in names)
    if neuron_type.numel() == 0:
        raise ValueError(f"{argument}: expected at least one neuron, got an empty graph; check the connectome that it was made from")
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or not weight.shape == kind.shape == edge_index[0].shape:
        raise ValueError(
            f"{argument}: expected edge_index (2, E) with edge_weight (E,) and edge_type (E,), got"
            f" {tuple(edge_index.shape)}, {tuple(weight.shape)} and {tuple(kind.shape)}; build them together"
        )
    if cyclic and "level" in data:
        raise ValueError(
            f"{argument}: expected a cyclic connectome, got a DAG (it has levels); rewire the connectome first and make the DAG second"
        )
    _check_range(f"{argument}.neuron_type", neuron_type, len(NEURON_TYPES), "give positions in NEURON_TYPES")
    if edge_index.numel() == 0:
        return
    _check_range(f"{argument}.edge_type", kind, len(SYNAPSES), "give 0 for chemical and 1 for electrical")
    _check_range(f"{argument}.edge_index", edge_index, neuron_type.numel(), "list every neuron in neuron_type")
    bad = ~(torch.isfinite(weight) & (weight > 0))
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        raise ValueError(
            f"{argument}.edge_weight: expected finite weights above zero, got {float(weight[first])} on edge {int(edge_index[0, first])} ->"
            f" {int(edge_index[1, first])}; mend or remove that edge"
        )


def _check_range(name: str, values: Tensor, count: int, remedy: str) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= count:
        raise ValueError(f"{name}: expected 0..{count - 1}, got {low}..{high}; {remedy}")
