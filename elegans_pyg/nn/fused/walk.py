"""The fused walk as a differentiable function, the same for both back ends."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elegans_pyg.nn.schedule import Schedule
from elegans_pyg.nn.workspace import Workspace


@dataclass(frozen=True)
class Walk:
    """A :class:`Schedule` variant after variant: what the kernels read, and where its nodes and edges stand in the batch.

    Attributes:
        nodes ``(A,)``: node of each place in the walk.
        edges ``(M,)``: edge of each place, sorted by target.
        node_ptr ``(V + 1,)``: offsets of the variants into ``nodes``.
        in_ptr ``(A + 1,)``, in_source ``(M,)``: incoming edges of each place, and where they start, counted inside the variant.
        out_ptr ``(A + 1,)``, out_target ``(M,)``, out_edge ``(M,)``: outgoing edges, where they end (inside the variant), and their places.
        is_input ``(A,)``, is_output ``(A,)``: bool.
        output_share ``(V,)``: one over the number of output nodes, float64.
        workspace: room for the maps.
    """

    nodes: Tensor
    edges: Tensor
    node_ptr: Tensor
    in_ptr: Tensor
    in_source: Tensor
    out_ptr: Tensor
    out_target: Tensor
    out_edge: Tensor
    is_input: Tensor
    is_output: Tensor
    output_share: Tensor
    workspace: Workspace

    @classmethod
    def from_schedule(cls, schedule: Schedule, workspace: Workspace) -> Walk:
        by_variant = torch.argsort(schedule.variant, stable=True)
        place = torch.empty_like(by_variant)
        place[by_variant] = torch.arange(by_variant.numel())
        node_ptr = _offsets(torch.bincount(schedule.variant, minlength=schedule.num_variants))
        local = place - node_ptr[schedule.variant]

        by_target = torch.argsort(place[schedule.target], stable=True)
        source, target = schedule.source[by_target], schedule.target[by_target]
        by_source = torch.argsort(place[source], stable=True)
        flags = torch.zeros(2, place.numel(), dtype=torch.bool)
        flags[0, place[: schedule.level_ptr[1]]] = True
        flags[1, place[schedule.output]] = True
        return cls(
            nodes=schedule.order[by_variant],
            edges=schedule.edge_order[by_target],
            node_ptr=node_ptr,
            in_ptr=_offsets(torch.bincount(place[target], minlength=place.numel())),
            in_source=local[source],
            out_ptr=_offsets(torch.bincount(place[source], minlength=place.numel())),
            out_target=local[target[by_source]],
            out_edge=by_source,
            is_input=flags[0],
            is_output=flags[1],
            output_share=1 / schedule.output_ptr.diff().double(),
            workspace=workspace,
        )

    def to(self, device: torch.device) -> Walk:
        """The same walk with its tensors on ``device``."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "workspace"})


class Shape(NamedTuple):
    """Shape of a walk's maps: each is laid out ``(H, W, B)``."""

    channels: int
    height: int
    width: int
    images: int


class Parameters(NamedTuple):
    """Of the walk's edges ``(M,)`` and nodes ``(A, C, 9)``, ``(A, C)``, in walk order; the last two are BatchNorm's statistics."""

    edge_weight: Tensor
    conv_weight: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    mean: Tensor
    variance: Tensor


def _offsets(counts: Tensor) -> Tensor:
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def _backend(device: torch.device) -> Any:
    # Imported on use: Numba and Triton are optional, and slow to import.
    if device.type == "cpu":
        from elegans_pyg.nn.fused import cpu

        return cpu
    from elegans_pyg.nn.fused import cuda

    return cuda


class _FusedWalk(torch.autograd.Function):
    """Inputs: maps ``x (V, B, C, H, W)`` and the tensors of :class:`Parameters`; training overwrites the statistics."""

    @staticmethod
    def forward(
        ctx: Any, walk: Walk, backend: Any, training: bool, record: bool, eps: float, kept_type: torch.dtype, x: Tensor, *tensors: Tensor
    ) -> Tensor:
        variants, images, channels, height, width = x.shape
        shape = Shape(channels, height, width, images)
        # For maps of one pixel, reshape alone would give back a view with strides, which the kernels do not expect.
        maps = x.permute(0, 2, 3, 4, 1).reshape(variants, channels, -1).contiguous()
        parameters = Parameters(*(t.contiguous() for t in tensors))
        z = walk.workspace.take(walk.nodes.numel() * channels * maps.size(-1), maps.new_empty(0, dtype=kept_type))
        relu = walk.workspace.take(z.numel() if record or backend.NEEDS_RELU else 0, z)
        out = torch.empty_like(maps)
        backend.forward(walk, shape, training, record, eps, parameters, maps, z, relu, out)
        if record:
            ctx.walk, ctx.backend, ctx.training, ctx.eps, ctx.shape, ctx.overwritten = walk, backend, training, eps, shape, False
            ctx.save_for_backward(maps, z, relu, *parameters)
        return out.view(variants, channels, height, width, images).permute(0, 4, 1, 2, 3)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        walk, backend, shape = ctx.walk, ctx.backend, ctx.shape
        maps, z, relu, *tensors = ctx.saved_tensors
        parameters = Parameters(*tensors)
        if ctx.overwritten:
            backend.restore_relu(walk, shape, ctx.eps, parameters, maps, z, relu)
        ctx.overwritten = True
        grad_maps = grad.permute(0, 2, 3, 4, 1).reshape(maps.shape).contiguous()
        grad_x = torch.empty_like(maps)
        # A term a channel of each edge's gradient, added up in one order: no atomics, the same bits every time.
        grad_edge = maps.new_empty(shape.channels, parameters.edge_weight.numel())
        results = [grad_edge, *(torch.empty_like(p) for p in parameters[1:4])]
        backend.backward(walk, shape, ctx.training, ctx.eps, parameters, z, relu, grad_maps, grad_x, *results)
        results[0] = grad_edge.sum(0)
        grad_x = grad_x.view(*maps.shape[:2], shape.height, shape.width, shape.images).permute(0, 4, 1, 2, 3)
        return *(None,) * 6, grad_x, *results, None, None


@torch.compiler.disable
def run_fused(
    walk: Walk,
    training: bool,
    eps: float,
    x: Tensor,
    weight: Tensor,
    conv_weight: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    kept_type: torch.dtype | None = None,
) -> Tensor:
    """Walk all variants of ``walk``, each channel by itself.

    Args:
        walk: the order, ``Walk.from_schedule(...)``, on the device of ``x``.
        training: normalise by the batch's statistics and write them to ``mean`` and ``variance`` (biased), instead of reading those.
        eps: of BatchNorm.
        x: input maps ``(V, B, C, H, W)``; float32, or on the CPU float64.
        weight, conv_weight, norm_weight, norm_bias, mean, variance: of the walk's edges ``(M,)``, and of its nodes ``(A, C, 3, 3)`` and
            ``(A, C)``, in walk order and of the type of ``x``.
        kept_type: type that maps are stored in, that of ``x`` by default; sums and statistics are in the type of ``x``.

    Returns:
        mean over the output nodes of each variant, ``(V, B, C, H, W)``.
    """
    tensors = (weight, conv_weight.flatten(2), norm_weight, norm_bias, mean, variance)
    return _FusedWalk.apply(walk, _backend(x.device), training, torch.is_grad_enabled(), eps, kept_type or x.dtype, x, *tensors)
