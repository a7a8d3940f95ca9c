"""Executor ``levels``: plain PyTorch and PyG, all nodes of one level of all variants at once, with no map stored per edge.

Maps live in one buffer of rows, ``C*H*W`` values each. The rows of a level with ``n`` nodes are laid out ``(B, n)``: they are the input of
one grouped convolution and can be addressed by (image, node). The weighted sum over incoming edges is then one call of
:func:`torch.nn.functional.embedding_bag`, which reads each source row once per edge, adds in registers and writes each target row once.
The backward pass walks the levels in reverse and gathers the gradient of a node from its successors by the transposed sums, so that the
order of every sum is fixed.

The backward pass of a node calls PyTorch's own backward operators (``torch.ops.aten``). With public ones (:mod:`torch.nn.grad` and
BatchNorm written out) a training step took 1.33 to 1.44 times the CPU time (hermaphrodite, 16 channels of 14x14, batch 16, one thread),
because the two gradients of the convolution and the terms of BatchNorm then each read the maps once more.
:func:`torch.sparse.sampled_addmm` would compute the edges' gradients at the same cost, but has no bfloat16.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.utils import cumsum, segment

from elegans_pyg.nn.dag.node_operation import DepthwiseOperation, LevelOperation, ModuleOperation
from elegans_pyg.nn.dag.scatter import gradients_by_definition
from elegans_pyg.nn.dag.schedule import Schedule
from elegans_pyg.nn.workspace import Workspace

_PIECE_BYTES = 8 * 2**20


class Sums(NamedTuple):
    """Weighted sums of rows: the rows, the offset of each sum into them, the sum that each row belongs to, and the edges of the rows."""

    rows: Tensor
    offsets: Tensor
    of_row: Tensor
    edges: Tensor


class Piece(NamedTuple):
    """Positions ``low:high``, a level or part of a wide one: their forward and backward sums, and which are outputs of which variant."""

    low: int
    high: int
    incoming: Sums
    outgoing: Sums
    outputs: Tensor
    output_variant: Tensor


class LevelPlan(NamedTuple):
    """A :class:`Schedule` for one shape of maps and one device."""

    workspace: Workspace
    pieces: list[Piece]
    input_variant: Tensor
    input_ptr: Tensor
    input_rows: Tensor
    output_rows: Tensor
    output_ptr: Tensor


def make_plan(schedule: Schedule, batch_size: int, map_bytes: int, device: torch.device, workspace: Workspace) -> LevelPlan:
    """List the rows that each piece of a level reads, for ``batch_size`` images whose maps have ``map_bytes`` bytes each."""
    positions, inputs, images = schedule.order.numel(), schedule.level_ptr[1], torch.arange(batch_size).view(-1, 1)
    # On the CPU, larger pieces do not fit in the cache, and every temporary over 32 MiB is a new system allocation.
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


def walk_levels(
    plan: LevelPlan, operation: LevelOperation, record: bool, x: Tensor, weight: Tensor
) -> tuple[Tensor, list[Tensor], list[Any]]:
    """Compute the mean over each variant's output nodes, of the shape of ``x (V, B, C, H, W)``.

    Also returns, for the backward pass, the maps of all nodes followed by those that the operation keeps, and its record of each piece.
    ``weight (M,)`` holds one value per edge of the schedule.
    """
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
        steps.append(operation.forward(slice(low, high), a, room if record else None, out=y))
        del a
    outputs = rows[plan.output_rows].view(-1, images * size)
    return segment(outputs, plan.output_ptr, reduce="mean").to(x.dtype).view(variants, images, *shape), [rows, *kept], steps


def walk_levels_back(
    plan: LevelPlan, operation: LevelOperation, grad: Tensor, weight: Tensor, maps: Sequence[Tensor], steps: list[Any]
) -> list[Tensor]:
    """Compute gradients of ``x``, ``weight`` and the operation's parameters from what :func:`walk_levels` kept."""
    rows, *kept = maps
    variants, images, *shape = grad.shape
    # `grad_rows` holds the gradient of each node's weighted sum a_n, which is what its predecessors gather.
    grad_rows = plan.workspace.take(rows.numel(), rows).view_as(rows)
    grad_weight, grad_parameters = torch.zeros_like(weight), [torch.empty_like(p) for p in operation.parameters]
    grad_output = (grad / plan.output_ptr.diff().view(-1, 1, 1, 1, 1)).to(rows.dtype).transpose(0, 1)
    for (low, high, incoming, outgoing, node, variant), step in zip(reversed(plan.pieces), reversed(steps), strict=True):
        grad_y = _weighted_sum(grad_rows, outgoing, weight, images).view(images, high - low, *shape)
        if node.numel():
            grad_y[:, node] += grad_output[:, variant]
        grad_a = grad_rows[images * low : images * high]
        room = [buffer[images * low : images * high].view_as(grad_y) for buffer in kept]
        operation.backward(slice(low, high), step, grad_y, room, grad_parameters, out=grad_a.view_as(grad_y))
        if incoming.rows.numel():
            # d loss / d w_e = <gradient of a at the target, y of the source>, summed over the images.
            by_row = torch.ops.aten._embedding_bag_per_sample_weights_backward
            products = by_row(grad_a, rows, incoming.rows, incoming.offsets, incoming.of_row, 0, -1)
            grad_weight[incoming.edges] = products.view(images, -1).sum(0, dtype=weight.dtype)
    inputs = grad_rows[plan.input_rows].view(-1, images * rows.size(1))
    grad_input = segment(inputs, plan.input_ptr, reduce="sum").view(variants, images, *shape)
    return [grad_input, grad_weight, *grad_parameters]


class LevelWalk:
    """A schedule on one device, with a plan for each shape of maps.

    Attributes:
        handle: number by which an operator finds this walk while it is referenced; operators take only tensors and plain numbers.
    """

    def __init__(self, schedule: Schedule, workspace: Workspace, device: torch.device) -> None:
        self.schedule, self.workspace, self.device, self.handle = schedule, workspace, device, next(_handles)
        self.order, self.edge_order = schedule.order.to(device), schedule.edge_order.to(device)
        self._plans: dict[tuple[int, int], LevelPlan] = {}
        _walks[self.handle] = self

    def __reduce__(self) -> tuple[type[LevelWalk], tuple[Any, ...]]:
        # A copy is a new walk with a handle of its own.
        return LevelWalk, (self.schedule, self.workspace, self.device)

    def plan(self, x: Tensor) -> LevelPlan:
        """Return the plan for maps of the shape of ``x (V, B, C, H, W)``."""
        key = (x.size(1), x[0, 0].numel() * x.element_size())
        if key not in self._plans:
            # Three plans serve training, evaluation and its last batch; a fourth replaces the oldest.
            if len(self._plans) >= 3:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = make_plan(self.schedule, *key, self.device, self.workspace)
        return self._plans[key]

    def gathered(self, *of_nodes: Tensor) -> list[Tensor]:
        """Return parameters or statistics of the batch's nodes in schedule order."""
        return [p.index_select(0, self.order) for p in of_nodes]


_handles = itertools.count()
_walks: weakref.WeakValueDictionary[int, LevelWalk] = weakref.WeakValueDictionary()


# The walk with the built-in node operation is a custom operator, so that torch.compile infers shapes without tracing it.
@torch.library.custom_op(
    "elegans_pyg::levels",
    mutates_args=(),
    schema="(Tensor x, Tensor edge_weight, Tensor conv_weight, Tensor norm_weight, Tensor norm_bias, Tensor running_mean,"
    " Tensor running_var, int handle, bool training, bool record, float momentum, float eps)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _levels(x: Tensor, edge_weight: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """Return the maps ``out``, the updated running statistics, and for the backward pass the nodes' maps and the statistics used."""
    *of_nodes, handle, training, record, momentum, eps = arguments
    walk = _walks[handle]
    *parameters, mean, var = walk.gathered(*of_nodes)
    running = mean, var
    used = (torch.empty_like(mean), torch.empty_like(var)) if training else running
    operation = DepthwiseOperation(parameters, running, used, training, momentum, eps)
    with torch.autocast(x.device.type, enabled=False):
        out, maps, _ = walk_levels(walk.plan(x), operation, record, x, edge_weight[walk.edge_order])
    statistics = [p.index_copy(0, walk.order, now) for p, now in zip(of_nodes[3:], running, strict=True)]
    maps += [x.new_empty(0) for _ in range(3 - len(maps))]
    return out, *statistics, *maps, *used


@_levels.register_fake
def _(x: Tensor, edge_weight: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    _, norm_weight, _, running_mean, running_var, handle, _, record, *_ = arguments
    nodes = _walks[handle].order.numel()
    rows = x.new_empty(nodes * x.size(1), x[0, 0].numel())
    kept = [torch.empty_like(rows) if record else x.new_empty(0) for _ in range(2)]
    used = [norm_weight.new_empty(nodes, norm_weight.size(1)) for _ in range(2)]
    return x.new_empty(x.shape), torch.empty_like(running_mean), torch.empty_like(running_var), rows, *kept, *used


@torch.library.custom_op(
    "elegans_pyg::levels_back",
    mutates_args=(),
    schema="(Tensor grad, Tensor rows, Tensor relu, Tensor z, Tensor mean, Tensor spread, Tensor edge_weight, Tensor conv_weight,"
    " Tensor norm_weight, Tensor norm_bias, int handle, bool training, float eps) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _levels_back(grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """Compute gradients of ``x`` and of the four parameters."""
    *maps, mean, spread, edge_weight, conv_weight, norm_weight, norm_bias, handle, training, eps = arguments
    walk = _walks[handle]
    used = mean, spread
    operation = DepthwiseOperation(walk.gathered(conv_weight, norm_weight, norm_bias), used, used, training, 0.0, eps)
    plan = walk.plan(grad)
    grad_x, *results = walk_levels_back(plan, operation, grad, edge_weight[walk.edge_order], maps, [None] * len(plan.pieces))
    gradients = [torch.zeros_like(p) for p in (edge_weight, conv_weight, norm_weight, norm_bias)]
    for gradient, result, places in zip(gradients, results, (walk.edge_order, *[walk.order] * 3), strict=True):
        gradient.index_copy_(0, places, result)
    return grad_x, *gradients


@_levels_back.register_fake
def _(grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return grad.new_empty(grad.shape), *(torch.empty_like(p) for p in arguments[5:9])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    handle, training, _, _, eps = inputs[7:]
    # The other outputs have no gradients, and zeros in their place would take as much memory as all maps.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:5], *output[3:])
    # A walk is found by its handle only while it is referenced.
    ctx.walk, ctx.options = _walks[handle], (handle, training, eps)


def _differentiate(ctx: Any, grad: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 12
    inputs, left = ctx.saved_tensors[:5], ctx.saved_tensors[5:]
    _, training, eps = ctx.options
    if torch.is_grad_enabled():
        statistics = None if training else left[3:]
        return *gradients_by_definition(ctx.walk.schedule, inputs, statistics, eps, grad), *(None,) * 7
    return *_levels_back(grad, *left, *inputs[1:], *ctx.options), *(None,) * 7


_levels.register_autograd(_differentiate, setup_context=_save)


def run_levels(handle: int, training: bool, momentum: float, eps: float, x: Tensor, *tensors: Tensor) -> Tensor:
    """Compute the mean over each variant's output nodes, of the shape and dtype of ``x (V, B, C, H, W)``; maps are stored in that dtype.

    ``tensors`` are, for all edges and nodes of the batch, the edge weights, convolution weights, BatchNorm's weight and bias, and its
    running mean and variance, which are updated in ``training``. ``handle`` is that of a :class:`LevelWalk`.
    """
    out, *statistics = _levels(x, *tensors, handle, training, torch.is_grad_enabled(), momentum, eps)[:3]
    if training:
        with torch.no_grad():
            for running, now in zip(tensors[-2:], statistics, strict=True):
                running.copy_(now)
    return out


class _ModuleWalk(torch.autograd.Function):
    """The walk with the user's modules, whose autograd graphs it keeps."""

    @staticmethod
    def forward(
        ctx: Any, plan: LevelPlan, operation: ModuleOperation, record: bool, x: Tensor, weight: Tensor, *parameters: Tensor
    ) -> Tensor:
        out, maps, ctx.steps = walk_levels(plan, operation, record, x, weight)
        ctx.plan, ctx.operation = plan, operation
        ctx.save_for_backward(weight, *maps)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "create_graph: executor 'levels' has second derivatives only for the built-in node operation, and this network has"
                " node_operation; give DAGNet executor='scatter'"
            )
        weight, *maps = ctx.saved_tensors
        return None, None, None, *walk_levels_back(ctx.plan, ctx.operation, grad, weight, maps, ctx.steps)


def run_modules(plan: LevelPlan, operation: ModuleOperation, x: Tensor, weight: Tensor) -> Tensor:
    """As :func:`run_levels`, with a module for each node; ``weight (M,)`` holds one value per edge of the schedule."""
    return _ModuleWalk.apply(plan, operation, torch.is_grad_enabled(), x, weight, *operation.parameters)
