"""RidgeReadout against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from elegans_pyg.models import RidgeReadout


def data(seed: int, variants: int, steps: int, read: int, targets: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(variants, steps, read)) + rng.normal(size=read) * 3
    y = x[0] @ rng.normal(size=(read, targets)) + rng.normal(size=(steps, targets)) + 5
    return torch.from_numpy(x), torch.from_numpy(y)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    variants=st.integers(1, 3),
    steps=st.integers(2, 30),
    read=st.integers(1, 12),
    targets=st.integers(1, 3),
    alpha=st.sampled_from([1e-4, 0.1, 10.0]),
)
def test_equals_scikit_learn_s_ridge(seed: int, variants: int, steps: int, read: int, targets: int, alpha: float) -> None:
    x, y = data(seed, variants, steps, read, targets)
    readout = RidgeReadout.fit(x, y, alpha)
    for v in range(variants):
        # By SVD, as we are by eigenvectors; fewer steps than neurons read is no exception.
        other = Ridge(alpha=alpha, solver="svd").fit(x[v].numpy(), y.numpy())
        coefficients = other.coef_.reshape(targets, read).T
        np.testing.assert_allclose(readout.weight[v], coefficients, atol=1e-7)
        np.testing.assert_allclose(readout(x)[v], other.predict(x[v].numpy()).reshape(steps, targets), atol=1e-6)


def test_the_penalty_with_the_smallest_validation_error_is_chosen() -> None:
    x, y = data(1, 2, 60, 20, 3)
    alphas = [1e-6, 1e-2, 1.0, 30.0, 1e3]
    chosen = RidgeReadout.select(x[:, :30], y[:30], x[:, 30:], y[30:], alphas)
    for v in range(2):
        for k in range(3):
            errors = []
            for alpha in alphas:
                other = Ridge(alpha=alpha, solver="svd").fit(x[v, :30].numpy(), y[:30, k].numpy())
                errors.append(float(np.square(other.predict(x[v, 30:].numpy()) - y[30:, k].numpy()).sum()))
            best = alphas[int(np.argmin(errors))]
            assert chosen.alpha[v, k] == best
            np.testing.assert_allclose(chosen.weight[v, :, k], RidgeReadout.fit(x[:, :30], y[:30], best).weight[v, :, k], atol=1e-12)
    # Noise is best left alone: the largest penalty.
    noise = torch.from_numpy(np.random.default_rng(2).normal(size=(60, 1)))
    assert RidgeReadout.select(x[:1, :30], noise[:30], x[:1, 30:], noise[30:], [1e-8, 1e6]).alpha.item() == 1e6


def test_targets_of_its_own_for_each_variant() -> None:
    x, y = data(3, 2, 20, 4, 2)
    both = RidgeReadout.fit(x, torch.stack([y, -2 * y]), 0.5)
    assert torch.allclose(both.weight[1], -2 * RidgeReadout.fit(x[1:], y, 0.5).weight[0])


def test_a_constant_state_changes_nothing() -> None:
    x, y = data(4, 1, 30, 3, 1)
    with_constant = RidgeReadout.fit(torch.cat([x, torch.full((1, 30, 1), 7.0, dtype=x.dtype)], 2), y, 1e-8)
    assert with_constant.weight[0, 3].abs() < 1e-6
    torch.testing.assert_close(with_constant.weight[0, :3], RidgeReadout.fit(x, y, 1e-8).weight[0], atol=1e-9, rtol=0)


def test_errors_too_large_to_square_choose_the_strongest_penalty() -> None:
    x, y = data(0, 1, 10, 2, 1)
    assert RidgeReadout.select(x, y * 1e200, x, y * 1e200, [1e-3, 1.0]).alpha.tolist() == [[1.0]]


def test_refusals() -> None:
    x, y = data(0, 1, 10, 2, 1)
    with pytest.raises(ValueError, match="alpha must be finite and above 0, got"):
        RidgeReadout.fit(x, y, 0.0)
    with pytest.raises(ValueError, match="alpha must be finite and above 0, got"):
        RidgeReadout.select(x, y, x, y, [])
    with pytest.raises(ValueError, match=r"states must be \(V, n, R\) and targets .* got \(1, 10, 2\) and \(9, 1\)"):
        RidgeReadout.fit(x, y[1:], 1.0)
    with pytest.raises(ValueError, match="states must be finite, got NaN or infinity"):
        RidgeReadout.fit(x / 0, y, 1.0)
    with pytest.raises(ValueError, match="validation_targets must be finite"):
        RidgeReadout.select(x, y, x, y * torch.nan)
    with pytest.raises(ValueError, match="must fit the training ones"):
        RidgeReadout.select(x, y, x[:, :, :1], y)
