"""Executor ``fused`` on the CPU: the kernels compiled by Numba."""

from __future__ import annotations

from torch import Tensor

from elegans_pyg._threads import share
from elegans_pyg.nn.dag.fused import cpu_kernels as kernels
from elegans_pyg.nn.dag.fused.walk import Graph, Parameters, Shape

NEEDS_RELU = False
"""Whether a forward pass needs room for the rectified sums even if no gradient is wanted."""


def forward(shape: Shape, training: bool, record: bool, eps: float, graph: Graph, parameters: Parameters, x: Tensor, *maps: Tensor) -> None:
    """See :func:`~elegans_pyg.nn.dag.fused.cpu_kernels.forward_walks`."""
    number = x.numpy().dtype.type
    share(kernels.forward_walks, x.size(0) * shape.channels, shape, training, record, number(eps), graph, parameters, x, *maps)


def backward(shape: Shape, training: bool, eps: float, graph: Graph, parameters: Parameters, grad: Tensor, *rest: Tensor) -> None:
    """See :func:`~elegans_pyg.nn.dag.fused.cpu_kernels.backward_walks`."""
    number = grad.numpy().dtype.type
    share(kernels.backward_walks, grad.size(0) * shape.channels, shape, training, number(eps), graph, parameters, grad, *rest)
