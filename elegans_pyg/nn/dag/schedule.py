"""The order in which a batch of DAGs is walked: nodes by level, edges by target, all variants side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import cumsum, degree


@dataclass(frozen=True)
class Schedule:
    """The walk over a batch of DAGs; a *position* is a node's place in that walk.

    Only nodes reached from an input have a position. Positions run level by level and, inside a level, variant by variant.

    Attributes:
        num_variants, num_nodes, num_edges: ``V``, ``N`` and ``E`` of the batch, including what is left out.
        order ``(A,)``: node of each position.
        level_ptr: ``L + 1`` offsets into positions; level ``l`` is ``level_ptr[l]:level_ptr[l + 1]``.
        variant ``(A,)``: variant of each position.
        edge_order ``(M,)``: edges of the walk, sorted by target position, then source position.
        source ``(M,)``, target ``(M,)``: end points of these edges, as positions.
        edge_ptr ``(A + 1,)``: position ``p`` has the incoming edges ``edge_ptr[p]:edge_ptr[p + 1]`` of the three above.
        output ``(O,)``: positions of the output nodes, variant by variant.
        output_ptr ``(V + 1,)``: offsets of the variants into ``output``.
    """

    num_variants: int
    num_nodes: int
    num_edges: int
    order: Tensor
    level_ptr: list[int]
    variant: Tensor
    edge_order: Tensor
    source: Tensor
    target: Tensor
    edge_ptr: Tensor
    output: Tensor
    output_ptr: Tensor

    @property
    def num_levels(self) -> int:
        return len(self.level_ptr) - 1

    @classmethod
    def from_batch(cls, batch: Data | Batch) -> Schedule:
        """Check and order a DAG (``Data`` with ``edge_index``, ``level``, ``input_mask`` and ``output_mask``) or a ``Batch`` of them.

        Raises:
            TypeError: if ``batch`` is neither.
            ValueError: if an attribute is missing or of the wrong length, an edge does not go from a lower to a higher level or points
                outside its graph, an input node has incoming edges, another node on a level has none, a level is empty, or a variant has no
                input or no output node.
        """
        level, output_mask, edge_index, kept, variant_of_node = _checked(batch)
        num_nodes, num_variants, reached = level.numel(), int(variant_of_node[-1]) + 1, level >= 0
        order = torch.argsort(torch.where(reached, level, level.max() + 1), stable=True)[: int(reached.sum())]
        level_ptr: list[int] = cumsum(torch.bincount(level[reached])).tolist()
        position = torch.full((num_nodes,), -1)
        position[order] = torch.arange(order.numel())

        source, target = position[edge_index[:, kept]]
        by_target = torch.argsort(target * max(order.numel(), 1) + source, stable=True)
        source, target = source[by_target], target[by_target]
        output = position[(output_mask & reached).nonzero().view(-1)]
        edge_ptr = cumsum(torch.bincount(target, minlength=order.numel()))
        output_ptr = cumsum(torch.bincount(variant_of_node[order[output]], minlength=num_variants))
        counts, nodes = (num_variants, num_nodes, edge_index.size(1)), (order, level_ptr, variant_of_node[order])
        return cls(*counts, *nodes, kept[by_target], source, target, edge_ptr, output, output_ptr)


def _checked(batch: Data | Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return levels, output mask, edges, the edges out of nodes reached from an input, and each node's variant; errors as in Schedule."""
    if not isinstance(batch, Data):
        raise TypeError(f"batch must be a Data or Batch of DAGs, got {type(batch).__name__}; make one with Batch.from_data_list([...])")
    if missing := ", ".join(name for name in ("edge_index", "level", "input_mask", "output_mask") if name not in batch):
        raise ValueError(f"batch must hold DAGs, but has no {missing}; apply ConstrainedDAG() or RandomDAG() to each graph first")
    level, edge_index, num_nodes = batch.level.cpu(), batch.edge_index.cpu(), batch.level.numel()
    input_mask, output_mask = batch.input_mask.cpu(), batch.output_mask.cpu()
    ptr = batch.ptr.cpu() if isinstance(batch, Batch) else torch.tensor([0, num_nodes])
    num_variants = ptr.numel() - 1
    if num_nodes == 0:
        raise ValueError("batch must hold at least one node, got none; check the connectome it was made from")
    if input_mask.shape != (num_nodes,) or output_mask.shape != (num_nodes,) or int(ptr[-1]) != num_nodes:
        raise ValueError(
            f"level, input_mask and output_mask must each hold one value per node, got {num_nodes}, {input_mask.numel()} and"
            f" {output_mask.numel()} for {int(ptr[-1])} nodes; make the DAGs again"
        )
    if edge_index.numel() and (int(edge_index.min()) < 0 or int(edge_index.max()) >= num_nodes):
        raise ValueError(f"edge_index must lie in 0..{num_nodes - 1}, got {int(edge_index.min())}..{int(edge_index.max())}")
    variant_of_node = torch.repeat_interleave(torch.arange(num_variants), ptr.diff())
    # The kernels look up a source inside its target's variant, so this is checked here, once.
    crossing = edge_index[:, variant_of_node[edge_index[0]] != variant_of_node[edge_index[1]]]
    if crossing.numel():
        source, target = crossing[:, 0].tolist()
        raise ValueError(f"an edge must stay inside its variant, but {source} -> {target} leads to another; use Batch.from_data_list")

    if not torch.equal(level == 0, input_mask):
        raise ValueError("level must be 0 on the input nodes and only there; make the DAGs again with ConstrainedDAG() or RandomDAG()")
    # Edges out of nodes that no input reaches carry nothing.
    kept = (level >= 0)[edge_index[0]].nonzero().view(-1)
    source_level, target_level = level[edge_index[:, kept]]
    if len(bad := kept[target_level <= source_level]):
        worst = int(bad[0])
        raise ValueError(
            f"every edge must go from a lower to a higher level, but edge {edge_index[0, worst]} -> {edge_index[1, worst]} goes from"
            f" level {level[edge_index[0, worst]]} to {level[edge_index[1, worst]]}; the graph is not a DAG, or its levels are stale"
        )
    entered, filled = torch.bincount(edge_index[1, kept], minlength=num_nodes) > 0, torch.bincount(level[level >= 0]) > 0
    if len(lacking := ((level > 0) & ~entered).nonzero()) or not bool(filled.all()):
        lack = f"node {int(lacking[0])} has none" if len(lacking) else f"no node is on level {int((~filled).nonzero()[0])}"
        raise ValueError(
            f"every level above 0 must hold nodes with edges from lower ones, but {lack}; the levels are stale, make the DAGs again"
        )
    for mask, what in ((input_mask, "input"), (output_mask & (level >= 0), "output")):
        counts = degree(variant_of_node[mask], num_variants, dtype=torch.long)
        if not bool(counts.all()):
            raise ValueError(f"variant {int(counts.argmin())} has no {what} node; every DAG needs at least one")
    return level, output_mask, edge_index, kept, variant_of_node
