"""Linear readouts of reservoirs, solved in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ALPHAS = tuple(10.0**power for power in range(-8, 3))
"""Penalties tried by default, 1e-8 to 100."""


@dataclass(frozen=True)
class RidgeReadout:
    r"""Ridge regressions of ``V`` variants on ``K`` targets each, as defined by scikit-learn's ``Ridge``:

    .. math::
        \min_{w, c} \; \lVert y - X w - c \rVert^2 + \alpha \lVert w \rVert^2

    ("Ridge Regression: Biased Estimation for Nonorthogonal Problems", Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634). The
    intercept :math:`c` is not penalised. One eigendecomposition of the centred :math:`X^T X` per variant serves all targets and penalties.
    All tensors are float64: ``weight (V, R, K)``, ``intercept (V, K)``, ``alpha (V, K)``.
    """

    weight: Tensor
    intercept: Tensor
    alpha: Tensor

    @classmethod
    def fit(cls, states: Tensor, targets: Tensor, alpha: float) -> RidgeReadout:
        """Fit to states ``(V, n, R)`` and targets ``(n, K)``, the same for every variant, or ``(V, n, K)``.

        The penalty ``alpha`` is positive, and added to the sum (not the mean) of squares, as in scikit-learn.

        Raises:
            ValueError: for shapes that do not fit, fewer than two time steps, numbers that are not finite, or a penalty that is not
                positive.
        """
        problem = _Problem(states, targets, [alpha])
        return problem.readout(problem.targets.new_full((states.size(0), problem.targets.size(-1)), alpha))

    @classmethod
    def select(
        cls, states: Tensor, targets: Tensor, validation_states: Tensor, validation_targets: Tensor, alphas: Sequence[float] = ALPHAS
    ) -> RidgeReadout:
        """Fit as :meth:`fit`, with the penalty from ``alphas`` that has the smallest squared error on the validation segment.

        It is chosen separately for each variant and target; of equal ones, the largest. The readout is not refitted to both segments.
        """
        problem = _Problem(states, targets, alphas)
        x, y = _check(validation_states, validation_targets, "validation_")
        if x.size(0) != states.size(0) or x.size(2) != states.size(2) or y.size(2) != problem.targets.size(2):
            raise ValueError(
                f"validation_states and validation_targets must fit the training ones, got {tuple(validation_states.shape)} and"
                f" {tuple(validation_targets.shape)} beside {tuple(states.shape)} and {tuple(targets.shape)}; cut both from one sequence"
            )
        x, y = (x - problem.state_mean) @ problem.vectors, y - problem.target_mean
        best = y.new_full((x.size(0), 1, y.size(2)), torch.inf)
        # The largest penalty is kept where no error is finite.
        chosen = torch.full_like(best, max(alphas))
        for alpha in sorted(alphas, reverse=True):
            error = (y - x @ problem.coefficients(y.new_full((1, 1, 1), alpha))).square().sum(1, keepdim=True)
            better = error < best
            best, chosen = torch.where(better, error, best), torch.where(better, alpha, chosen)
        return problem.readout(chosen[:, 0])

    def __call__(self, states: Tensor) -> Tensor:
        """Predict ``(V, n, K)`` from states ``(V, n, R)``."""
        return torch.baddbmm(self.intercept[:, None], states.double(), self.weight)


class _Problem:
    """The centred normal equations of all variants, in the eigenvectors of ``X^T X``."""

    def __init__(self, states: Tensor, targets: Tensor, alphas: Sequence[float]) -> None:
        if not alphas or not all(0 < alpha < float("inf") for alpha in alphas):
            raise ValueError(f"alpha must be finite and above 0, got {list(alphas)}; for almost no penalty use 1e-8")
        x, self.targets = _check(states, targets)
        self.state_mean, self.target_mean = x.mean(1, keepdim=True), self.targets.mean(1, keepdim=True)
        x = x - self.state_mean
        values, self.vectors = torch.linalg.eigh(x.mT @ x)
        # Rounding may make zero eigenvalues slightly negative.
        self.values = values.clamp(min=0)[:, :, None]
        self.projected = self.vectors.mT @ (x.mT @ (self.targets - self.target_mean))

    def coefficients(self, alpha: Tensor) -> Tensor:
        """Compute the weights in the basis of eigenvectors, ``(V, R, K)``; ``alpha`` broadcasts to that shape."""
        return self.projected / (self.values + alpha)

    def readout(self, alpha: Tensor) -> RidgeReadout:
        weight = self.vectors @ self.coefficients(alpha[:, None])
        return RidgeReadout(weight, (self.target_mean - self.state_mean @ weight)[:, 0], alpha)


def _check(states: Tensor, targets: Tensor, prefix: str = "") -> tuple[Tensor, Tensor]:
    """Return states ``(V, n, R)`` and targets ``(V, n, K)`` in float64."""
    x, y = states.double(), targets.double()
    if y.dim() == 2 and x.dim() == 3:
        y = y.expand(x.size(0), *y.shape)
    if x.dim() != 3 or y.dim() != 3 or x.shape[:2] != y.shape[:2] or x.size(1) < 2:
        raise ValueError(
            f"{prefix}states must be (V, n, R) and {prefix}targets (n, K) or (V, n, K), n at least 2, got {tuple(states.shape)} and"
            f" {tuple(targets.shape)}; cut both to the same time steps"
        )
    for name, values in (("states", x), ("targets", y)):
        if not bool(values.isfinite().all()):
            raise ValueError(f"{prefix}{name} must be finite, got NaN or infinity; check the inputs of the reservoir")
    return x, y
