"""Executor ``fused`` on CUDA: one Triton program a variant and channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elegans_pyg.nn.fused import cuda_kernels as kernels
from elegans_pyg.nn.fused.walk import Parameters, Shape, Walk

NEEDS_RELU = True
"""The convolution reads its neighbours' rectified sums from memory, even if no gradient is wanted."""

_BLOCK = 1024
_WARPS = 8


def _launch(kernel: Any, variants: int, shape: Shape, *arguments: Any, **constants: Any) -> None:
    size = shape.height * shape.width * shape.images
    block = min(_BLOCK, 1 << max(5, (size - 1).bit_length()))
    kernel[(variants, shape.channels)](*arguments, **constants, BLOCK=block, num_warps=max(1, min(_WARPS, block // 128)))


def _scale(parameters: Parameters, eps: float) -> Tensor:
    return parameters.norm_weight * torch.rsqrt(parameters.variance + eps)


def forward(
    walk: Walk,
    shape: Shape,
    training: bool,
    record: bool,
    eps: float,
    parameters: Parameters,
    maps: Tensor,
    z: Tensor,
    relu: Tensor,
    out: Tensor,
) -> None:
    """See :func:`~elegans_pyg.nn.fused.cuda_kernels.forward_walk`."""
    graph = (
        walk.node_ptr,
        walk.in_ptr,
        walk.in_source,
        walk.is_input.view(torch.uint8),
        walk.is_output.view(torch.uint8),
        walk.output_share.to(maps.dtype),
    )
    room = (torch.empty_like(parameters.mean), maps.new_empty(shape.channels, walk.edges.numel()))
    arguments = (*graph, *parameters, maps, z, relu, out, *room, eps, *shape)
    _launch(kernels.forward_walk, maps.size(0), shape, *arguments, TRAINING=training)


def restore_relu(walk: Walk, shape: Shape, eps: float, parameters: Parameters, maps: Tensor, z: Tensor, relu: Tensor) -> None:
    """See :func:`~elegans_pyg.nn.fused.cuda_kernels.relu_walk`."""
    factors = maps.new_empty(shape.channels, walk.edges.numel())
    graph = (walk.node_ptr, walk.in_ptr, walk.in_source, walk.is_input.view(torch.uint8), parameters.edge_weight)
    rest = (parameters.norm_bias, parameters.mean, _scale(parameters, eps), maps, z, relu, factors, shape.channels, maps.size(-1))
    _launch(kernels.relu_walk, maps.size(0), shape, *graph, *rest)


def backward(
    walk: Walk,
    shape: Shape,
    training: bool,
    eps: float,
    parameters: Parameters,
    z: Tensor,
    relu: Tensor,
    grad_maps: Tensor,
    grad_x: Tensor,
    *results: Tensor,
) -> None:
    """See :func:`~elegans_pyg.nn.fused.cuda_kernels.backward_walk`."""
    graph = (walk.node_ptr, walk.in_ptr, walk.in_source, walk.out_ptr, walk.out_target, walk.out_edge)
    ends = (walk.is_input.view(torch.uint8), walk.is_output.view(torch.uint8), walk.output_share.to(grad_maps.dtype))
    arguments = (*graph, *ends, *parameters, z, relu, grad_maps, grad_x, *results, torch.empty_like(grad_maps), eps, *shape)
    _launch(kernels.backward_walk, grad_maps.size(0), shape, *arguments, TRAINING=training)
