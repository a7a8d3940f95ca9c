"""Rank correlations, against SciPy and brute force."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from elegans_pyg.analysis.rank_correlation import fewest_pairs, pairs_needed, rank_correlations, rho_interval, smallest_rho


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**20), st.integers(3, 6), st.integers(1, 3), st.integers(1, 9))
def test_agrees_with_scipy_and_with_all_permutations(seed: int, count: int, columns: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, values + 1, (count, columns)).astype(float), rng.integers(0, values + 1, count).astype(float)
    test = rank_correlations(x, y)
    assert test.exact
    assert test.orders == math.factorial(count)
    for column in range(columns):
        if np.ptp(x[:, column]) == 0 or np.ptp(y) == 0:
            assert math.isnan(test.rho[column])
            assert math.isnan(test.p[column])
            continue
        assert test.rho[column] == pytest.approx(stats.spearmanr(x[:, column], y).statistic)
        every = [abs(stats.pearsonr(stats.rankdata(x[:, column]), order).statistic) for order in permutations(stats.rankdata(y))]
        assert test.p[column] == pytest.approx(np.mean(np.array(every) >= abs(test.rho[column]) - 1e-9))
        assert test.smallest[column] == pytest.approx(np.mean(np.array(every) >= max(every) - 1e-9))


def test_within_groups_differences_between_groups_have_no_part() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], 30)
    x = rng.normal(size=(90, 1)) + 10 * groups[:, None]
    y = rng.normal(size=90) + 10 * groups
    assert rank_correlations(x, y, resamples=500).p[0] < 0.01
    within = rank_correlations(x, y, groups, resamples=500)
    assert abs(within.rho[0]) < 0.3
    assert within.p[0] > 0.05
    # Shifting a whole group changes nothing.
    shifted = rank_correlations(x - 50 * (groups[:, None] == 1), y, groups, resamples=500)
    assert shifted.rho[0] == pytest.approx(within.rho[0])
    assert shifted.p[0] == within.p[0]


def test_groups_are_permuted_each_within_itself() -> None:
    x, y, groups = np.array([[1.0], [2], [3], [1], [2], [9]]), np.array([1.0, 3, 2, 1, 2, 5]), np.array([0, 0, 0, 1, 1, 2])
    test = rank_correlations(x, y, groups)
    assert (test.exact, test.orders) == (True, 12)

    def statistic(first: tuple[float, ...], second: tuple[float, ...]) -> float:
        # Ranks over n + 1, centred: the groups are of 3 and 2, and the group of one has no part.
        return (np.array([-1, 0, 1]) / 4 @ ((np.array(first) - 2) / 4)) + (np.array([-0.5, 0.5]) / 3 @ ((np.array(second) - 1.5) / 3))

    observed = statistic((1, 3, 2), (1, 2))
    every = [abs(statistic(a, b)) for a in permutations((1.0, 2, 3)) for b in permutations((1.0, 2))]
    assert test.p[0] == pytest.approx(np.mean(np.array(every) >= abs(observed) - 1e-12))


def test_random_orders_come_near_the_exact_p_and_depend_on_the_seed_alone() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(25, 2)), rng.normal(size=25)
    state = np.random.get_state()[1].copy()  # noqa: NPY002, the global state is what must not change
    test = rank_correlations(x, y, resamples=4000, seed=5)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert not test.exact
    assert test.smallest.tolist() == [1 / 4001] * 2
    assert np.array_equal(test.p, rank_correlations(x, y, resamples=4000, seed=5).p)
    for column in range(2):
        assert test.p[column] == pytest.approx(stats.spearmanr(x[:, column], y).pvalue, abs=0.04)


def test_intervals_cover_and_the_numbers_of_pairs_have_their_power() -> None:
    rng = np.random.default_rng(1)
    needed = pairs_needed(0.5)
    assert needed is not None
    # Pearson's correlation that gives a rank correlation of 0.5 for normal pairs.
    pearson = 2 * math.sin(math.pi * 0.5 / 6)
    pairs = rng.multivariate_normal([0, 0], [[1, pearson], [pearson, 1]], size=(600, needed))
    found = [stats.spearmanr(sample) for sample in pairs]
    assert np.mean([test.pvalue <= 0.05 for test in found]) == pytest.approx(0.8, abs=0.06)
    intervals = [rho_interval(test.statistic, needed) for test in found]
    assert np.mean([low <= 0.5 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.03)


def test_power_runs_both_ways() -> None:
    assert pairs_needed(smallest_rho(40, alpha=0.01), alpha=0.01) in (40, 41)
    assert (fewest_pairs(0.05), fewest_pairs(0.001)) == (5, 7)
    assert pairs_needed(1.0) == 5
    assert pairs_needed(0.0) is None
    assert pairs_needed(math.nan) is None
    assert math.isnan(smallest_rho(4))
    assert all(map(math.isnan, rho_interval(0.5, 3)))
    assert rho_interval(1.0, 9) == (1.0, 1.0)


def test_refuses_what_it_cannot_rank() -> None:
    with pytest.raises(ValueError, match=r"columns: expected one row for each of the 3 values, got shape \(2, 1\)"):
        rank_correlations(np.zeros((2, 1)), np.zeros(3))
    with pytest.raises(ValueError, match="columns: expected finite numbers"):
        rank_correlations(np.array([[1.0], [math.nan]]), np.zeros(2))
    assert len(rank_correlations(np.zeros((0, 2)), np.zeros(0)).rho) == 2
