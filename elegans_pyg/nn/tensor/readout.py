"""Readouts of a tensor network's motor neurons: attention, their mean, or all of them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elegans_pyg.nn.variants import uniform_parameter


class MotorAttention(nn.Module):
    r"""Multi-head attention of the network's input over the motor neurons' values, then LayerNorm; one for each of ``V`` variants.

    Vaswani et al., "Attention Is All You Need" (2017), arXiv:1706.03762:

    .. math::
        \alpha_h = \mathrm{softmax}_m\Big(\frac{(Q_h x + q_h) \cdot K_h y_m}{\sqrt{d}}\Big), \qquad
        \mathrm{out} = \mathrm{LayerNorm}\Big(O\,\big\Vert_h \big(V_h \sum_m \alpha_{hm} y_m + v_h\big) + o\Big)

    with :math:`d = \text{width} / \text{heads}`. It is torch.nn.MultiheadAttention without a bias on the keys, which would add the same to
    all scores of a query and so change nothing. Keys and values are never computed: the query is multiplied by :math:`K^T`, and the motor
    neurons' values are averaged before they are multiplied by :math:`V`, which gives the same and saves two products per motor neuron.

    Args:
        width: features of ``x`` and of a motor neuron.
        heads: a divisor of ``width``.
        generators: one per variant. Weights start uniform in :math:`\pm 1/\sqrt{\text{width}}`, as in torch.nn.Linear, biases at zero.

    Shapes:
        - **input:** ``x (V, B, width)``; ``motors (V, M, B, width)``; ``valid (V, M)``, false for padding
        - **output:** ``(V, B, width)``
        - **parameters:** ``weight (V, 4, width, width)`` and ``bias (V, 3, width)`` for :math:`Q, K, V, O` and :math:`q, v, o`;
          ``norm_weight``, ``norm_bias (V, width)``
    """

    def __init__(self, width: int, heads: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.heads = heads
        self.weight = uniform_parameter(generators, (4, width, width), 1 / math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(len(generators), 3, width))
        self.norm_weight = nn.Parameter(torch.ones(len(generators), width))
        self.norm_bias = nn.Parameter(torch.zeros(len(generators), width))

    def forward(self, x: Tensor, motors: Tensor, valid: Tensor) -> Tensor:
        variants, batch, width = x.shape
        to_query, to_key, to_value, to_out = self.weight.unbind(1)
        of_query, of_value, of_out = self.bias.unsqueeze(2).unbind(1)
        by_head = (variants, batch, self.heads, width // self.heads)
        query = torch.baddbmm(of_query, x, to_query.mT).view(by_head)
        query = torch.einsum("vbhd,vhdw->vbhw", query, to_key.view(variants, self.heads, -1, width)) / math.sqrt(by_head[-1])
        score = torch.einsum("vbhw,vmbw->vbhm", query, motors).masked_fill(~valid[:, None, None], -torch.inf)
        mixed = torch.einsum("vbhm,vmbw->vbhw", score.softmax(-1), motors)
        value = torch.einsum("vbhw,vhdw->vbhd", mixed, to_value.view(variants, self.heads, -1, width)).flatten(2) + of_value
        out = F.layer_norm(torch.baddbmm(of_out, value, to_out.mT), (width,))
        return out * self.norm_weight.unsqueeze(1) + self.norm_bias.unsqueeze(1)


def read_motors(readout: str, attention: MotorAttention | None, x: Tensor, motors: Tensor, valid: Tensor) -> Tensor:
    """Compute the output ``(V, B, ...)`` of a tensor network by its kind of readout; shapes are those of :class:`MotorAttention`."""
    # What stands in for a missing motor neuron may be NaN in a variant that has diverged, and zero times NaN is NaN.
    motors = torch.where(valid[:, :, None, None], motors, 0.0)
    if attention is not None:
        return attention(x, motors, valid)
    return motors.sum(1) / valid.sum(1)[:, None, None] if readout == "mean" else motors.transpose(1, 2).flatten(2)
