"""Executor ``scatter``: what a DAG network computes, in one page of PyTorch and PyG. All other executors agree with it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.utils import scatter

from elegans_pyg.nn.dag.schedule import Schedule

NodeOperation = Callable[[slice, Tensor], Tensor]
"""Maps ``a (n, B, C, H, W)`` of the nodes at some positions to their ``y``, of the same shape."""


class ScatterWalk(nn.Module):
    r"""Walks the levels of a batch of DAGs, and sums over the incoming edges of each level's nodes by one scatter.

    .. math::
        a_n = x_v \text{ (input nodes)}, \qquad a_n = \sum_{e=(m,n)} w_e\, y_m, \qquad y_n = f_n(a_n), \qquad
        \mathrm{out}_v = \mathrm{mean}\{y_n : n \text{ an output node of variant } v\}

    Only public, differentiable operators: it runs on any device in any dtype, under :mod:`torch.func` (``grad``, ``vmap``, ``jvp``),
    ``torch.compile`` and ``torch.export``, and has derivatives of any order. It keeps ``E`` maps for the backward pass, where the other
    executors keep ``N``.

    Args:
        schedule: the order of nodes and edges.

    Shapes:
        - **x:** ``(V, B, C, H, W)``
        - **edge_weight:** ``(M,)``, in the order of the schedule's edges
        - **output:** ``(V, B, C, H, W)``
    """

    variant: Tensor
    target: Tensor
    output_variant: Tensor

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.num_variants = schedule.num_variants
        self.levels = list(pairwise(schedule.level_ptr))
        self.edge_ptr: list[int] = schedule.edge_ptr.tolist()
        self.source: list[int] = schedule.source.tolist()
        self.output: list[int] = schedule.output.tolist()
        self.register_buffer("variant", schedule.variant, persistent=False)
        self.register_buffer("target", schedule.target, persistent=False)
        self.register_buffer("output_variant", schedule.variant[schedule.output], persistent=False)

    def forward(self, x: Tensor, edge_weight: Tensor, node_operation: NodeOperation) -> Tensor:
        y: list[Tensor] = []
        for low, high in self.levels:
            first, last = self.edge_ptr[low], self.edge_ptr[high]
            if low == 0:
                a = x[self.variant[:high]]
            else:
                y_source = torch.stack([y[m] for m in self.source[first:last]])
                messages = edge_weight[first:last].view(-1, 1, 1, 1, 1) * y_source
                a = scatter(messages, self.target[first:last] - low, dim_size=high - low)
            y += node_operation(slice(low, high), a).unbind()
        return scatter(torch.stack([y[n] for n in self.output]), self.output_variant, dim_size=self.num_variants, reduce="mean")


class PlainOperation:
    """ReLU, a depthwise convolution and BatchNorm, node by node.

    Args:
        conv_weight: ``(A, C, k, k)``, by position, as all that follow.
        norm_weight, norm_bias: ``(A, C)``.
        statistics: mean and variance, ``(A, C)`` each, in evaluation; ``None`` in training, where they are the batch's own.
        eps: of BatchNorm.
    """

    def __init__(
        self, conv_weight: Tensor, norm_weight: Tensor, norm_bias: Tensor, statistics: tuple[Tensor, Tensor] | None, eps: float
    ) -> None:
        self.conv_weight, self.norm_weight, self.norm_bias, self.statistics, self.eps = conv_weight, norm_weight, norm_bias, statistics, eps
        self.batch_statistics: list[tuple[Tensor, Tensor]] = []

    def __call__(self, part: slice, a: Tensor) -> Tensor:
        nodes, channels = a.size(0), a.size(2)
        taps = self.conv_weight[part].flatten(0, 1).unsqueeze(1)
        z = F.conv2d(a.relu().transpose(0, 1).flatten(1, 2), taps, padding=taps.size(-1) // 2, groups=nodes * channels)
        mean, var = (None, None) if self.statistics is None else (own[part].flatten() for own in self.statistics)
        if mean is None:
            self.batch_statistics.append(torch.var_mean(z.detach(), (0, 2, 3), correction=0))
        scale, shift = self.norm_weight[part].flatten(), self.norm_bias[part].flatten()
        y = F.batch_norm(z, mean, var, scale, shift, training=mean is None, eps=self.eps)
        return y.unflatten(1, (nodes, channels)).transpose(0, 1)
