"""Executor ``fused`` on the CPU: the kernels compiled by Numba, shared among as many threads as PyTorch uses."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from torch import Tensor, get_num_threads

from elegans_pyg.nn.fused import cpu_kernels as kernels
from elegans_pyg.nn.fused.walk import Parameters, Shape, Walk

NEEDS_RELU = False
"""Whether a forward pass needs room for the rectified sums even if no gradient is wanted."""

_pools: dict[int, ThreadPoolExecutor] = {}
# A forked child has no threads of its parent's.
os.register_at_fork(after_in_child=_pools.clear)


def share(kernel: Callable[..., None], pairs: int, *arguments: Any) -> None:
    """Run ``kernel(first, last, *arguments)`` over ``pairs`` walks; tensors reach it as arrays."""
    arguments = tuple(argument.numpy() if isinstance(argument, Tensor) else argument for argument in arguments)
    if not kernel.signatures and sys.stderr.isatty():  # type: ignore[attr-defined]
        with Console(stderr=True).status("Preparing the fused executor: compiled once, then read from Numba's cache"):
            kernel(0, 0, *arguments)
    if not pairs:
        return
    threads = min(get_num_threads(), pairs)
    if threads == 1:
        kernel(0, pairs, *arguments)
        return
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="elegans-fused")
    # Walks of different variants differ in length: several parts a thread even that out.
    parts = min(pairs, 4 * threads)
    bounds = [pairs * part // parts for part in range(parts + 1)]
    running = [_pools[threads].submit(kernel, low, high, *arguments) for low, high in itertools.pairwise(bounds)]
    for future in running:
        future.result()


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
    """See :func:`~elegans_pyg.nn.fused.cpu_kernels.forward_walks`."""
    number = maps.numpy().dtype.type
    graph = (walk.node_ptr, walk.in_ptr, walk.in_source, walk.is_input, walk.is_output, walk.output_share.to(maps.dtype))
    pairs = maps.size(0) * shape.channels
    share(kernels.forward_walks, pairs, *shape, training, record, number(eps), *graph, *parameters, maps, z, relu, out)


def restore_relu(walk: Walk, shape: Shape, eps: float, parameters: Parameters, maps: Tensor, z: Tensor, relu: Tensor) -> None:
    """See :func:`~elegans_pyg.nn.fused.cpu_kernels.relu_walks`."""
    number = maps.numpy().dtype.type
    graph = (walk.node_ptr, walk.in_ptr, walk.in_source, walk.is_input)
    rest = (parameters.edge_weight, *parameters[2:], maps, z, relu)
    share(kernels.relu_walks, maps.size(0) * shape.channels, shape.channels, maps.size(-1), number(eps), *graph, *rest)


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
    """See :func:`~elegans_pyg.nn.fused.cpu_kernels.backward_walks`."""
    number = grad_maps.numpy().dtype.type
    graph = (walk.node_ptr, walk.in_ptr, walk.in_source, walk.out_ptr, walk.out_target, walk.out_edge)
    ends = (walk.is_input, walk.is_output, walk.output_share.to(grad_maps.dtype))
    pairs = grad_maps.size(0) * shape.channels
    share(kernels.backward_walks, pairs, *shape, training, number(eps), *graph, *ends, *parameters, z, relu, grad_maps, grad_x, *results)
