"""Base class of the transforms that redraw edges, and how they split edges by kind of synapse and join them again."""

import zlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from elegans_pyg._arguments import check_seed
from elegans_pyg.wirings import CHEMICAL, ELECTRICAL, EXTRASYNAPTIC, SYNAPSES, as_wiring

ELECTRICAL_LAST = np.array([CHEMICAL, EXTRASYNAPTIC, ELECTRICAL])
"""Rank of each kind of synapse when edges are merged. It is its own inverse, so it also gives the kind of each rank."""


@dataclass(frozen=True)
class EdgeSet:
    """The synapses of one kind between different neurons.

    A chemical or extrasynaptic synapse is one entry, from ``source`` to ``target``. An electrical synapse is one entry too, with its ends
    in either order; a ``Data`` stores it in both directions.
    """

    kind: int
    num_nodes: int
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray

    @property
    def directed(self) -> bool:
        return self.kind != ELECTRICAL

    def __len__(self) -> int:
        return len(self.source)


def generator(name: str, *seeds: int) -> np.random.Generator:
    """A random generator that differs for each ``name``, so that two transforms with the same seed draw unrelated numbers."""
    return np.random.default_rng([zlib.crc32(name.encode()), *seeds])


def with_edges(data: Data, source: np.ndarray, target: np.ndarray, weight: np.ndarray, kind: np.ndarray) -> Data:
    """Replace the edges of ``data``, which is changed, by these, sorted by source, target and type."""
    place = (source * data.neuron_type.numel() + target) * len(SYNAPSES) + kind
    if not (place[1:] >= place[:-1]).all():
        order = np.argsort(place, kind="stable")
        source, target, weight, kind = source[order], target[order], weight[order], kind[order]
    device = data.edge_index.device
    data.edge_index = torch.from_numpy(np.array([source, target], dtype=np.int64)).to(device)
    data.edge_weight = torch.from_numpy(weight).to(device, data.edge_weight.dtype)
    data.edge_type = torch.from_numpy(kind.astype(np.int64, copy=False)).to(device)
    return data


def edge_arrays(data: Data) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Source, target, weight and kind of each edge, ``(E,)``."""
    return *data.edge_index.cpu().numpy(), data.edge_weight.detach().cpu().numpy(), data.edge_type.cpu().numpy()


def merge(source: np.ndarray, target: np.ndarray, weight: np.ndarray, kind: np.ndarray, num_nodes: int) -> tuple[np.ndarray, ...]:
    """Merge edges from one neuron to another, sorted by source and target: summed weight, chemical if any is, electrical only if all."""
    pair = source * num_nodes + target
    if (pair[1:] > pair[:-1]).all():
        return source, target, weight, kind
    pair, group = np.unique(pair, return_inverse=True)
    rank = np.full(len(pair), ELECTRICAL_LAST[ELECTRICAL])
    np.minimum.at(rank, group, ELECTRICAL_LAST[kind])
    merged_kind = ELECTRICAL_LAST[rank].astype(kind.dtype)
    return pair // num_nodes, pair % num_nodes, np.bincount(group, weight, minlength=len(pair)), merged_kind


class Rewiring(BaseTransform):
    """Base class of transforms that redraw the edges of a cyclic connectome and keep its neurons.

    Each kind of synapse is redrawn separately, an electrical synapse as one undirected edge, so that both its directions move together.
    Self-loops (autapses) keep their place and weight: no family changes them, and no DAG keeps them.

    Args:
        seed: non-negative integer; the same seed gives the same graph.

    Raises:
        ValueError: if ``data`` is already a DAG, has two edges of one kind between the same neurons in the same direction, or an electrical
            synapse that is not stored in both directions with equal weights.
    """

    family: ClassVar[str]
    """Name of the family in :data:`~elegans_pyg.transforms.FAMILIES`, which the resulting graphs get."""

    def __init__(self, seed: int) -> None:
        self.seed = check_seed(seed)

    @abstractmethod
    def redraw(self, edges: EdgeSet, neuron_type: np.ndarray, rng: np.random.Generator) -> EdgeSet:
        """Return the edges that replace ``edges``, all of one kind; ``edges`` is not changed."""

    def forward(self, data: Data) -> Data:
        return self.on_wiring(as_wiring(data, cyclic=True))

    def on_wiring(self, data: Data) -> Data:
        """Transform in place what :func:`~elegans_pyg.wirings.as_wiring` returned, without checking it again."""
        source, target, weight, kind = edge_arrays(data)
        neuron_type, loop = data.neuron_type.cpu().numpy(), source == target
        parts = [(source[loop], target[loop], weight[loop], kind[loop])]
        for code in range(len(SYNAPSES)):
            here = (kind == code) & ~loop
            if not here.any():
                continue
            edges = _edge_set(code, len(neuron_type), source[here], target[here], weight[here])
            new = self.redraw(edges, neuron_type, generator(type(self).__name__, self.seed, code))
            codes = np.full(len(new), code)
            parts.append((new.source, new.target, new.weight, codes))
            if not new.directed:
                parts.append((new.target, new.source, new.weight, codes))
        data.family, data.wiring_seed = self.family, self.seed
        return with_edges(data, *(np.concatenate(column) for column in zip(*parts, strict=True)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in vars(self).items())})"


def _edge_set(kind: int, num_nodes: int, source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> EdgeSet:
    pair = source * num_nodes + target
    if not (pair[1:] > pair[:-1]).all():
        order = np.argsort(pair, kind="stable")
        source, target, weight, pair = source[order], target[order], weight[order], pair[order]
    twice = np.flatnonzero(pair[1:] == pair[:-1])
    if len(twice):
        raise ValueError(
            f"data.edge_index: expected one edge of each type from a neuron to another, got several from {source[twice[0]]} to"
            f" {target[twice[0]]}; merge them, for example with torch_geometric.utils.coalesce(..., reduce='sum')"
        )
    if kind != ELECTRICAL:
        return EdgeSet(kind, num_nodes, source, target, weight)
    up, down = source < target, source > target
    back = np.lexsort((source[down], target[down]))
    mirrored = (target[down][back], source[down][back], weight[down][back])
    if not all(np.array_equal(*pair) for pair in zip((source[up], target[up], weight[up]), mirrored, strict=True)):
        raise ValueError(
            "data.edge_type: expected every electrical synapse in both directions with equal weights, got some that are not;"
            " add the missing directions"
        )
    return EdgeSet(kind, num_nodes, source[up], target[up], weight[up])
