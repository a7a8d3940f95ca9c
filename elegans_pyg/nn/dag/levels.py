"""Executor ``levels``: plain PyTorch and PyG, all nodes of one level of all variants at once, with no map stored per edge.

Maps live in one buffer of rows, ``C*H*W`` values each. The rows of a level with ``n`` nodes are laid out ``(B, n)``, so that they are at
once the input of one grouped convolution and addressable by (image, node). The weighted sum over incoming edges is then one call of
:func:`torch.nn.functional.embedding_bag`, which reads each source row once per edge, adds in registers and writes each target row once.
Backward walks the levels in reverse and gathers the gradient of a node from its successors by the transposed sums, so that nothing is
accumulated in an undefined order.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.utils import cumsum, segment

from elegans_pyg.nn.dag.node_operation import LevelOperation
from elegans_pyg.nn.dag.schedule import Schedule
from elegans_pyg.nn.workspace import Workspace

_PIECE_BYTES = 8 * 2**20


class Sums(NamedTuple):
    """Weighted sums of rows: the rows, where each sum starts among them, the sum of each row, and the edges behind the rows."""

    rows: Tensor
    offsets: Tensor
    of_row: Tensor
    edges: Tensor


class Piece(NamedTuple):
    """Positions ``low:high``, a level or part of a wide one: what they sum forward and backward, and which are outputs of which variant."""

    low: int
    high: int
    incoming: Sums
    outgoing: Sums
    outputs: Tensor
    output_variant: Tensor


class LevelPlan(NamedTuple):
    """A :class:`Schedule` made concrete for one shape of maps and device."""

    workspace: Workspace
    pieces: list[Piece]
    input_variant: Tensor
    input_ptr: Tensor
    input_rows: Tensor
    output_rows: Tensor
    output_ptr: Tensor


def make_plan(schedule: Schedule, batch_size: int, map_bytes: int, device: torch.device, workspace: Workspace) -> LevelPlan:
    """Spell out which rows each piece of a level reads, for ``batch_size`` images whose maps have ``map_bytes`` bytes each."""
    positions, inputs, images = schedule.order.numel(), schedule.level_ptr[1], torch.arange(batch_size).view(-1, 1)
    # On the CPU, larger pieces leave the cache, and every temporary over 32 MiB is asked of the system anew.
    widest = max(1, _PIECE_BYTES // (batch_size * map_bytes)) if device.type == "cpu" else positions
    cuts = [low for start, end in pairwise(schedule.level_ptr) for low in range(start, end, widest)] + [positions]
    width = torch.tensor(cuts).diff()
    start, stride = (torch.repeat_interleave(values, width) for values in (torch.tensor(cuts[:-1]), width))
    first_row = batch_size * start + torch.arange(positions) - start

    def rows_of(positions: Tensor) -> Tensor:
        return (first_row[positions].view(-1, 1) + images.T * stride[positions].view(-1, 1)).view(-1)

    def sums(edges: Tensor, read: Tensor, counts: Tensor) -> Sums:
        lengths = counts.repeat(batch_size)
        of_row = torch.repeat_interleave(torch.arange(lengths.numel()), lengths)
        rows = (first_row[read] + images * stride[read]).view(-1)
        return Sums(rows.to(device), cumsum(lengths)[:-1].to(device), of_row.to(device), edges.to(device))

    in_degree, out_degree = schedule.edge_ptr.diff(), torch.bincount(schedule.source, minlength=positions)
    by_source, out_ptr = torch.argsort(schedule.source, stable=True), cumsum(out_degree)
    output_variant = torch.repeat_interleave(torch.arange(schedule.num_variants), schedule.output_ptr.diff())
    pieces = []
    for low, high in pairwise(cuts):
        edges, out_edges = torch.arange(int(schedule.edge_ptr[low]), int(schedule.edge_ptr[high])), by_source[out_ptr[low] : out_ptr[high]]
        incoming = sums(edges, schedule.source[edges], in_degree[low:high])
        outgoing = sums(out_edges, schedule.target[out_edges], out_degree[low:high])
        here = ((schedule.output >= low) & (schedule.output < high)).nonzero().view(-1)
        outputs = (schedule.output[here] - low).to(device), output_variant[here].to(device)
        pieces.append(Piece(low, high, incoming, outgoing, *outputs))
    input_variant = schedule.variant[:inputs]
    input_ptr = cumsum(torch.bincount(input_variant, minlength=schedule.num_variants))
    ends = input_variant, input_ptr, rows_of(torch.arange(inputs)), rows_of(schedule.output), schedule.output_ptr
    return LevelPlan(workspace, pieces, *(tensor.to(device) for tensor in ends))


def _weighted_sum(rows: Tensor, sums: Sums, weight: Tensor, batch_size: int) -> Tensor:
    """``out[i] = sum over the rows r of sum i of weight[edge of r] * rows[r]``."""
    if sums.rows.numel() == 0:
        return rows.new_zeros(sums.offsets.numel(), rows.size(1))
    per_row = weight[sums.edges].to(rows.dtype).repeat(batch_size)
    return F.embedding_bag(sums.rows, rows, sums.offsets, mode="sum", per_sample_weights=per_row)


class _LevelWalk(torch.autograd.Function):
    """The whole walk as one differentiable function, so that no autograd graph grows with the number of edges."""

    @staticmethod
    def forward(
        ctx: Any, plan: LevelPlan, operation: LevelOperation, record: bool, x: Tensor, weight: Tensor, *parameters: Tensor
    ) -> Tensor:
        variants, images, *shape = x.shape
        size, count = x[0, 0].numel(), images * plan.pieces[-1].high
        rows, *kept = (plan.workspace.take(count * size, x).view(count, size) for _ in range(1 + record * operation.maps_kept))
        steps = []
        for low, high, incoming, *_ in plan.pieces:
            if high <= plan.input_variant.numel():
                a = x.transpose(0, 1)[:, plan.input_variant[low:high]]
            else:
                a = _weighted_sum(rows, incoming, weight, images).view(images, high - low, *shape)
            y, *room = (buffer[images * low : images * high].view(images, high - low, *shape) for buffer in (rows, *kept))
            steps.append(operation.forward(slice(low, high), a, parameters, room if record else None, out=y))
            del a
        outputs = rows[plan.output_rows].view(-1, images * size)
        result = segment(outputs, plan.output_ptr, reduce="mean").to(x.dtype).view(variants, images, *shape)
        if record:
            ctx.plan, ctx.operation, ctx.steps = plan, operation, steps
            ctx.save_for_backward(weight, rows, *kept, *parameters)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        plan, operation = ctx.plan, ctx.operation
        weight, rows, *saved = ctx.saved_tensors
        kept, parameters = saved[: operation.maps_kept], saved[operation.maps_kept :]
        variants, images, *shape = grad.shape
        # `grad_rows` holds the gradient of each node's weighted sum a_n, which is what its predecessors gather.
        grad_rows = plan.workspace.take(rows.numel(), rows).view_as(rows)
        grad_weight, grad_parameters = torch.zeros_like(weight), [torch.empty_like(p) for p in parameters]
        grad_output = (grad / plan.output_ptr.diff().view(-1, 1, 1, 1, 1)).to(rows.dtype).transpose(0, 1)
        for (low, high, incoming, outgoing, node, variant), step in zip(reversed(plan.pieces), reversed(ctx.steps), strict=True):
            grad_y = _weighted_sum(grad_rows, outgoing, weight, images).view(images, high - low, *shape)
            if node.numel():
                grad_y[:, node] += grad_output[:, variant]
            grad_a = grad_rows[images * low : images * high]
            room = [buffer[images * low : images * high].view_as(grad_y) for buffer in kept]
            operation.backward(slice(low, high), step, grad_y, parameters, room, grad_parameters, out=grad_a.view_as(grad_y))
            if incoming.rows.numel():
                # d loss / d w_e = <gradient of a at the target, y of the source>, summed over the images.
                by_row = torch.ops.aten._embedding_bag_per_sample_weights_backward
                products = by_row(grad_a, rows, incoming.rows, incoming.offsets, incoming.of_row, 0, -1)
                grad_weight[incoming.edges] = products.view(images, -1).sum(0, dtype=weight.dtype)
        grad_input = None
        if ctx.needs_input_grad[3]:
            inputs = grad_rows[plan.input_rows].view(-1, images * rows.size(1))
            grad_input = segment(inputs, plan.input_ptr, reduce="sum").view(variants, images, *shape)
        return None, None, None, grad_input, grad_weight, *grad_parameters


@torch.compiler.disable
def run_levels(plan: LevelPlan, operation: LevelOperation, x: Tensor, weight: Tensor) -> Tensor:
    """Mean over the output nodes of each variant, ``(V, B, C, H, W)``; maps are kept in the type of ``x``, and a plan is for one number of
    images. ``weight (M,)`` holds one an edge of the schedule.
    """
    with torch.autocast(x.device.type, enabled=False):
        return _LevelWalk.apply(plan, operation, torch.is_grad_enabled(), x, weight, *operation.parameters)
