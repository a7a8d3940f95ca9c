"""Node operations: what is applied to the weighted sum of a node's inputs, for many nodes of a level at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Tensors = Sequence[Tensor]


@dataclass
class DepthwiseOperation:
    """``y = BatchNorm(depthwise_conv(ReLU(a)))``, with parameters and statistics in schedule order.

    The positions ``part`` are a level or part of one; maps are ``(B, n, C, H, W)`` for its ``n`` nodes. ``parameters`` are the
    convolution's weight ``(A, C, k, k)`` and the norm's weight and bias ``(A, C)``; the ``running`` mean and variance ``(A, C)`` are
    updated in place in training. In training, ``used`` holds the batch's mean and inverse standard deviation ``(A, C)``, which
    :meth:`forward` writes and :meth:`backward` reads; in evaluation it is ``running``.
    """

    parameters: Sequence[Tensor]
    running: Sequence[Tensor]
    used: Sequence[Tensor]
    training: bool
    momentum: float
    eps: float
    maps_kept: ClassVar[int] = 2
    """Maps per node kept for :meth:`backward`: the rectified sum and the convolution's output."""

    def forward(self, part: slice, a: Tensor, kept: Tensors | None, out: Tensor) -> Any:
        """Write the nodes' maps to ``out``; may overwrite ``a``.

        What :meth:`backward` needs is returned or, unless None, left in ``kept``.
        """
        images, nodes, channels, *size = a.shape
        conv_weight, norm_weight, norm_bias = (p[part] for p in self.parameters)
        kernel = conv_weight.size(-1)
        side_by_side = (images, nodes * channels, *size)
        relu = torch.clamp(a, min=0, out=a if kept is None else kept[0]).view(side_by_side)
        taps = conv_weight.to(relu.dtype).reshape(-1, 1, kernel, kernel)
        z = F.conv2d(relu, taps, padding=kernel // 2, groups=nodes * channels)
        if kept is not None:
            kept[1].copy_(z.view(a.shape))
        mean, inverse_std = (own[part].view(-1) if self.training else own.new_empty(0) for own in self.used)
        of_channels = (norm_weight, norm_bias, *(values[part] for values in self.running))
        gain, shift, moving_mean, moving_var = (values.reshape(-1) for values in of_channels)
        results = (out.view(z.shape), mean, inverse_std)
        torch.native_batch_norm(z, gain, shift, moving_mean, moving_var, self.training, self.momentum, self.eps, out=results)

    def backward(self, part: slice, saved: Any, grad_y: Tensor, kept: Tensors, gradients: list[Tensor], out: Tensor) -> None:
        """Write the gradient of ``a`` to ``out`` and those of the nodes' parameters to ``gradients``."""
        images, nodes, channels, *size = grad_y.shape
        relu, z = (maps.view(images, nodes * channels, *size) for maps in kept)
        conv_weight, norm_weight, _ = (p[part] for p in self.parameters)
        kernel = conv_weight.size(-1)
        own = [values[part].view(-1) for values in self.used]
        statistics = (None, None, *own) if self.training else (*own, None, None)
        grad_z, grad_norm_weight, grad_norm_bias = torch.ops.aten.native_batch_norm_backward(
            grad_y.reshape(z.shape), z, norm_weight.reshape(-1), *statistics, self.training, self.eps, [True, True, True]
        )
        taps = conv_weight.to(relu.dtype).reshape(-1, 1, kernel, kernel)
        same, one = [kernel // 2] * 2, [1, 1]
        grad_relu, grad_taps, _ = torch.ops.aten.convolution_backward(
            grad_z, relu, taps, None, one, same, one, False, [0, 0], z.size(1), [True, True, False]
        )
        for total, grad in zip(gradients, (grad_taps, grad_norm_weight, grad_norm_bias), strict=True):
            total[part] = grad.view(total[part].shape)
        torch.ops.aten.threshold_backward(grad_relu, relu, 0, grad_input=out.view(relu.shape))


class ModuleOperation:
    """One module per position of the schedule, each mapping ``(B, C, H, W)`` to the same shape; called node by node."""

    maps_kept = 0

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = modules
        named = [dict(module.named_parameters()) for module in modules]
        self.parameters = [p for own in named for p in own.values()]
        self._names = [list(own) for own in named]
        self._offsets = [0, *accumulate(map(len, named))]

    def forward(self, part: slice, a: Tensor, kept: Tensors | None, out: Tensor) -> Any:
        graphs, record = [], kept is not None
        with torch.set_grad_enabled(record):
            for node, position in enumerate(range(part.start, part.stop)):
                # A copy, because other nodes of the level may overwrite shared memory.
                leaf = a[:, node].contiguous().detach()
                own = [p.detach() for p in self.parameters[self._offsets[position] : self._offsets[position + 1]]]
                for tensor in (leaf, *own):
                    tensor.requires_grad_(record)
                y = torch.func.functional_call(self._modules[position], dict(zip(self._names[position], own, strict=True)), (leaf,))
                if y.shape != leaf.shape:
                    raise ValueError(
                        f"node_operation must keep the shape of its maps, {tuple(leaf.shape)}, but returned {tuple(y.shape)};"
                        " pad so that height and width stay, and keep the channels"
                    )
                out[:, node] = y.detach()
                graphs.append(([leaf, *own], y) if record else None)
        return graphs

    def backward(self, part: slice, saved: Any, grad_y: Tensor, kept: Tensors, gradients: list[Tensor], out: Tensor) -> None:
        for node, position in enumerate(range(part.start, part.stop)):
            leaves, y = saved[node]
            # A module may leave parameters, or even its input, unused. Its graph is retained for a second backward pass.
            grads = torch.autograd.grad(y, leaves, grad_y[:, node], retain_graph=True, allow_unused=True, materialize_grads=True)
            out[:, node] = grads[0]
            gradients[self._offsets[position] : self._offsets[position + 1]] = list(grads[1:])


LevelOperation = DepthwiseOperation | ModuleOperation
