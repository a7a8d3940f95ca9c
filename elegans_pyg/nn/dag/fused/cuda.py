"""Executor ``fused`` on CUDA: one Triton program a variant and channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elegans_pyg.nn.dag.fused import cuda_kernels as kernels
from elegans_pyg.nn.dag.fused.walk import Graph, Parameters, Shape

NEEDS_RELU = True
"""The convolution reads its neighbours' rectified sums from memory, even if no gradient is wanted."""

_BLOCK = 1024
_WARPS = 8


def _launch(kernel: Any, shape: Shape, training: bool, eps: float, graph: Graph, *arguments: Tensor) -> None:
    size = shape.height * shape.width * shape.images
    block = min(_BLOCK, 1 << max(5, (size - 1).bit_length()))
    grid, warps = (len(graph.output_share), shape.channels), max(1, min(_WARPS, block // 128))
    kernel[grid](*graph, *arguments, eps, *shape, TRAINING=training, BLOCK=block, num_warps=warps)


def forward(shape: Shape, training: bool, record: bool, eps: float, graph: Graph, parameters: Parameters, x: Tensor, *maps: Tensor) -> None:
    """See :func:`~elegans_pyg.nn.dag.fused.cuda_kernels.forward_walk`."""
    room = (torch.empty_like(parameters.mean), x.new_empty(shape.channels, graph.in_source.numel()))
    _launch(kernels.forward_walk, shape, training, eps, graph, *parameters, x, *maps, *room)


def backward(shape: Shape, training: bool, eps: float, graph: Graph, parameters: Parameters, grad: Tensor, *rest: Tensor) -> None:
    """See :func:`~elegans_pyg.nn.dag.fused.cuda_kernels.backward_walk`."""
    _launch(kernels.backward_walk, shape, training, eps, graph, *parameters, grad, *rest, torch.empty_like(grad))
