"""Input of the kernels of executor ``fused``: a batch of DAGs, variant after variant."""

from __future__ import annotations

import itertools
import weakref
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.utils import cumsum

from elegans_pyg.nn.dag.schedule import Schedule
from elegans_pyg.nn.workspace import Workspace


class Graph(NamedTuple):
    """Nodes ``A`` and edges ``M`` of ``V`` variants, variant after variant, each by level.

    Attributes:
        node_ptr ``(V + 1,)``: offsets of the variants into the nodes.
        in_ptr ``(A + 1,)``, in_source ``(M,)``: incoming edges of each node, and their sources, numbered inside the variant.
        out_ptr ``(A + 1,)``, out_target ``(M,)``, out_edge ``(M,)``: outgoing edges, their targets (inside the variant) and edge numbers.
        is_input ``(A,)``, is_output ``(A,)``: 0 or 1, uint8.
        output_share ``(V,)``: one over the number of output nodes.
        slot ``(A,)``, flow_slot ``(A,)``: slots of a node's map in the forward pass and of its gradient in the backward pass, in a buffer
            of :attr:`Walk.slots` maps; a slot is reused once the last neighbour has read it.
    """

    node_ptr: Tensor
    in_ptr: Tensor
    in_source: Tensor
    out_ptr: Tensor
    out_target: Tensor
    out_edge: Tensor
    is_input: Tensor
    is_output: Tensor
    output_share: Tensor
    slot: Tensor
    flow_slot: Tensor


class Shape(NamedTuple):
    """Shape of a walk's maps: each is laid out ``(H, W, B)``."""

    channels: int
    height: int
    width: int
    images: int


class Parameters(NamedTuple):
    """Parameters of the edges ``(M,)`` and nodes ``(A, C, 9)``, ``(A, C)`` in walk order; the last two are BatchNorm's statistics."""

    edge_weight: Tensor
    conv_weight: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    mean: Tensor
    variance: Tensor


class Walk:
    """A :class:`Schedule` reordered variant after variant, with the batch's nodes and edges in that order.

    Attributes:
        schedule: the schedule it was made from.
        nodes ``(A,)``, edges ``(M,)``: node and edge of each place in the walk, edges sorted by target.
        graph: the input of the kernels; its numbers are float64.
        slots: the most maps of one variant and channel that are needed at a time.
        workspace: buffers for the maps.
        handle: number by which an operator finds this walk while it is referenced; operators take only tensors and plain numbers.
    """

    def __init__(self, schedule: Schedule, nodes: Tensor, edges: Tensor, graph: Graph, workspace: Workspace) -> None:
        self.schedule, self.nodes, self.edges, self.graph, self.workspace = schedule, nodes, edges, graph, workspace
        self.handle = next(_handles)
        self.slots = 1 + int(torch.cat([graph.slot, graph.flow_slot]).max())
        walks[self.handle] = self

    def __reduce__(self) -> tuple[type[Walk], tuple[Any, ...]]:
        # A copy is a new walk with a handle of its own.
        return Walk, (self.schedule, self.nodes, self.edges, self.graph, self.workspace)

    @classmethod
    def from_schedule(cls, schedule: Schedule, workspace: Workspace, device: torch.device) -> Walk:
        by_variant = torch.argsort(schedule.variant, stable=True)
        place = torch.empty_like(by_variant)
        place[by_variant] = torch.arange(by_variant.numel())
        node_ptr = cumsum(torch.bincount(schedule.variant, minlength=schedule.num_variants))
        local = place - node_ptr[schedule.variant]

        by_target = torch.argsort(place[schedule.target], stable=True)
        source, target = schedule.source[by_target], schedule.target[by_target]
        by_source = torch.argsort(place[source], stable=True)
        flags = torch.zeros(2, place.numel(), dtype=torch.uint8)
        flags[0, place[: schedule.level_ptr[1]]] = 1
        flags[1, place[schedule.output]] = 1
        in_ptr, out_ptr = (cumsum(torch.bincount(place[ends], minlength=place.numel())) for ends in (target, source))
        share = 1 / schedule.output_ptr.diff().double()
        parts = node_ptr, in_ptr, local[source], out_ptr, local[target[by_source]], by_source, *flags, share
        slots = [_slots(node_ptr, place[first], place[second]) for first, second in ((source, target), (target, source))]
        nodes, edges = schedule.order[by_variant].to(device), schedule.edge_order[by_target].to(device)
        return cls(schedule, nodes, edges, Graph(*(part.to(device) for part in (*parts, *slots))), workspace)

    def graph_in(self, dtype: torch.dtype) -> Graph:
        """Return the graph with its numbers in the dtype of the sums."""
        return self.graph._replace(output_share=self.graph.output_share.to(dtype))

    def gathered(self, edge_weight: Tensor, conv_weight: Tensor, *of_nodes: Tensor) -> tuple[Tensor, ...]:
        """Return parameters of the batch's edges and nodes in walk order."""
        return edge_weight.index_select(0, self.edges), *(p.index_select(0, self.nodes) for p in (conv_weight.flatten(2), *of_nodes))


def _slots(node_ptr: Tensor, giver: Tensor, reader: Tensor) -> Tensor:
    """Assign each node's map a slot ``(A,)``, where ``giver`` and ``reader`` are the ends of the edges along which maps are read.

    Nodes are visited in walk order, or in reverse where readers come before givers. A slot is free again at its last reader, whose own map
    may already take it.
    """
    forth = bool((reader > giver).all())
    last = torch.arange(int(node_ptr[-1])).scatter_reduce(0, giver, reader, "amax" if forth else "amin")
    leaving = torch.argsort(last, stable=True).tolist()
    ends = cumsum(torch.bincount(last, minlength=last.numel())).tolist()
    # Lists: reading numbers from a tensor one by one took three times as long as all the rest.
    slot, last_reader = [0] * last.numel(), last.tolist()
    for begin, end in itertools.pairwise(node_ptr.tolist()):
        free: list[int] = []
        taken = 0
        for node in range(begin, end) if forth else range(end - 1, begin - 1, -1):
            free += [slot[other] for other in leaving[ends[node] : ends[node + 1]] if other != node]
            if not free:
                free.append(taken)
                taken += 1
            slot[node] = free.pop()
            if last_reader[node] == node:
                free.append(slot[node])
    return torch.tensor(slot)


_handles = itertools.count()
walks: weakref.WeakValueDictionary[int, Walk] = weakref.WeakValueDictionary()
"""All walks still referenced, by handle."""
