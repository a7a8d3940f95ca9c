from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from elegans_pyg.analysis.inference import (
    bootstrap_interval,
    cliffs_delta,
    holm,
    permutation_test,
    sign_flip_test,
)

# Accuracies as they come: correct answers out of 360 test images, so ties are common.
accuracies = st.integers(300, 360).map(lambda right: right / 360)


def arms(smallest: int = 1, largest: int = 5) -> st.SearchStrategy[np.ndarray]:
    return st.lists(accuracies, min_size=smallest, max_size=largest).map(np.array)


def welch_squared(sample, other):
    """Welch's statistic, squared, in exact fractions; the difference of an arm of one value; infinite for constant arms that differ."""
    means = [Fraction(sum(arm), len(arm)) for arm in (sample, other)]
    squares = [sum((value - mean) ** 2 for value in arm) for arm, mean in zip((sample, other), means, strict=True)]
    gap = (means[0] - means[1]) ** 2
    if min(len(sample), len(other)) == 1:
        return gap
    error = sum(part / (len(arm) * (len(arm) - 1)) for arm, part in zip((sample, other), squares, strict=True))
    return gap / error if error else math.inf if gap else 0


@settings(max_examples=40, deadline=None)
@given(arms(), arms(largest=4))
def test_exact_permutation_counts_every_split(sample, other):
    rights = np.rint(np.concatenate([sample, other]) * 360).astype(int).tolist()  # integers: no rounding in the oracle
    m, n = len(sample), len(other)
    splits = [(set(chosen), set(range(m + n)) - set(chosen)) for chosen in combinations(range(m + n), m)]
    gaps = [welch_squared(*([rights[place] for place in side] for side in split)) for split in splits]
    observed = welch_squared(rights[:m], rights[m:])
    test = permutation_test(np.array(rights[:m]) / 360, np.array(rights[m:]) / 360)
    assert test.exact
    assert test.p == pytest.approx(sum(gap >= observed for gap in gaps) / len(gaps))
    assert test.smallest == pytest.approx(sum(gap == max(gaps) for gap in gaps) / len(gaps))


@pytest.mark.parametrize(("m", "n"), [(5, 5), (4, 7), (3, 12)])
def test_exact_permutation_agrees_with_scipy(m, n):
    generator = np.random.default_rng(m)
    sample, other = generator.normal(0.97, 0.002, m), generator.normal(0.972, 0.002, n)
    expected = stats.permutation_test(
        (sample, other),
        lambda x, y, axis: np.abs(stats.ttest_ind(x, y, axis=axis, equal_var=False).statistic),
        vectorized=True,
        alternative="greater",
        n_resamples=np.inf,
        permutation_type="independent",
    ).pvalue
    assert permutation_test(sample, other).p == pytest.approx(expected, rel=1e-12)


def test_monte_carlo_approaches_welch_and_repeats():
    generator = np.random.default_rng(0)
    sample, other = generator.normal(0.97, 0.002, 40), generator.normal(0.9705, 0.002, 40)
    test = permutation_test(sample, other, resamples=20_000, seed=3)
    assert not test.exact
    assert test.smallest == 1 / 20_001
    assert test.p == pytest.approx(stats.ttest_ind(sample, other).pvalue, abs=0.01)
    assert test == permutation_test(sample, other, resamples=20_000, seed=3)
    assert test.p != permutation_test(sample, other, resamples=20_000, seed=4).p


def test_monte_carlo_is_never_zero():
    test = permutation_test(np.full(20, 0.9) + np.arange(20) * 1e-4, np.full(20, 0.5), resamples=500)
    assert test.p == 1 / 501


def test_equal_arms_have_p_one():
    assert permutation_test(np.full(3, 0.9), np.full(3, 0.9)).p == 1


def test_empty_arm_is_refused():
    with pytest.raises(ValueError, match="at least one value each, got 0 and 2"):
        permutation_test(np.array([]), np.array([0.5, 0.6]))


def test_type_one_error_stays_at_the_level():
    generator = np.random.default_rng(1)
    rejected = [permutation_test(generator.exponential(size=5), generator.exponential(size=5)).p <= 0.05 for _ in range(600)]
    # Exact at 12/252 = 0.0476; four standard errors of 600 draws either side.
    assert np.mean(rejected) == pytest.approx(12 / 252, abs=4 * math.sqrt(0.0476 * 0.9524 / 600))


def test_holm_by_hand():
    # Holm 1979: 0.01 x 4, 0.015 x 3 = 0.045, 0.03 x 2 = 0.06, 0.04 x 1 -> raised to 0.06.
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03, 0.015])), [0.06, 0.04, 0.06, 0.045])
    np.testing.assert_allclose(holm(np.array([0.5, math.nan, 0.6, 0.01])), [1.0, math.nan, 1.0, 0.03])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_as_the_step_down_procedure(p_values, level):
    adjusted = holm(np.array(p_values))
    rejected = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] * (len(p_values) - step) > level:
            break
        rejected.add(index)
    assert set(np.flatnonzero(adjusted <= level)) == rejected


@settings(max_examples=40, deadline=None)
@given(arms(largest=9), arms(largest=9))
def test_cliffs_delta_is_mann_whitney(sample, other):
    u = stats.mannwhitneyu(sample, other).statistic
    assert cliffs_delta(sample, other) == pytest.approx(2 * u / (len(sample) * len(other)) - 1)


def test_cliffs_delta_takes_sums_in_another_order_for_ties():
    assert cliffs_delta(np.array([0.1 + 0.2]), np.array([0.3])) == 0


def test_bootstrap_of_a_mean_and_of_a_difference():
    generator = np.random.default_rng(5)
    sample, other = generator.normal(0.97, 0.002, 60), generator.normal(0.96, 0.004, 50)
    low, high = bootstrap_interval(sample)
    half = stats.t.ppf(0.975, 59) * sample.std(ddof=1) / math.sqrt(60)
    assert (low, high) == pytest.approx((sample.mean() - half, sample.mean() + half), abs=half / 5)
    low, high = bootstrap_interval(sample, other)
    half = 1.96 * math.hypot(sample.std(ddof=1) / math.sqrt(60), other.std(ddof=1) / math.sqrt(50))
    centre = sample.mean() - other.mean()
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=half / 5)
    narrow = bootstrap_interval(sample, other, confidence=0.5)
    assert low < narrow[0] < narrow[1] < high
    assert bootstrap_interval(sample, seed=1) == bootstrap_interval(sample, seed=1) != bootstrap_interval(sample, seed=2)


def test_bootstrap_of_constant_and_of_few_values():
    assert bootstrap_interval(np.full(5, 0.97)) == pytest.approx((0.97, 0.97), abs=1e-12)
    assert bootstrap_interval(np.full(5, 0.97), np.full(3, 0.9)) == pytest.approx((0.07, 0.07), abs=1e-12)
    low, high = bootstrap_interval(np.full(5, 0.97), np.array([0.9, 0.91, 0.93]))
    assert 0.04 - 1e-12 <= low < high <= 0.07 + 1e-12
    assert all(map(math.isnan, bootstrap_interval(np.array([0.9]))))
    assert all(map(math.isnan, bootstrap_interval(np.array([0.9, 0.8]), np.array([0.9]))))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-30, 30), min_size=1, max_size=8))
def test_sign_flips_count_every_choice_of_signs(rights):
    sums = [abs(sum(sign * right for sign, right in zip(signs, rights, strict=True))) for signs in product((1, -1), repeat=len(rights))]
    test = sign_flip_test(np.array(rights) / 360)
    assert test.exact
    assert test.p == pytest.approx(np.mean(np.array(sums) >= abs(sum(rights))))
    assert test.smallest == pytest.approx(np.mean(np.array(sums) == max(sums)))


@pytest.mark.parametrize("scale", [1e-15, 1e-4, 1.0, 1e7])
def test_sign_flips_count_ties_on_any_scale(scale):
    differences = np.random.default_rng(0).integers(1, 30, 11) / 7
    shuffled = np.array([sign_flip_test(scale * np.random.default_rng(seed).permutation(differences)).p for seed in range(20)])
    assert shuffled == pytest.approx(2 / 2**11)
    assert sign_flip_test(np.zeros(4)).p == 1
    # The same differences, some of them with the noise of a subtraction of shares.
    noisy = scale * np.array([1, -1, 2, 3, -2]) + 1e-12 * scale * np.array([1, -1, 1, 0, -1])
    assert sign_flip_test(noisy).p == sign_flip_test(np.array([1.0, -1, 2, 3, -2])).p


@pytest.mark.parametrize("pairs", [4, 11])
def test_sign_flips_agree_with_scipy(pairs):
    generator = np.random.default_rng(pairs)
    sample, other = generator.normal(0.971, 0.002, pairs), generator.normal(0.97, 0.002, pairs)
    expected = stats.permutation_test(
        (sample, other), lambda x, y: abs(np.mean(x - y)), alternative="greater", n_resamples=np.inf, permutation_type="samples"
    ).pvalue
    assert sign_flip_test(sample - other).p == pytest.approx(expected, rel=1e-12)


def test_random_sign_flips_approach_the_paired_t_test_and_repeat():
    differences = np.random.default_rng(3).normal(0.002, 0.006, 40)
    test = sign_flip_test(differences, resamples=20_000, seed=5)
    assert not test.exact
    assert test.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert test == sign_flip_test(differences, resamples=20_000, seed=5)
    assert sign_flip_test(np.full(40, 0.1), resamples=999).p == 0.001


def test_no_pair_is_refused():
    with pytest.raises(ValueError, match="differences must hold at least one value, got none"):
        sign_flip_test(np.array([]))
