"""Executor ``fused`` on CPU: one walk per variant and channel, compiled by Numba."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from elegans_pyg.nn.fused import cpu_kernels as kernels
from elegans_pyg.nn.schedule import Schedule

_pools: dict[int, ThreadPoolExecutor] = {}
# A forked child has no threads of its parent's.
os.register_at_fork(after_in_child=_pools.clear)


class Workspace:
    """Buffers that outlive a step: the system takes longer to hand out fresh pages for them than the walk takes to fill them.

    A buffer is free once no tensor refers to it any more, that is, once the graph of the step that used it is gone.
    """

    def __init__(self) -> None:
        self._buffers: list[NDArray[Any]] = []
        self._lock = threading.Lock()

    def take(self, count: int, like: Tensor) -> Tensor:
        """``count`` numbers of the type of ``like``, with no set value."""
        dtype = like.numpy().dtype
        with self._lock:
            # Two references are the list's and getrefcount's own; any other is a tensor's.
            free = [i for i in range(len(self._buffers)) if sys.getrefcount(self._buffers[i]) <= 2]
            for i in free:
                if self._buffers[i].dtype == dtype and self._buffers[i].size >= count:
                    return torch.from_numpy(self._buffers[i])[:count]
            self._buffers = [buffer for i, buffer in enumerate(self._buffers) if i not in free]
            self._buffers.append(np.empty(count, dtype))
            return torch.from_numpy(self._buffers[-1])

    def __deepcopy__(self, memo: dict[int, Any]) -> Workspace:
        return Workspace()

    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        return Workspace, ()


@dataclass(frozen=True)
class Walk:
    """A :class:`Schedule` variant after variant: what the kernels read, and where its nodes and edges stand in the batch.

    Attributes:
        nodes ``(A,)``: node of each place in the walk.
        edges ``(M,)``: edge of each place, sorted by target.
        forward_graph: ``node_ptr (V + 1)``, ``in_ptr (A + 1)``, ``in_source (M)``.
        backward_graph: ``out_ptr (A + 1)``, ``out_target (M)``, ``out_edge (M)``.
        is_input, is_output ``(A,)``; output_share ``(V,)``: one over the number of output nodes.
        workspace: room for the maps.
    """

    nodes: Tensor
    edges: Tensor
    forward_graph: tuple[NDArray[np.int64], ...]
    backward_graph: tuple[NDArray[np.int64], ...]
    is_input: NDArray[np.bool_]
    is_output: NDArray[np.bool_]
    output_share: NDArray[np.float64]
    workspace: Workspace = field(default_factory=Workspace)

    @classmethod
    def from_schedule(cls, schedule: Schedule) -> Walk:
        by_variant = torch.argsort(schedule.variant, stable=True)
        place = torch.empty_like(by_variant)
        place[by_variant] = torch.arange(by_variant.numel())
        size = torch.bincount(schedule.variant, minlength=schedule.num_variants)
        node_ptr = torch.nn.functional.pad(size.cumsum(0), (1, 0))
        local = place - node_ptr[schedule.variant]

        by_target = torch.argsort(place[schedule.target], stable=True)
        source, target = schedule.source[by_target], schedule.target[by_target]
        by_source = torch.argsort(place[source], stable=True)

        def offsets(positions: Tensor) -> NDArray[np.int64]:
            counts = torch.bincount(place[positions], minlength=place.numel())
            return torch.nn.functional.pad(counts.cumsum(0), (1, 0)).numpy()

        is_input = np.zeros(place.numel(), bool)
        is_input[place[: schedule.level_ptr[1]].numpy()] = True
        is_output = np.zeros(place.numel(), bool)
        is_output[place[schedule.output].numpy()] = True
        return cls(
            nodes=schedule.order[by_variant],
            edges=schedule.edge_order[by_target],
            forward_graph=(node_ptr.numpy(), offsets(target), local[source].numpy()),
            backward_graph=(offsets(source), local[target[by_source]].numpy(), by_source.numpy()),
            is_input=is_input,
            is_output=is_output,
            output_share=1 / schedule.output_ptr.diff().double().numpy(),
        )


def _share(kernel: Callable[..., None], pairs: int, *arguments: Any) -> None:
    """Run ``kernel(first, last, *arguments)`` over ``pairs`` walks, on as many threads as PyTorch uses."""
    if not kernel.signatures and sys.stderr.isatty():  # type: ignore[attr-defined]
        with Console(stderr=True).status("Preparing the fused executor: compiled once, then read from Numba's cache"):
            kernel(0, 0, *arguments)
    threads = min(torch.get_num_threads(), pairs)
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


class _FusedWalk(torch.autograd.Function):
    """Inputs: maps ``x (V, B, C, H, W)``; ``weight (M,)``, ``conv_weight (A, C, 3, 3)``, ``norm_weight``, ``norm_bias`` ``(A, C)``, all in
    walk order; ``mean`` and ``variance`` ``(A, C)``, which training overwrites with the batch's (biased) statistics.
    """

    @staticmethod
    def forward(
        ctx: Any,
        walk: Walk,
        training: bool,
        record: bool,
        eps: float,
        x: Tensor,
        weight: Tensor,
        conv_weight: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        mean: Tensor,
        variance: Tensor,
    ) -> Tensor:
        variants, images, channels, height, width = x.shape
        maps = x.permute(0, 2, 3, 4, 1).reshape(variants, channels, -1)
        size = maps.size(-1)
        z = walk.workspace.take(walk.nodes.numel() * channels * size, maps)
        relu = walk.workspace.take(z.numel() if record else 0, maps)
        out = torch.empty_like(maps)
        parameters = [p.contiguous() for p in (weight, conv_weight.flatten(2), norm_weight, norm_bias)]
        common = (walk.is_input, walk.is_output, walk.output_share.astype(maps.numpy().dtype))
        arrays = [t.numpy() for t in (*parameters, mean, variance, maps, z, relu, out)]
        number = arrays[0].dtype.type
        shape = (channels, height, width, images)
        _share(kernels.forward_walks, variants * channels, *shape, training, record, number(eps), *walk.forward_graph, *common, *arrays)
        if record:
            ctx.walk, ctx.training, ctx.eps, ctx.shape, ctx.overwritten = walk, training, eps, shape, False
            ctx.save_for_backward(*parameters, mean, variance, maps, z, relu)
        return out.view(variants, channels, height, width, images).permute(0, 4, 1, 2, 3)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        walk: Walk = ctx.walk
        channels, height, width, images = ctx.shape
        weight, conv_weight, norm_weight, norm_bias, mean, variance, maps, z, relu = ctx.saved_tensors
        variants, size = maps.size(0), maps.size(-1)
        arrays = [t.numpy() for t in (weight, conv_weight, norm_weight, norm_bias, mean, variance)]
        number = arrays[0].dtype.type
        eps = number(ctx.eps)
        if ctx.overwritten:
            _share(
                kernels.relu_walks,
                variants * channels,
                channels,
                size,
                eps,
                *walk.forward_graph,
                walk.is_input,
                arrays[0],
                *arrays[2:],
                maps.numpy(),
                z.numpy(),
                relu.numpy(),
            )
        ctx.overwritten = True
        grad_maps = grad.permute(0, 2, 3, 4, 1).reshape(maps.shape)
        grad_x = torch.empty_like(maps)
        # Edges of other variants than the walk's own are not visited, so that each term is written exactly once.
        results = [weight.new_empty(channels, weight.numel()), *(torch.empty_like(p) for p in (conv_weight, norm_weight, norm_bias))]
        _share(
            kernels.backward_walks,
            variants * channels,
            *ctx.shape,
            ctx.training,
            eps,
            *walk.forward_graph,
            *walk.backward_graph,
            walk.is_input,
            walk.is_output,
            walk.output_share.astype(arrays[0].dtype),
            *arrays,
            z.numpy(),
            relu.numpy(),
            grad_maps.numpy(),
            grad_x.numpy(),
            *(t.numpy() for t in results),
        )
        grad_edge, grad_conv, grad_norm_weight, grad_norm_bias = results
        return (
            *(None,) * 4,
            grad_x.view(variants, channels, height, width, images).permute(0, 4, 1, 2, 3),
            grad_edge.sum(0),
            grad_conv.unflatten(2, (3, 3)),
            grad_norm_weight,
            grad_norm_bias,
            None,
            None,
        )


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
) -> Tensor:
    """Walk all variants of ``walk``, each channel by itself.

    Args:
        walk: the order, ``Walk.from_schedule(schedule)``.
        training: normalise by the batch's statistics and write them to ``mean`` and ``variance`` (biased), instead of reading those.
        eps: of BatchNorm.
        x: input maps ``(V, B, C, H, W)``, float32 or float64, on the CPU.
        weight, conv_weight, norm_weight, norm_bias, mean, variance: of the walk's edges ``(M,)``, and of its nodes ``(A, C, 3, 3)`` and
            ``(A, C)``, in walk order.

    Returns:
        mean over the output nodes of each variant, ``(V, B, C, H, W)``.
    """
    return _FusedWalk.apply(walk, training, torch.is_grad_enabled(), eps, x, weight, conv_weight, norm_weight, norm_bias, mean, variance)
