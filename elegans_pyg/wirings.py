"""The vocabulary of graphs: types of neurons, kinds of synapse, and the one place that checks what a wiring must have."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, Dataset

NEURON_TYPES = ("sensory", "inter", "motor", "pharyngeal", "sex-specific", "other")
"""Names of the types of neurons; ``neuron_type`` of a ``Data`` holds positions in this tuple."""
SENSORY, INTER, MOTOR = (NEURON_TYPES.index(name) for name in ("sensory", "inter", "motor"))
"""Positions in :data:`NEURON_TYPES`."""

SYNAPSES = ("chemical", "electrical", "extrasynaptic")
"""Names of the kinds of synapse; ``edge_type`` of a ``Data`` holds positions in this tuple. Extrasynaptic edges stand for signalling by
monoamines and neuropeptides."""
CHEMICAL, ELECTRICAL, EXTRASYNAPTIC = 0, 1, 2
"""Positions in :data:`SYNAPSES`."""

Graphs: TypeAlias = Data | Dataset | Sequence[Data]
"""What models take: a graph, a ``Batch``, a data set or a list of graphs."""
_EDGE_ATTRIBUTES = ("edge_index", "edge_weight", "edge_type")
_NODE_ATTRIBUTES = ("neuron_type", "neuron_name", "x")


def as_wiring(data: Data, argument: str = "data", cyclic: bool = False) -> Data:
    """Return a checked copy of a graph with all attributes of a wiring.

    Only ``edge_index`` and ``num_nodes`` are required. What is missing is filled in: ``edge_weight`` with ``edge_attr`` or ``weight`` if
    that is one number per edge, else with 1; ``edge_type`` with chemical; ``neuron_type`` by :func:`roles`; ``neuron_name`` with the nodes'
    numbers; ``x`` with the one-hot type; ``family`` and ``wiring_seed`` with ``"connectome"`` and 0. Other edge attributes are dropped,
    because edges are merged or redrawn later; :func:`~elegans_pyg.datasets.edge_sign` finds the signs of the resulting edges.

    Args:
        data: ``edge_index (2, E)``, and if given ``edge_type (E,)`` and ``neuron_type (N,)`` int64, ``edge_weight (E,)`` above 0,
            ``input_mask (N,)`` and ``output_mask (N,)`` bool.
        argument: its name in error messages.
        cyclic: refuse DAGs too.

    Raises:
        TypeError: if ``data`` is not a single ``Data``, or an attribute is not a tensor.
        ValueError: if there is no ``edge_index`` or no node, an attribute has the wrong length or dtype, an edge leads outside the graph,
            a weight is not finite and above zero, or a type is unknown.
    """
    if not isinstance(data, Data) or isinstance(data, Batch):
        raise TypeError(
            f"{argument}: expected the Data of one wiring, got {type(data).__name__}; apply the transform to each graph on its own"
        )
    if not isinstance(data.get("edge_index"), Tensor):
        raise ValueError(f"{argument}: expected a wiring, but it has no edge_index; load one with Connectome or Connectome.from_edges")
    _check_edge_index(data.edge_index, f"{argument}.edge_index")
    data, edges, device = copy.copy(data), data.edge_index.size(-1), data.edge_index.device
    if data.get("edge_weight") is None:
        given = [data.get(name) for name in ("edge_attr", "weight")]
        numbers = [value for value in given if isinstance(value, Tensor) and value.numel() == edges and value.dtype != torch.bool]
        data.edge_weight = numbers[0].reshape(-1).float() if numbers else torch.ones(edges, device=device)
    if data.get("edge_type") is None:
        data.edge_type = torch.full((edges,), CHEMICAL, device=device)
    if data.get("neuron_type") is None:
        nodes = int(data.num_nodes or 0)
        if edges:
            _check_range(f"{argument}.edge_index", data.edge_index, nodes, "correct the edges, or num_nodes")
        data.neuron_type = roles(data.edge_index, nodes)
    _check(data, argument, cyclic)
    nodes = data.neuron_type.numel()
    if data.get("neuron_name") is None:
        data.neuron_name = [str(number) for number in range(nodes)]
    if data.get("x") is None:
        data.x = torch.nn.functional.one_hot(data.neuron_type, len(NEURON_TYPES)).float()
    if "family" not in data:
        data.family, data.wiring_seed = "connectome", 0
    # With as many edges as nodes, PyG cannot tell attributes of edges from attributes of nodes.
    for name in set(data.keys()) - set(_EDGE_ATTRIBUTES) - set(_NODE_ATTRIBUTES):
        if "edge" in name or name == "weight" or (edges != nodes and data.is_edge_attr(name)):
            del data[name]
    return data


def as_batch(graphs: Graphs) -> Data:
    """Return a graph or ``Batch`` unchanged, and a data set or a list of graphs as one ``Batch`` with the attributes common to all of them.

    Raises:
        TypeError: if ``graphs`` is none of these, or empty.
    """
    if isinstance(graphs, Data):
        return graphs
    if not isinstance(graphs, Sequence | Dataset) or not len(graphs) or not all(isinstance(graph, Data) for graph in graphs):
        raise TypeError(f"batch: expected a Data, a Batch, a data set or a list of graphs, got {type(graphs).__name__}; give one of these")
    keys = [set(graph.keys()) for graph in graphs]
    # For example sensory_distance, which a random DAG lacks.
    return Batch.from_data_list(list(graphs), exclude_keys=sorted(set.union(*keys) - set.intersection(*keys)))


def roles(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Return types ``(N,)`` for a graph without any: sources are sensory, sinks motor, all other nodes inter.

    Every strongly connected component that no edge enters has one source: the node with the most outgoing edges in excess of incoming
    ones, among equals the one with the most outgoing edges, then the first. Sinks likewise. A node that is both, as in a graph that has
    every edge in both directions, is sensory. Self-loops do not count, and isolated nodes are inter.
    """
    source, target = edge_index[:, edge_index[0] != edge_index[1]].cpu().numpy()
    out, into = np.bincount(source, minlength=num_nodes), np.bincount(target, minlength=num_nodes)
    graph = scipy.sparse.coo_array((np.ones(len(source), dtype=bool), (source, target)), shape=(num_nodes, num_nodes))
    count, component = scipy.sparse.csgraph.connected_components(graph, connection="strong")
    between = component[source] != component[target]
    found = np.full(num_nodes, INTER)
    for role, ends, lead, edges in ((MOTOR, source, into - out, into), (SENSORY, target, out - into, out)):
        closed = np.ones(count, dtype=bool)
        closed[component[ends[between]]] = False
        order = np.lexsort((np.arange(num_nodes), -edges, -lead))
        _, first = np.unique(component[order], return_index=True)
        chosen = order[first]
        chosen = chosen[closed[component[chosen]] & (edges[chosen] > 0)]
        found[chosen] = role
    return torch.from_numpy(found).to(edge_index.device)


def _check_edge_index(edge_index: Tensor, name: str) -> None:
    if edge_index.dtype != torch.int64:
        raise ValueError(f"{name}: expected torch.int64, got {edge_index.dtype}; convert it with .long()")
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"{name}: expected (2, E), got {tuple(edge_index.shape)}; give a row of sources and one of targets")


def _check(data: Data, argument: str, cyclic: bool) -> None:
    names = (*_EDGE_ATTRIBUTES, "neuron_type")
    for name in names:
        if not isinstance(data[name], Tensor):
            raise TypeError(f"{argument}.{name}: expected a tensor, got {type(data[name]).__name__}; convert it with torch.tensor")
        if name != "edge_weight" and data[name].dtype != torch.int64:
            raise ValueError(f"{argument}.{name}: expected torch.int64, got {data[name].dtype}; convert it with .long()")
    edge_index, weight, edge_type, neuron_type = (data[name] for name in names)
    if neuron_type.numel() == 0:
        raise ValueError(f"{argument}: expected at least one neuron, got an empty graph; check the connectome that it was made from")
    if (given := data.get("neuron_name")) is not None and len(given) != neuron_type.numel():
        hint = "name every neuron, and the node that PyG's VirtualNode added"
        raise ValueError(f"{argument}.neuron_name: expected {neuron_type.numel()} entries, one per neuron, got {len(given)}; {hint}")
    for name in ("input_mask", "output_mask"):
        mask, wanted = data.get(name), (neuron_type.numel(),)
        if mask is not None and not (isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == wanted):
            got = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"{argument}.{name}: expected torch.bool {wanted}, got {got}; mark every neuron, or leave it out")
    if not weight.shape == edge_type.shape == edge_index[0].shape:
        got = f"{tuple(edge_index.shape)}, {tuple(weight.shape)} and {tuple(edge_type.shape)}"
        hint = "build them together (PyG's AddSelfLoops and RemoveSelfLoops change one attribute of edges only)"
        raise ValueError(f"{argument}: expected edge_index (2, E) with edge_weight (E,) and edge_type (E,), got {got}; {hint}")
    if cyclic and "level" in data:
        remedy = "rewire the connectome first and make the DAG second"
        raise ValueError(f"{argument}: expected a cyclic connectome, got a DAG (it has levels); {remedy}")
    _check_range(f"{argument}.neuron_type", neuron_type, len(NEURON_TYPES), "give positions in NEURON_TYPES")
    if edge_index.numel() == 0:
        return
    _check_range(f"{argument}.edge_type", edge_type, len(SYNAPSES), "give 0 for chemical, 1 for electrical and 2 for extrasynaptic")
    _check_range(f"{argument}.edge_index", edge_index, neuron_type.numel(), "list every neuron in neuron_type")
    _check_directions(f"{argument}.edge_type", edge_index, edge_type, weight, neuron_type.numel())
    bad = ~(torch.isfinite(weight) & (weight > 0))
    if bool(bad.any()):
        source, target = edge_index[:, bad][:, 0].tolist()
        got = f"{float(weight[bad][0])} on edge {source} -> {target}"
        raise ValueError(f"{argument}.edge_weight: expected finite weights above zero, got {got}; correct or remove that edge")


def _check_directions(name: str, edge_index: Tensor, edge_type: Tensor, weight: Tensor, num_nodes: int) -> None:
    """Refuse what PyG's ToUndirected makes of electrical synapses: it adds their types, 1 and 1, and the weights of both directions."""
    source, target = edge_index
    if not bool(((edge_type == EXTRASYNAPTIC) & (source != target)).any()):
        return
    there, back = (source * num_nodes + target).sort(), (target * num_nodes + source).sort()
    if torch.equal(there.values, back.values) and torch.allclose(weight[there.indices], weight[back.indices], equal_nan=True):
        got = "every edge in both directions with equal weights, as ToUndirected makes them of electrical ones"
        raise ValueError(f"{name}: expected extrasynaptic edges from sender to receiver, got {got}; use ToUndirected(reduce='max')")


def _check_range(name: str, values: Tensor, count: int, remedy: str) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= count:
        raise ValueError(f"{name}: expected 0..{count - 1}, got {low}..{high}; {remedy}")
