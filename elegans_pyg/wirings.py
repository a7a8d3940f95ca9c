"""The vocabulary of graphs: the types of neurons, the kinds of synapse, what a wiring must have, and the one place that checks it."""

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
    """Refuse what is no wiring: ``edge_index (2, E)``, ``edge_type (E,)`` and ``neuron_type (N,)`` int64, ``edge_weight (E,)`` finite and
    above 0; with ``cyclic`` a DAG too. The user knows the data as ``argument``.

    Raises ``TypeError`` if ``data`` is not a single ``Data`` or an attribute is no tensor, and ``ValueError`` if an attribute is missing or
    of the wrong length or dtype, there is no neuron, an edge leads outside the graph, or a weight or type is not as it should be.
    """
    if not isinstance(data, Data) or isinstance(data, Batch):
        kind = type(data).__name__
        raise TypeError(f"{argument}: expected the Data of one wiring, got {kind}; apply the transform to each graph on its own")
    names = (*_EDGE_ATTRIBUTES, "neuron_type")
    if missing := [name for name in names if data.get(name) is None]:
        without = ", ".join(missing)
        raise ValueError(f"{argument}: expected a wiring, but it has no {without}; load one with Connectome or Connectome.from_files")
    # A Data iterates over pairs, so its keys are asked for.
    if extra := [name for name in data.keys() if "edge" in name and name not in _EDGE_ATTRIBUTES]:  # noqa: SIM118
        wanted, got = f"the edge attributes {', '.join(_EDGE_ATTRIBUTES)} alone", f"{', '.join(extra)} too"
        raise ValueError(f"{argument}: expected {wanted}, got {got}; delete it first, because edges are merged or redrawn")
    for name in names:
        if not isinstance(data[name], Tensor):
            raise TypeError(f"{argument}.{name}: expected a tensor, got {type(data[name]).__name__}; convert it with torch.tensor")
        if name != "edge_weight" and data[name].dtype != torch.int64:
            raise ValueError(f"{argument}.{name}: expected torch.int64, got {data[name].dtype}; convert it with .long()")
    edge_index, weight, edge_type, neuron_type = (data[name] for name in names)
    if neuron_type.numel() == 0:
        raise ValueError(f"{argument}: expected at least one neuron, got an empty graph; check the connectome that it was made from")
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or not weight.shape == edge_type.shape == edge_index[0].shape:
        got = f"{tuple(edge_index.shape)}, {tuple(weight.shape)} and {tuple(edge_type.shape)}"
        raise ValueError(f"{argument}: expected edge_index (2, E) with edge_weight (E,) and edge_type (E,), got {got}; build them together")
    if cyclic and "level" in data:
        remedy = "rewire the connectome first and make the DAG second"
        raise ValueError(f"{argument}: expected a cyclic connectome, got a DAG (it has levels); {remedy}")
    _check_range(f"{argument}.neuron_type", neuron_type, len(NEURON_TYPES), "give positions in NEURON_TYPES")
    if edge_index.numel() == 0:
        return
    _check_range(f"{argument}.edge_type", edge_type, len(SYNAPSES), "give 0 for chemical and 1 for electrical")
    _check_range(f"{argument}.edge_index", edge_index, neuron_type.numel(), "list every neuron in neuron_type")
    bad = ~(torch.isfinite(weight) & (weight > 0))
    if bool(bad.any()):
        source, target = edge_index[:, bad][:, 0].tolist()
        got = f"{float(weight[bad][0])} on edge {source} -> {target}"
        raise ValueError(f"{argument}.edge_weight: expected finite weights above zero, got {got}; mend or remove that edge")


def _check_range(name: str, values: Tensor, count: int, remedy: str) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= count:
        raise ValueError(f"{name}: expected 0..{count - 1}, got {low}..{high}; {remedy}")
