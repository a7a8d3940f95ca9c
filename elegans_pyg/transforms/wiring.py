"""What every transform of a wiring shares: checking it, taking its edges apart by kind of synapse, and putting edges back."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

CHEMICAL, ELECTRICAL = 0, 1
_EDGE_ATTRIBUTES = ("edge_index", "edge_weight", "edge_type")


@dataclass(frozen=True)
class EdgeSet:
    """The synapses of one kind between two different neurons.

    A chemical synapse is one entry, from ``source`` to ``target``. An electrical synapse is one entry too, with its ends in either order;
    a ``Data`` stores it in both directions.
    """

    kind: int
    num_nodes: int
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray

    @property
    def directed(self) -> bool:
        return self.kind == CHEMICAL

    def __len__(self) -> int:
        return len(self.source)


def check_wiring(data: Data) -> None:
    """Refuse what is no wiring.

    Raises:
        TypeError: if ``data`` is not a single ``Data``.
        ValueError: if an attribute is missing or of the wrong length or dtype, there is no neuron, an edge leads outside the graph, a
            weight is not finite and above zero, or an edge type is unknown.
    """
    if not isinstance(data, Data) or isinstance(data, Batch):
        raise TypeError(f"data: expected the Data of one wiring, got {type(data).__name__}; apply the transform to each graph on its own")
    missing = [name for name in (*_EDGE_ATTRIBUTES, "neuron_type") if data.get(name) is None]
    if missing:
        raise ValueError(f"data: expected a wiring, but it has no {', '.join(missing)}; load one with Connectome or Connectome.from_files")
    extra = [name for name in data.keys() if "edge" in name and name not in _EDGE_ATTRIBUTES]  # noqa: SIM118, a Data iterates over pairs
    if extra:
        raise ValueError(
            f"data: expected the edge attributes {', '.join(_EDGE_ATTRIBUTES)} alone, got {', '.join(extra)} too; delete it first,"
            " because edges are merged or redrawn"
        )
    num_nodes = data.neuron_type.numel()
    if num_nodes == 0:
        raise ValueError("data: expected at least one neuron, got an empty graph; check the connectome that it was made from")
    for name in ("edge_index", "edge_type", "neuron_type"):
        if data[name].dtype != torch.int64:
            raise ValueError(f"data.{name}: expected torch.int64, got {data[name].dtype}; convert it with .long()")
    edge_index, weight, kind = data.edge_index, data.edge_weight, data.edge_type
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or weight.shape != edge_index[0].shape or kind.shape != edge_index[0].shape:
        raise ValueError(
            "data: expected edge_index (2, E) with edge_weight (E,) and edge_type (E,), got"
            f" {tuple(edge_index.shape)}, {tuple(weight.shape)} and {tuple(kind.shape)}; build them together"
        )
    if edge_index.numel() == 0:
        return
    if int(edge_index.min()) < 0 or int(edge_index.max()) >= num_nodes:
        raise ValueError(
            f"data.edge_index: expected nodes 0..{num_nodes - 1}, one for each entry of neuron_type, got"
            f" {int(edge_index.min())}..{int(edge_index.max())}; list every neuron in neuron_type"
        )
    bad = ~(torch.isfinite(weight) & (weight > 0))
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        raise ValueError(
            f"data.edge_weight: expected finite weights above zero, got {float(weight[first])} on edge {int(edge_index[0, first])} ->"
            f" {int(edge_index[1, first])}; mend or remove that edge"
        )
    if bool(((kind != CHEMICAL) & (kind != ELECTRICAL)).any()):
        raise ValueError(f"data.edge_type: expected 0 (chemical) or 1 (electrical), got {sorted(set(kind.tolist()))}; mend the edge types")


def check_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed: expected an integer, got {seed!r}; give one, such as 0")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}; give one, such as 0")
    return int(seed)


def check_share(name: str, value: float) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name}: expected a number from 0 to 1, got {value!r}; give one, such as 0.5")
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {value}; give one, such as 0.5")
    return float(value)


def generator(name: str, *seeds: int) -> np.random.Generator:
    """A generator of its own for each ``name``, so that two transforms given one seed draw unrelated numbers."""
    return np.random.default_rng([zlib.crc32(name.encode()), *seeds])


def with_edges(data: Data, source: np.ndarray, target: np.ndarray, weight: np.ndarray, kind: np.ndarray) -> Data:
    """Replace the edges of ``data``, which is changed, by these, in the order of (source, target, type)."""
    order = np.lexsort((kind, target, source))
    device, dtype = data.edge_index.device, data.edge_weight.dtype
    edge_index = np.stack([source[order], target[order]]).astype(np.int64)
    data.edge_index = torch.from_numpy(edge_index).to(device)
    data.edge_weight = torch.from_numpy(weight[order]).to(device, dtype)
    data.edge_type = torch.from_numpy(kind[order].astype(np.int64)).to(device)
    return data


class Rewiring(BaseTransform):
    """A transform that redraws the edges of a cyclic connectome and leaves its neurons as they are.

    Chemical and electrical synapses are redrawn apart, each among its own kind, an electrical one as the undirected edge that it is, so
    that both its directions move together. Self-loops (autapses) stay where they are, with their weights: no family touches them, and no
    DAG keeps them.

    Args:
        seed: non-negative integer; the same seed gives the same graph.

    Raises:
        ValueError: if ``data`` is a DAG already, has two edges of one kind between the same neurons in the same direction, or an electrical
            synapse that is not stored in both directions with one weight.
    """

    def __init__(self, seed: int) -> None:
        self.seed = check_seed(seed)

    @abstractmethod
    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        """Return the edges that take the place of ``edges``, all of one kind; ``edges`` is left as it is."""

    def forward(self, data: Data) -> Data:
        check_wiring(data)
        if "level" in data:
            raise ValueError("data: expected a connectome, got a DAG (it has levels); rewire the connectome first and make the DAG second")
        edge_index = data.edge_index.cpu().numpy()
        weight, kind = data.edge_weight.detach().cpu().numpy(), data.edge_type.cpu().numpy()
        neuron_type = data.neuron_type.cpu().numpy()
        loop = edge_index[0] == edge_index[1]
        parts = [(edge_index[0, loop], edge_index[1, loop], weight[loop], kind[loop])]
        for code in (CHEMICAL, ELECTRICAL):
            here = (kind == code) & ~loop
            if not here.any():
                continue
            edges = _edge_set(code, len(neuron_type), edge_index[0, here], edge_index[1, here], weight[here])
            new = self.redraw(edges, neuron_type, generator(type(self).__name__, self.seed, code))
            codes = np.full(len(new), code)
            parts.append((new.source, new.target, new.weight, codes))
            if not new.directed:
                parts.append((new.target, new.source, new.weight, codes))
        return with_edges(data, *(np.concatenate(column) for column in zip(*parts, strict=True)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in vars(self).items())})"


def _edge_set(kind: int, num_nodes: int, source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> EdgeSet:
    order = np.lexsort((target, source))
    source, target, weight = source[order], target[order], weight[order]
    twice = (np.diff(source) == 0) & (np.diff(target) == 0)
    if twice.any():
        first = int(np.flatnonzero(twice)[0])
        raise ValueError(
            f"data.edge_index: expected one edge of each type from a neuron to another, got several from {source[first]} to"
            f" {target[first]}; merge them, for example with torch_geometric.utils.coalesce(..., reduce='sum')"
        )
    if kind == CHEMICAL:
        return EdgeSet(kind, num_nodes, source, target, weight)
    up, down = source < target, source > target
    back = np.lexsort((source[down], target[down]))
    mirrored = (target[down][back], source[down][back], weight[down][back])
    if not all(np.array_equal(*pair) for pair in zip((source[up], target[up], weight[up]), mirrored, strict=True)):
        raise ValueError(
            "data.edge_type: expected every electrical synapse in both directions with one weight, got some that are not;"
            " add the missing directions"
        )
    return EdgeSet(kind, num_nodes, source[up], target[up], weight[up])
