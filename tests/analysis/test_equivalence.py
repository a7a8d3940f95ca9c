from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elegans_pyg.analysis import equivalence_test

# Two columns of the data set clinic, 15 patients of each of two groups, and what R's package equivalence 0.5.6, tost(x, y, epsilon = 0.6),
# gives for them: kept with statsmodels' tests of ttost_ind and ttost_paired (statsmodels/stats/tests/test_weightstats.py).
VAR1 = """2.84 2.51 2.41 2.95 3.14 3.79 4.14 3.85 3.02 3.45 5.37 3.81 4.19 3.16 3.84
          2.60 2.82 2.18 3.46 4.01 3.04 3.47 4.06 2.91 3.59 4.51 3.16 3.86 3.31 3.02"""
VAR2 = """4.00 3.26 4.14 3.42 3.25 4.34 4.97 4.31 3.11 3.41 5.02 4.21 4.59 5.30 4.32
          3.76 3.66 3.65 3.60 3.48 2.87 3.24 3.92 3.99 4.21 4.21 3.31 3.61 2.97 2.73"""
IN_R = [
    (VAR1, True, 0.1646666666666667, 0.1357514067862445, 14, (-0.0744336620516462, 0.4037669953849797), 0.003166881489265175),
    (VAR2, True, 0.5626666666666665, 0.2478276410785118, 14, (0.1261653305099018, 0.999168002823431), 0.4412034046017588),
    (VAR1, False, 0.1646666666666667, 0.2531625991083627, 26.7484787582315, (-0.2666862980722534, 0.596019631405587), 0.04853083976236974),
    (VAR2, False, 0.562666666666666, 0.2149871904637392, 24.11000151062728, (0.194916250699966, 0.930417082633366), 0.4317936812594803),
]


@pytest.mark.parametrize(("column", "paired", "difference", "error", "freedom", "interval", "p"), IN_R)
def test_it_agrees_with_r(column, paired, difference, error, freedom, interval, p):
    sample, other = np.array(column.split(), dtype=float).reshape(2, 15)
    found = equivalence_test(sample - other, margin=0.6) if paired else equivalence_test(sample, other, margin=0.6)
    assert found == pytest.approx((difference, *interval, p, error, freedom), rel=1e-12)


def test_the_interval_lies_within_the_margin_where_the_test_rejects():
    generator = np.random.default_rng(0)
    for _ in range(200):
        sample, other = generator.normal(0.1, 1, 12), generator.normal(0, 2, 30)
        found = equivalence_test(sample, other, margin=1.0, alpha=0.1)
        assert (found.p < 0.1) == (found.low > -1 and found.high < 1)


def test_differences_as_large_as_the_margin_are_called_equal_in_one_of_twenty():
    generator = np.random.default_rng(1)
    draws = 1000
    rejected = [equivalence_test(generator.normal(1, 0.5, 40), generator.normal(0, 1.5, 15), margin=1.0).p <= 0.05 for _ in range(draws)]
    assert np.mean(rejected) == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / draws))
    # And means that do not differ are, mostly: the 90 % interval of the t test decides.
    same = [equivalence_test(generator.normal(size=30), generator.normal(size=30), margin=1.0).p <= 0.05 for _ in range(200)]
    assert np.mean(same) > 0.9


def test_constant_arms():
    assert equivalence_test(np.full(3, 0.9), np.full(4, 0.9), margin=0.01).p == 0
    assert equivalence_test(np.full(3, 0.9), np.full(4, 0.8), margin=0.01).p == 1


def test_pairs_are_worth_having():
    generator = np.random.default_rng(2)
    seeds = generator.normal(size=20)
    sample, other = seeds + generator.normal(0, 0.2, 20), seeds + generator.normal(0, 0.2, 20)
    assert equivalence_test(sample - other, margin=0.3).p < 0.001 < equivalence_test(sample, other, margin=0.3).p


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan, math.inf])
def test_margins_that_are_none(margin):
    with pytest.raises(ValueError, match="margin: expected a difference above 0"):
        equivalence_test(np.arange(3.0), margin=margin)


def test_too_few_values():
    with pytest.raises(ValueError, match="at least two values each, got 3, 1; run more"):
        equivalence_test(np.arange(3.0), np.arange(1.0), margin=1)
    assert equivalence_test(np.arange(3.0), margin=9).p == pytest.approx(stats.ttest_1samp(np.arange(3.0), 9, alternative="less").pvalue)
