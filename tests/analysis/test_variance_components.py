from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elegans_pyg.analysis import icc_of_mean, variance_components


def test_variance_components_of_a_balanced_table():
    # Three groups of two: means 1, 2, 6; MSB = 2 * 14 / 2 = 14, MSW = 3 * 2 / 3 = 2, between = (14 - 2) / 2 = 6.
    components = variance_components(np.array([0.0, 2, 1, 3, 5, 7]), [4, 4, 9, 9, 2, 2])
    assert components[:3] == (pytest.approx(6), pytest.approx(2), False)


def test_variance_components_of_unequal_groups_recover_the_truth():
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(4000), generator.integers(1, 6, 4000))
    values = 3 * generator.standard_normal(4000)[groups] + 2 * generator.standard_normal(len(groups))
    components = variance_components(values, groups)
    assert components.between == pytest.approx(9, rel=0.06)
    assert components.within == pytest.approx(4, rel=0.06)


def test_means_of_strata_take_their_degrees_of_freedom():
    # Two strata of two groups of two, means 1, 2 and 6, 9: MSB = (2 * 0.5 + 2 * 4.5) / 2 = 5, MSW = (2 + 2 + 2 + 2) / 4 = 2.
    values, groups = np.array([0.0, 2, 1, 3, 5, 7, 8, 10]), [4, 4, 9, 9, 2, 2, 1, 1]
    assert variance_components(values, groups, list("aaaabbbb"))[:3] == (pytest.approx(1.5), pytest.approx(2), False)
    assert math.isnan(variance_components(values, groups, groups).between)
    with pytest.raises(ValueError, match="strata: expected one stratum for all values of a group, got two"):
        variance_components(values, groups, list("aaabbbbb"))


def test_nested_groups_of_any_size_recover_the_truth():
    generator = np.random.default_rng(5)
    groups = np.repeat(np.arange(3000), generator.integers(1, 6, 3000))
    strata = groups // 3
    values = 100 * strata + 3 * generator.standard_normal(3000)[groups] + 2 * generator.standard_normal(len(groups))
    assert variance_components(values, groups, strata)[:2] == (pytest.approx(9, rel=0.08), pytest.approx(4, rel=0.08))


def test_variance_components_that_do_not_exist():
    assert variance_components(np.array([1.0, 3]), [0, 0])[1] == pytest.approx(2)
    assert math.isnan(variance_components(np.array([1.0, 3]), [0, 0]).between)
    assert all(map(math.isnan, variance_components(np.array([1.0, 3]), [0, 1])[:2]))
    assert variance_components(np.array([0.0, 10, 1, 9]), [0, 0, 1, 1])[:3] == (0.0, pytest.approx(41), True)


# Yield of dyestuff in six batches of five (Davies & Goldsmith 1972, "Statistical Methods in Research and Production"). R's lme4 and
# statsmodels' MixedLM (0.15.0) give REML variances of 1764.1 and 2451.25, which are those of the analysis of variance in a balanced table.
DYESTUFF = [
    *(1545, 1440, 1440, 1520, 1580, 1540, 1555, 1490, 1560, 1495, 1595, 1550, 1605, 1510, 1560),
    *(1445, 1440, 1595, 1465, 1545, 1595, 1630, 1515, 1635, 1625, 1520, 1455, 1450, 1480, 1445),
]
# Six targets rated by four judges (Shrout & Fleiss 1979, table 2). ICC(1, 1) is 0.17 and ICC(1, 4) 0.44; R's psych, ICC(), gives 0.166 with
# the 95 % interval -0.133 to 0.723, and for the mean of four 0.443 with -0.884 to 0.912.
RATINGS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_dyestuff_as_in_lme4():
    found = variance_components(np.array(DYESTUFF, dtype=float), np.repeat(range(6), 5))
    assert found.between == pytest.approx(1764.05, abs=0.2)
    assert found.within == pytest.approx(2451.25, abs=0.05)
    assert found.icc == pytest.approx(0.4185, abs=1e-4)


def test_ratings_as_in_shrout_and_fleiss():
    found = variance_components(np.array(RATINGS, dtype=float).ravel(), np.repeat(range(6), 4))
    low, high = found.icc_interval()
    assert (found.icc, low, high) == pytest.approx((0.166, 0.0, 0.723), abs=6e-4)  # the lower end is cut off at 0
    assert (icc_of_mean(found.icc, 4), icc_of_mean(high, 4)) == pytest.approx((0.443, 0.912), abs=6e-4)
    # Where nothing is cut off, both ends: F / F(quantile) in place of F, as they have it.
    shifted = np.array(RATINGS, dtype=float) + 10 * np.arange(6)[:, None]
    low, high = variance_components(shifted.ravel(), np.repeat(range(6), 4)).icc_interval(0.9)
    ratio = 4 * shifted.mean(axis=1).var(ddof=1) / shifted.var(axis=1, ddof=1).mean()
    for end, quantile in ((low, 2.7729), (high, 1 / 4.5785)):  # F(0.95; 5, 18) and F(0.95; 18, 5)
        assert end == pytest.approx((ratio / quantile - 1) / (ratio / quantile + 3), abs=1e-4)


# Twelve groups of 1 to 8 values, in one stratum or in three of 2, 4 and 6 groups.
@pytest.mark.parametrize("strata", [[0] * 12, [0] * 2 + [1] * 4 + [2] * 6])
@pytest.mark.parametrize("icc", [0.08, 0.5, 0.9])
def test_intervals_cover_the_truth_in_unequal_groups(icc, strata):
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), [1, 1, 2, 2, 3, 3, 4, 4, 5, 2, 3, 8])
    strata = np.array(strata)[groups]
    draws, covered, above = 400, 0, 0
    for _ in range(draws):
        values = math.sqrt(icc) * generator.standard_normal(12)[groups] + math.sqrt(1 - icc) * generator.standard_normal(len(groups))
        low, high = variance_components(values + 9.0 * strata, groups, strata).icc_interval(0.9)
        covered, above = covered + (low <= icc <= high), above + (low > icc)
    assert covered / draws == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / draws))
    assert above / draws == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / draws))


def test_the_interval_of_strata_has_their_degrees_of_freedom():
    generator = np.random.default_rng(4)
    values = 2 * generator.normal(size=(2, 5, 1)) + generator.normal(size=(2, 5, 3)) + np.array([0.0, 9.0])[:, None, None]
    means = values.mean(axis=2)
    ratio = 3 * ((means - means.mean(axis=1, keepdims=True)) ** 2).sum() / 8 / values.var(axis=2, ddof=1).mean()
    ends = [(ratio / stats.f.ppf(level, 8, 20) - 1) / 3 for level in (0.975, 0.025)]
    found = variance_components(values.ravel(), np.repeat(range(10), 3), np.repeat(range(2), 15)).icc_interval()
    assert found == pytest.approx([theta / (1 + theta) for theta in ends], rel=1e-9)
    assert found[0] > 0


def test_the_mean_of_some_seeds_is_worth_more():
    generator = np.random.default_rng(4)
    means = generator.normal(0, 0.3, 4000)
    first, other = (means + generator.normal(0, 1, (5, 4000)).mean(axis=0) for _ in range(2))
    assert icc_of_mean(0.09 / 1.09, 5) == pytest.approx(np.corrcoef(first, other)[0, 1], abs=0.04)
    assert icc_of_mean(0.3, 1) == 0.3


def test_intervals_that_do_not_exist():
    for values, groups in (([], []), ([1.0, 3], [0, 0]), ([1.0, 3], [0, 1]), ([1.0, 1, 2, 2], [0, 0, 1, 1])):
        assert all(map(math.isnan, variance_components(np.array(values), groups).icc_interval()))
    assert variance_components(np.array([0.0, 10, 1, 9]), [0, 0, 1, 1]).icc_interval()[0] == 0
