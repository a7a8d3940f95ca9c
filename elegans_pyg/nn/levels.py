"""Executor ``levels``: plain PyTorch and PyG, all nodes of one level of all variants at once, with no map stored per edge.

Maps live in one buffer of rows, ``C*H*W`` values each. The rows of a level with ``n`` nodes are laid out ``(B, n)``, so that they are at
once the input of one grouped convolution and addressable by (image, node). The weighted sum over incoming edges is then an embedding bag:
it reads each source row once per edge, adds in registers and writes each target row once. Backward walks the levels in reverse and gathers
the gradient of a node from its successors by the transposed bags, so that nothing is accumulated in an undefined order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.utils import cumsum, segment

from elegans_pyg.nn.node_operation import LevelOperation, Tape
from elegans_pyg.nn.schedule import Schedule


class Bags(NamedTuple):
    """One weighted sum of rows a bag: the rows, the offsets of the bags, the bag of each row, and the edge behind each row."""

    rows: Tensor
    offsets: Tensor
    bag: Tensor
    edges: Tensor


@dataclass(frozen=True)
class LevelPlan:
    """A :class:`Schedule` made concrete for one batch size and device."""

    incoming: list[Bags]
    outgoing: list[Bags]
    input_variant: Tensor
    input_ptr: Tensor
    output_rows: Tensor
    output_ptr: Tensor
    outputs_of_level: list[tuple[Tensor, Tensor]]
    output_count: Tensor


def make_plan(schedule: Schedule, batch_size: int, device: torch.device) -> LevelPlan:
    """Spell out which rows each level reads, for ``batch_size`` images."""
    images = torch.arange(batch_size).view(-1, 1)
    level_ptr = torch.tensor(schedule.level_ptr)
    width = level_ptr.diff()
    level_of = torch.repeat_interleave(torch.arange(schedule.num_levels), width)
    start, stride = level_ptr[level_of], width[level_of]
    first_row = batch_size * start + torch.arange(level_of.numel()) - start

    def bags(edges: Tensor, read: Tensor, counts: Tensor) -> Bags:
        lengths = counts.repeat(batch_size)
        return Bags(
            rows=(first_row[read] + images * stride[read]).view(-1).to(device),
            offsets=cumsum(lengths)[:-1].to(device),
            bag=torch.repeat_interleave(torch.arange(lengths.numel()), lengths).to(device),
            edges=edges.to(device),
        )

    in_degree = schedule.edge_ptr.diff()
    out_degree = torch.bincount(schedule.source, minlength=level_of.numel())
    by_source = torch.argsort(schedule.source, stable=True)
    out_ptr = cumsum(out_degree)
    incoming, outgoing, outputs_of_level = [], [], []
    output_variant = torch.repeat_interleave(torch.arange(schedule.num_variants), schedule.output_ptr.diff())
    for low, high in pairwise(schedule.level_ptr):
        edges = torch.arange(int(schedule.edge_ptr[low]), int(schedule.edge_ptr[high]))
        incoming.append(bags(edges, schedule.source[edges], in_degree[low:high]))
        edges = by_source[int(out_ptr[low]) : int(out_ptr[high])]
        outgoing.append(bags(edges, schedule.target[edges], out_degree[low:high]))
        here = ((schedule.output >= low) & (schedule.output < high)).nonzero().view(-1)
        outputs_of_level.append(((schedule.output[here] - low).to(device), output_variant[here].to(device)))
    input_variant = schedule.variant[: schedule.level_ptr[1]]
    return LevelPlan(
        incoming=incoming,
        outgoing=outgoing,
        input_variant=input_variant.to(device),
        input_ptr=cumsum(torch.bincount(input_variant, minlength=schedule.num_variants)).to(device),
        output_rows=(first_row[schedule.output].view(-1, 1) + images.T * stride[schedule.output].view(-1, 1)).view(-1).to(device),
        output_ptr=schedule.output_ptr.to(device),
        outputs_of_level=outputs_of_level,
        output_count=schedule.output_ptr.diff().to(device),
    )


def _weighted_sum(rows: Tensor, bags: Bags, weight: Tensor, batch_size: int) -> Tensor:
    """``out[i] = sum over the rows r of bag i of weight[edge of r] * rows[r]``."""
    if bags.rows.numel() == 0:
        return rows.new_zeros(bags.offsets.numel(), rows.size(1))
    per_row = weight[bags.edges].to(rows.dtype).repeat(batch_size)
    return F.embedding_bag(bags.rows, rows, bags.offsets, mode="sum", per_sample_weights=per_row)


class _LevelWalk(torch.autograd.Function):
    """The whole walk as one differentiable function, so that no autograd graph grows with the number of edges.

    Inputs: maps ``x (V, B, C, H, W)``, weights ``(M,)`` in the order of the schedule's edges, and the node operation's parameters.
    """

    @staticmethod
    def forward(
        ctx: Any,
        plan: LevelPlan,
        schedule: Schedule,
        operation: LevelOperation,
        record: bool,
        x: Tensor,
        weight: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        variants, images, *shape = x.shape
        size = x[0, 0].numel()
        rows = x.new_empty(images * schedule.order.numel(), size)
        tapes: list[Tape] = []
        for level, (low, high) in enumerate(pairwise(schedule.level_ptr)):
            if level == 0:
                a = x.transpose(0, 1)[:, plan.input_variant]
            else:
                a = _weighted_sum(rows, plan.incoming[level], weight, images).view(images, high - low, *shape)
            y, tape = operation.forward(level, low, high, a, parameters, record)
            rows[images * low : images * high].view(images, high - low, *shape).copy_(y)
            tapes.append(tape)
            del a, y, tape
        outputs = rows[plan.output_rows].view(-1, images * size)
        result = segment(outputs, plan.output_ptr, reduce="mean").to(x.dtype).view(variants, images, *shape)
        if record:
            ctx.plan, ctx.schedule, ctx.operation, ctx.num_parameters = plan, schedule, operation, len(parameters)
            ctx.graphs, ctx.lengths = [tape.graphs for tape in tapes], [len(tape.tensors) for tape in tapes]
            ctx.save_for_backward(weight, rows, *parameters, *(tensor for tape in tapes for tensor in tape.tensors))
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        plan, schedule, operation = ctx.plan, ctx.schedule, ctx.operation
        weight, rows, *saved = ctx.saved_tensors
        parameters, tensors = saved[: ctx.num_parameters], saved[ctx.num_parameters :]
        tapes = []
        for length, graphs in zip(ctx.lengths, ctx.graphs, strict=True):
            tapes.append(Tape(tuple(tensors[:length]), graphs))
            tensors = tensors[length:]
        variants, images, *shape = grad.shape
        size = rows.size(1)
        # `grad_rows` holds the gradient of each node's weighted sum a_n, which is what its predecessors gather.
        grad_rows = torch.empty_like(rows)
        grad_weight = torch.zeros_like(weight)
        grad_parameters = operation.empty_gradients(parameters)
        grad_output = (grad / plan.output_count.view(-1, 1, 1, 1, 1)).to(rows.dtype).transpose(0, 1)
        for level in reversed(range(schedule.num_levels)):
            low, high = schedule.level_ptr[level : level + 2]
            grad_y = _weighted_sum(grad_rows, plan.outgoing[level], weight, images).view(images, high - low, *shape)
            node, variant = plan.outputs_of_level[level]
            if node.numel():
                grad_y[:, node] += grad_output[:, variant]
            grad_a = grad_rows[images * low : images * high]
            operation.backward(level, low, high, tapes[level], grad_y, parameters, grad_parameters, out=grad_a.view_as(grad_y))
            bags = plan.incoming[level]
            if bags.rows.numel():
                # d loss / d w_e = <gradient of a at the target, y of the source>, summed over the images.
                products = torch.ops.aten._embedding_bag_per_sample_weights_backward(grad_a, rows, bags.rows, bags.offsets, bags.bag, 0, -1)
                grad_weight[bags.edges] = products.view(images, -1).sum(0, dtype=weight.dtype)
        grad_input = None
        if ctx.needs_input_grad[4]:
            inputs = grad_rows[: images * schedule.level_ptr[1]].view(images, -1, size).transpose(0, 1).reshape(-1, images * size)
            grad_input = segment(inputs, plan.input_ptr, reduce="sum").view(variants, images, *shape)
        return None, None, None, None, grad_input, grad_weight, *grad_parameters


@torch.compiler.disable
def run_levels(schedule: Schedule, plan: LevelPlan, operation: LevelOperation, x: Tensor, weight: Tensor) -> Tensor:
    """Walk ``schedule`` level by level.

    Args:
        schedule: the walk.
        plan: ``make_plan(schedule, B, x.device)``.
        operation: what a node does.
        x: input maps, ``(V, B, C, H, W)``; its type is the one that the maps are kept in.
        weight: one weight an edge of the schedule, ``(M,)``.

    Returns:
        mean over the output nodes of each variant, ``(V, B, C, H, W)``.
    """
    parameters = operation.parameters()
    with torch.autocast(x.device.type, enabled=False):
        return _LevelWalk.apply(plan, schedule, operation, torch.is_grad_enabled(), x, weight, *parameters)
