"""Resting state of leaky units, and their response to a small constant current, by linear systems of many wirings side by side."""

import torch
from torch import Tensor

from elegans_pyg.nn.recurrent.leaky import ACTIVATIONS

_ITERATIONS, _HALVINGS = 100, 20


def jacobian(chemical: Tensor, leak: Tensor, state: Tensor, activation: str) -> Tensor:
    r""":math:`L - W \operatorname{diag}(\phi'(v))`, ``(..., n, n)``, at voltages ``(..., n)``; ``chemical`` is :math:`W`, ``leak`` is
    :math:`L`."""
    return leak - chemical * ACTIVATIONS[activation][1](state)[..., None, :]


def find_rest(chemical: Tensor, leak: Tensor, drive: Tensor, activation: str, start: Tensor) -> tuple[Tensor, Tensor]:
    r"""Solve :math:`L v = W \phi(v) + d` by Newton's method, halving steps that do not reduce the residual.

    Args:
        chemical, leak: :math:`W` and :math:`L` of each wiring, ``(V, n, n)``.
        drive, start: :math:`d`, and where to start, ``(V, B, n)``.

    Returns:
        :math:`v`, ``(V, B, n)``, differentiable once by the implicit function theorem, and which wirings' solutions converged, ``(V,)``.
    """
    phi, chemical, leak = ACTIVATIONS[activation][0], chemical[:, None], leak[:, None]

    def residual(v: Tensor) -> Tensor:
        return drive + ((chemical @ phi(v)[..., None]) - leak @ v[..., None])[..., 0]

    with torch.no_grad():
        v, bound = start, torch.finfo(drive.dtype).eps ** 0.75 * (1 + drive.norm(dim=-1))
        for _ in range(_ITERATIONS):
            error = residual(v)
            size = error.norm(dim=-1)
            converged = size <= bound
            if bool(converged.all()):
                break
            step, scale = torch.linalg.solve_ex(jacobian(chemical, leak, v, activation), error)[0], torch.ones_like(size)
            for _ in range(_HALVINGS):
                worse = ~(residual(v + scale[..., None] * step).norm(dim=-1) < size) & ~converged
                if not bool(worse.any()):
                    break
                scale = torch.where(worse, scale / 2, scale)
            v = torch.where(converged[..., None], v, v + scale[..., None] * step)
        else:
            return v, converged.all(1)
        matrix = jacobian(chemical, leak, v, activation)
    # One more step, differentiated through the residual, has the derivatives of the solution.
    return v + torch.linalg.solve(matrix, residual(v)), converged.all(1)
