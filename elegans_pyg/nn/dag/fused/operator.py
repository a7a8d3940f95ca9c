"""The fused walk as a differentiable operator, for CPU and CUDA kernels alike."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from elegans_pyg.nn.dag.fused.walk import Parameters, Shape, Walk, walks
from elegans_pyg.nn.dag.scatter import gradients_by_definition


def _backend(device: torch.device) -> Any:
    # Imported on use: Numba and Triton are optional, and slow to import.
    return import_module(f"elegans_pyg.nn.dag.fused.{device.type}_kernels")


def _to_walk(maps: Tensor) -> Tensor:
    """``(V, B, C, H, W)`` as ``(V, C, H * W * B)``."""
    # For maps of one pixel, reshape alone would return a strided view, which the kernels do not expect.
    return maps.permute(0, 2, 3, 4, 1).reshape(maps.size(0), maps.size(2), -1).contiguous()


def _new_maps(like: Tensor) -> Tensor:
    """Return uninitialised maps of the same shape, in the memory layout of :func:`_to_walk`."""
    return torch.empty_like(like.permute(0, 2, 3, 4, 1), memory_format=torch.contiguous_format).permute(0, 4, 1, 2, 3)


# The walk is a custom operator, so that torch.compile infers shapes without tracing it.
@torch.library.custom_op(
    "elegans_pyg::walk",
    mutates_args=(),
    schema="(Tensor x, Tensor edge_weight, Tensor conv_weight, Tensor norm_weight, Tensor norm_bias, Tensor running_mean,"
    " Tensor running_var, int handle, bool training, bool record, float momentum, float eps, ScalarType kept_type)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _walk(x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """Return the maps ``out``, the updated running statistics, and for the backward pass the rectified sums, mean and variance."""
    *tensors, handle, training, record, momentum, eps, kept_type = arguments
    walk, backend = walks[handle], _backend(x.device)
    parameters = Parameters(*walk.gathered(*tensors))
    out = _new_maps(x)
    count = x[0, :, 0].numel()
    shape = Shape._make((*x.shape[2:], x.size(1)))
    kept = walk.nodes.numel() * shape.channels * _map_size(backend, shape, kept_type) if record else 0
    relu = walk.workspace.take(kept, x.new_empty(0, dtype=kept_type))
    room = _room(walk, backend, shape, relu)
    backend.forward(shape, training, record, eps, walk.graph_in(x.dtype), parameters, _to_walk(x), relu, _to_walk(out), room)
    statistics = [running.clone() for running in tensors[-2:]]
    if training:
        for running, batch in zip(statistics, (parameters.mean, parameters.variance * (count / (count - 1))), strict=True):
            running.index_copy_(0, walk.nodes, running.index_select(0, walk.nodes).lerp_(batch, momentum))
    return out, *statistics, relu, parameters.mean, parameters.variance


def _room(walk: Walk, backend: Any, shape: Shape, like: Tensor) -> Tensor:
    """Return the slots of the maps that a walk needs at a time, one row for each (variant, channel) pair that runs at a time."""
    rows = backend.pairs_at_once(walk.graph.output_share.numel() * shape.channels)
    return walk.workspace.take(rows * walk.slots * _map_size(backend, shape, like.dtype), like).view(rows, -1)


def _map_size(backend: Any, shape: Shape, dtype: torch.dtype) -> int:
    """Return the size of a map, in numbers; kernels may pad the images."""
    return shape.height * shape.width * backend.images_in_memory(shape.images, dtype)


@_walk.register_fake
def _(x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    *_, norm_bias, running_mean, running_var, handle, _, record, _, _, kept_type = arguments
    nodes, shape = walks[handle].nodes.numel(), Shape._make((*x.shape[2:], x.size(1)))
    kept = nodes * shape.channels * _map_size(_backend(x.device), shape, kept_type) if record else 0
    relu = x.new_empty(kept, dtype=kept_type)
    statistics = [norm_bias.new_empty(nodes, norm_bias.size(1)) for _ in range(2)]
    return _new_maps(x), torch.empty_like(running_mean), torch.empty_like(running_var), relu, *statistics


@torch.library.custom_op("elegans_pyg::walk_back", mutates_args=())
def _walk_back(
    grad: Tensor,
    x: Tensor,
    relu: Tensor,
    mean: Tensor,
    variance: Tensor,
    edge_weight: Tensor,
    conv_weight: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    handle: int,
    training: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute gradients of ``x`` and of the four parameters."""
    tensors = edge_weight, conv_weight, norm_weight, norm_bias
    walk, backend, shape = walks[handle], _backend(x.device), Shape._make((*x.shape[2:], x.size(1)))
    graph, parameters = walk.graph_in(x.dtype), Parameters(*(*walk.gathered(*tensors), mean, variance))
    grad_x = _new_maps(x)
    # Each edge's gradient has one term per channel, added in a fixed order: no atomics, the same bits every time.
    results = [x.new_empty(shape.channels, walk.edges.numel()), *(torch.empty_like(p) for p in parameters[1:4])]
    room = _room(walk, backend, shape, relu)
    backend.backward(shape, training, eps, graph, parameters, _to_walk(grad), relu, _to_walk(grad_x), *results, room)
    results[0] = results[0].sum(0)
    gradients = [torch.zeros_like(p) for p in tensors]
    for gradient, result, places in zip(gradients, results, (walk.edges, *[walk.nodes] * 3), strict=True):
        gradient.index_copy_(0, places, result.view(-1, *gradient.shape[1:]))
    return grad_x, *gradients  # type: ignore[return-value]


@_walk_back.register_fake
def _(grad: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return _new_maps(x), *(torch.empty_like(p) for p in arguments[3:7])


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, *parameters = inputs[:5]
    handle, training, _, _, eps, _ = inputs[7:]
    # The other outputs have no gradients, and zeros in their place would take as much memory as all maps.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, *output[3:], *parameters)
    # A walk is found by its handle only while it is referenced.
    ctx.walk, ctx.options = walks[handle], (handle, training, eps)


def _differentiate(ctx: Any, grad: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 13
    x, relu, *tensors = ctx.saved_tensors
    if torch.is_grad_enabled():
        return *_differentiable_gradients(ctx, x, tensors, grad), *(None,) * 8
    return *_walk_back(grad, x, relu, *tensors, *ctx.options), *(None,) * 8


def _differentiable_gradients(ctx: Any, x: Tensor, tensors: list[Tensor], grad: Tensor) -> tuple[Tensor | None, ...]:
    walk, (_, training, eps), (mean, variance, *parameters) = ctx.walk, ctx.options, tensors
    order, by_node = walk.schedule.order.to(x.device), torch.empty_like(parameters[-1])
    # From walk order to schedule order.
    statistics = None if training else [by_node.index_copy(0, walk.nodes, used)[order] for used in (mean, variance)]
    return gradients_by_definition(walk.schedule, (x, *parameters), statistics, eps, grad)


_walk.register_autograd(_differentiate, setup_context=_save)


def run_fused(handle: int, training: bool, momentum: float, eps: float, x: Tensor, *tensors: Tensor, kept_type: torch.dtype) -> Tensor:
    """Compute the mean over each variant's output nodes, of the shape of ``x (V, B, C, H, W)``.

    ``tensors`` are, for all edges and nodes of the batch, the edge weights, convolution weights, BatchNorm's weight and bias, and its
    running mean and variance, which are updated in ``training``. ``handle`` is that of a :class:`~elegans_pyg.nn.dag.fused.walk.Walk` on
    the device of ``x``. Maps are stored in ``kept_type``; sums and statistics are in the dtype of ``x``.
    """
    out, *statistics = _walk(x, *tensors, handle, training, torch.is_grad_enabled(), momentum, eps, kept_type)[:3]
    if training:
        with torch.no_grad():
            for running, now in zip(tensors[-2:], statistics, strict=True):
                running.copy_(now)
    return out
