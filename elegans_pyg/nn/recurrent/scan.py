"""Recurrent layers with a linear readout, for several replicas at once: the equations and their two backends."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from elegans_pyg._arguments import check_choice
from elegans_pyg._threads import share
from elegans_pyg.nn.executors import BACKENDS, choose, refusal

CELLS = ("rnn", "lstm", "gru")
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def choose_backend(backend: str, x: Tensor) -> str:
    """Return ``"reference"`` or ``"fused"``; ``"auto"`` is fused on the CPU where Numba is installed.

    Raises:
        ValueError: for an unknown name, or ``"fused"`` without Numba or for a tensor that its kernels do not support.
    """
    check_choice("backend", backend, BACKENDS)
    refused = "its kernels give x no gradient, and x requires one" if x.requires_grad else ""
    return choose(backend, refused or refusal(x.device, x.dtype, devices=("cpu",)), plain="reference", argument="backend")


def recurrent(
    cell: str, x: Tensor, weight: Tensor, bias: Tensor, readout: Tensor, offset: Tensor, *, trained: int | None = None, backend: str
) -> Tensor:
    """Compute the outputs ``(R, S, T, O)`` of ``R`` replicas for the same sequences ``x (S, T, I)``, from a zero state.

    ``cell`` is one of :data:`CELLS`, see :class:`~elegans_pyg.models.ReducedOrder`. ``weight (R, G H, I + H)`` and ``bias (R, G H)`` stack
    the gates along the rows, with the columns of the inputs before those of the state; ``readout`` is ``(R, O, H)``, ``offset (R, O)``.
    Gradients are those of the first ``trained`` sequences, by default all; the others are only computed forward. ``backend`` comes from
    :func:`choose_backend`.
    """
    trained = x.size(0) if trained is None else trained
    if backend == "fused":
        return _FusedScan.apply(cell, trained, x, weight, bias, readout, offset)
    out = _scan(cell, x, weight, bias, readout, offset)
    return out if trained == x.size(0) else torch.cat([out[:, :trained], out[:, trained:].detach()], dim=1)


def _scan(cell: str, x: Tensor, weight: Tensor, bias: Tensor, readout: Tensor, offset: Tensor) -> Tensor:
    """The definition: one ``baddbmm`` over the replicas per step, two for a GRU."""
    replicas, units = weight.size(0), readout.size(2)
    columns, own_bias = weight.transpose(1, 2), bias.unsqueeze(1)
    h = x.new_zeros(replicas, x.size(0), units)
    c = torch.zeros_like(h)
    states = []
    for step in x.unbind(1):
        inputs = step.expand(replicas, -1, -1)
        if cell == "gru":
            size = 2 * units
            gates = torch.baddbmm(own_bias[..., :size], torch.cat([inputs, h], 2), columns[..., :size]).sigmoid()
            z, reset = gates.chunk(2, 2)
            h = z * h + (1 - z) * torch.baddbmm(own_bias[..., size:], torch.cat([inputs, reset * h], 2), columns[..., size:]).tanh()
        else:
            a = torch.baddbmm(own_bias, torch.cat([inputs, h], 2), columns)
            if cell == "lstm":
                i, f, o = a[..., : 3 * units].sigmoid().chunk(3, 2)
                c = f * c + i * a[..., 3 * units :].tanh()
                h = o * c.tanh()
            else:
                h = a.tanh()
        states.append(h)
    return torch.einsum("rsth,roh->rsto", torch.stack(states, 2), readout) + offset[:, None, None]


class _FusedScan(torch.autograd.Function):
    """The same in one walk per replica, forward and backward, by :mod:`~elegans_pyg.nn.recurrent.kernels`."""

    @staticmethod
    def forward(ctx: Any, cell: str, trained: int, x: Tensor, weight: Tensor, bias: Tensor, readout: Tensor, offset: Tensor) -> Tensor:
        from elegans_pyg.nn.recurrent import kernels

        wanted = any(ctx.needs_input_grad)
        parameters = [parameter.detach().contiguous() for parameter in (weight, bias, readout, offset)]
        lanes = pad(x.detach().permute(1, 2, 0), (0, -x.size(0) % kernels.LANES)).contiguous()
        replicas, (steps, _, count) = len(weight), lanes.shape
        kept = steps if wanted else 0

        def history(steps: int, rows: int) -> Tensor:
            return x.new_empty(replicas, steps, rows, count)

        y, states, gates = history(steps, readout.size(1)), history(kept, readout.size(2)), history(kept, bias.size(1))
        cells = history(kept if cell == "lstm" else 0, readout.size(2))
        share(kernels.forward, replicas, CELLS.index(cell), wanted, lanes, *parameters, y, states, cells, gates, largest=1)
        if wanted:
            ctx.cell, ctx.trained = cell, trained
            ctx.save_for_backward(lanes, *parameters, states, cells, gates)
        return y[..., : x.size(0)].permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        from elegans_pyg.nn.recurrent import kernels

        lanes, weight, bias, readout, offset, *history = ctx.saved_tensors
        own = grad[:, : ctx.trained].permute(0, 2, 3, 1)
        grad_y = pad(own, (0, -ctx.trained % kernels.LANES)).contiguous()
        grads = [torch.zeros_like(parameter) for parameter in (weight, bias, readout, offset)]
        share(kernels.backward, len(weight), CELLS.index(ctx.cell), lanes, weight, readout, *history, grad_y, *grads, largest=1)
        return None, None, None, *grads
