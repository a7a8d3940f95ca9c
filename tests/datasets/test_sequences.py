"""Tasks in time: definitions by slow loops, integrators against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from elegans_pyg.datasets import sequence_task
from elegans_pyg.datasets.sequences import SEQUENCE_TASKS, integrate_lorenz, integrate_mackey_glass, squared_correlation

SHORT = {"washout": 30, "train": 50, "validation": 20, "test": 40}


@pytest.mark.parametrize("name", SEQUENCE_TASKS)
def test_segments_follow_each_other(name: str) -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002, the state that must not be touched
    task = sequence_task(name, 3, **SHORT)
    assert task.inputs.shape == (140, 1)
    assert task.targets.shape[0] == 140
    assert [task.washout, task.train, task.validation, task.test] == [slice(0, 30), slice(30, 80), slice(80, 100), slice(100, 140)]
    assert bool(task.inputs.isfinite().all())
    assert bool(task.targets.isfinite().all())
    again, other = sequence_task(name, 3, **SHORT), sequence_task(name, 4, **SHORT)
    assert torch.equal(task.inputs, again.inputs)
    assert torch.equal(task.targets, again.targets)
    assert not torch.equal(task.inputs, other.inputs)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_memory_targets_are_the_past() -> None:
    task = sequence_task("memory", **SHORT, delays=7)
    for k in range(1, 8):
        assert torch.equal(task.targets[k:, k - 1], task.inputs[:-k, 0])
    assert float(task.inputs.abs().max()) <= 1


def test_narma_follows_its_recurrence() -> None:
    task = sequence_task("narma10", **SHORT)
    u, y = task.inputs[:, 0].tolist(), [0.0, *task.targets[:, 0].tolist()]
    assert all(0 <= value <= 0.5 for value in u)
    for t in range(10, 140):
        assert y[t + 1] == pytest.approx(0.3 * y[t] + 0.05 * y[t] * sum(y[t - i] for i in range(10)) + 1.5 * u[t] * u[t - 9] + 0.1)


def test_parity_multiplies_three_bits() -> None:
    task = sequence_task("parity", **SHORT, order=3, delays=4)
    u = task.inputs[:, 0].tolist()
    assert set(u) == {-1.0, 1.0}
    for k in range(1, 5):
        for t in range(10, 140):
            assert task.targets[t, k - 1] == math.prod(u[t - k - i] for i in range(3))


def test_forecasts_look_ahead() -> None:
    glass = sequence_task("mackey-glass", **SHORT, horizon=5)
    assert torch.allclose(glass.targets[:-5, 0], glass.inputs[5:, 0] + 1)
    lorenz = sequence_task("lorenz", **SHORT, horizon=0.1)
    assert torch.allclose(lorenz.targets[:-5, 0], 20 * lorenz.inputs[5:, 0])


def test_the_horizons_are_those_of_the_literature() -> None:
    lengths = {**SHORT, "test": 140}
    glass, lorenz = sequence_task("mackey-glass", **lengths), sequence_task("lorenz", **lengths)
    assert torch.allclose(glass.targets[:-84, 0], glass.inputs[84:, 0] + 1)
    assert torch.allclose(lorenz.targets[:-25, 0], 20 * lorenz.inputs[25:, 0])


def method_of_steps(start: float, tau: float, stretches: int) -> np.ndarray:
    """The Mackey-Glass equation by SciPy: in each stretch of length tau the history is the stretch before."""
    samples, before, x = [start], lambda _: start, start
    for stretch in range(stretches):
        at = stretch * tau

        def rate(t: float, now: np.ndarray, before=before) -> np.ndarray:
            delayed = before(t - tau)
            return 0.2 * delayed / (1 + delayed**10) - 0.1 * now

        times = np.arange(at + 1, at + tau + 0.5)
        found = solve_ivp(rate, (at, at + tau), [x], method="DOP853", rtol=1e-11, atol=1e-12, dense_output=True, t_eval=times)
        samples += found.y[0].tolist()
        before, x = (lambda t, sol=found.sol: float(sol(t)[0])), float(found.y[0, -1])
    return np.array(samples)


def test_mackey_glass_is_the_method_of_steps() -> None:
    expected = method_of_steps(1.3, 17.0, 6)
    errors = [np.abs(integrate_mackey_glass(1.3, len(expected), 17.0, substeps) - expected).max() for substeps in (2, 4, 8)]
    assert errors[2] < 1e-5
    # Fourth order: halving the step divides the error by 16.
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > 3.3).all(), (errors, orders)
    with pytest.raises(ValueError, match=r"tau must be a positive multiple of the step 1/10, got 1\.55"):
        integrate_mackey_glass(1.0, 5, 1.55)


def test_mackey_glass_settles_on_its_attractor() -> None:
    x = integrate_mackey_glass(1.2, 2_000)[1_000:]
    # The attractor at tau = 17 lies between 0.4 and 1.4, and is no cycle.
    assert 0.35 < x.min() < 0.5
    assert 1.25 < x.max() < 1.4
    assert np.ptp(integrate_mackey_glass(1.2, 2_000, 6.0)[1_900:]) > 0.1
    assert np.ptp(integrate_mackey_glass(1.2, 2_000, 2.0)[1_900:]) < 1e-3


def test_lorenz_is_scipy_s() -> None:
    start = [1.0, 2.0, 20.0]

    def rate(_: float, p: np.ndarray) -> list[float]:
        return [10 * (p[1] - p[0]), p[0] * (28 - p[2]) - p[1], p[0] * p[1] - 8 / 3 * p[2]]

    times = 0.02 * np.arange(101)
    expected = solve_ivp(rate, (0, 2), start, method="DOP853", rtol=1e-12, atol=1e-12, t_eval=times).y.T
    errors = [np.abs(integrate_lorenz(start, 101, substeps=substeps) - expected).max() for substeps in (2, 4, 8)]
    assert errors[1] < 1e-3
    assert (np.log2(np.array(errors[:-1]) / errors[1:]) > 3.5).all()


def test_scores() -> None:
    memory = sequence_task("memory", **SHORT, delays=3)
    y = memory.targets[memory.test]
    rng = np.random.default_rng(0)
    noisy = y + torch.from_numpy(rng.normal(size=y.shape))
    # Correlation is blind to scale and sign; a constant remembers nothing.
    perfect, constant = 2 * y - 1, torch.full_like(y, 0.3)
    expected = sum(np.corrcoef(noisy[:, k], y[:, k])[0, 1] ** 2 for k in range(3))
    np.testing.assert_allclose(memory.score(torch.stack([perfect, constant, noisy]), memory.test), [3, 0, expected], atol=1e-12)
    assert squared_correlation(torch.stack([perfect]), y).shape == (1, 3)

    lorenz = sequence_task("lorenz", **SHORT)
    y = lorenz.targets[lorenz.test]
    mean = y.mean(0).expand_as(y)
    np.testing.assert_allclose(lorenz.score(torch.stack([y, mean, y + y.std(0, correction=0)]), lorenz.test), [0, 1, 1], atol=1e-12)

    parity = sequence_task("parity", **SHORT)
    y = parity.targets[parity.test]
    wrong = y.clone()
    wrong[:10] *= -1
    np.testing.assert_allclose(parity.score(torch.stack([0.1 * y, wrong]), parity.test), [1, 0.75])
    with pytest.raises(ValueError, match=r"predictions must be \(V, 40, 10\), got \(1, 20, 10\)"):
        parity.score(y[None, :20], parity.test)
    assert (memory.more_is_better, lorenz.more_is_better, parity.more_is_better) == (True, False, True)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"name: expected one of memory, narma10, .* got 'henon'"):
        sequence_task("henon")
    with pytest.raises(ValueError, match="seed: expected 0 or more"):
        sequence_task("memory", -1)
    with pytest.raises(ValueError, match="validation: expected 2 or more, got 1"):
        sequence_task("memory", validation=1)
    with pytest.raises(TypeError, match=r"order must be a setting of 'memory' \(delays\)"):
        sequence_task("memory", order=2)
    with pytest.raises(ValueError, match="delays: expected 1 or more, got 0"):
        sequence_task("memory", delays=0)
    for name, key in (("memory", "delays"), ("mackey-glass", "horizon"), ("parity", "order"), ("parity", "delays")):
        with pytest.raises(TypeError, match=rf"{key}: expected an integer, got 2\.5"):
            sequence_task(name, **{key: 2.5})
    with pytest.raises(ValueError, match="tau: expected a number above 0, got -1"):
        sequence_task("mackey-glass", tau=-1)
    with pytest.raises(ValueError, match=r"horizon: expected 0\.02 time units or more, got 0\.005"):
        sequence_task("lorenz", horizon=0.005)
