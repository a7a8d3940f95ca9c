"""Executor ``scatter``: the definition of a DAG network, in one page of PyTorch and PyG. All other executors agree with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.utils import scatter

from elegans_pyg.nn.dag.schedule import Schedule

NodeOperation = Callable[[slice, Tensor], Tensor]
"""Maps the sums ``a (n, B, C, H, W)`` of the nodes at some positions to their outputs ``y``, of the same shape."""


class ScatterWalk(nn.Module):
    r"""Walks a batch of DAGs level by level, with one scatter over the incoming edges of each level.

    .. math::
        a_n = x_v \text{ (input nodes)}, \qquad a_n = \sum_{e=(m,n)} w_e\, y_m, \qquad y_n = f_n(a_n), \qquad
        \mathrm{out}_v = \mathrm{mean}\{y_n : n \text{ an output node of variant } v\}

    It uses only public, differentiable operators: it runs on any device, in any dtype, under :mod:`torch.func` (``grad``, ``vmap``,
    ``jvp``), ``torch.compile`` and ``torch.export``, and has derivatives of any order. It keeps ``E`` maps for the backward pass, where the
    other executors keep ``N``.

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
        statistics: in evaluation, mean and variance, ``(A, C)`` each; ``None`` in training, for the batch's own.
        eps: of BatchNorm.
    """

    def __init__(
        self, conv_weight: Tensor, norm_weight: Tensor, norm_bias: Tensor, statistics: Sequence[Tensor] | None, eps: float
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


def gradients_by_definition(
    schedule: Schedule, inputs: Sequence[Tensor], statistics: Sequence[Tensor] | None, eps: float, grad: Tensor
) -> tuple[Tensor | None, ...]:
    """Compute gradients of a walk's inputs that can be differentiated again, unlike those of the other executors.

    Args:
        schedule: of the walk.
        inputs: maps ``(V, B, C, H, W)``, edge weights ``(E,)`` and the parameters ``(N, ...)`` of :class:`PlainOperation`, by edge and node
            of the batch.
        statistics: of :class:`PlainOperation`, by position.
        eps: of BatchNorm.
        grad: gradient of the output.
    """
    with torch.enable_grad():
        # Views, so that an input computed from another one still gets only its own gradient.
        x, *parameters = own = [tensor.view_as(tensor) for tensor in inputs]
        edge_weight = parameters[0][schedule.edge_order.to(x.device)]
        conv_weight, norm_weight, norm_bias = (p[schedule.order.to(x.device)] for p in parameters[1:])
        operation = PlainOperation(conv_weight, norm_weight, norm_bias, statistics and [values.detach() for values in statistics], eps)
        out = ScatterWalk(schedule).to(x.device)(x.to(edge_weight.dtype), edge_weight, operation).to(grad.dtype)
        wanted = [tensor for tensor in own if tensor.requires_grad]
        found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True, materialize_grads=True))
    return tuple(next(found) if tensor.requires_grad else None for tensor in own)
