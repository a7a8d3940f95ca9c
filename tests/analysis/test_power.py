from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from elegans_pyg.analysis import equivalence_test, nested_designs, runs_needed
from elegans_pyg.analysis.inference import sign_flip_test
from elegans_pyg.analysis.power import difference_power, equivalence_power, smallest_testable


def test_power_of_the_t_test_as_in_r_and_statsmodels():
    # The help page of R's power.t.test: n = 20, delta = 1, sd = 1, strict = TRUE.
    assert difference_power(1, math.sqrt(2 / 20), 38) == pytest.approx(0.8689530, abs=1e-7)
    # statsmodels 0.15.0: TTestIndPower().power(0.5, 64, 0.05), and TTestPower().power(0.5, 34, 0.05).
    assert difference_power(0.5, math.sqrt(2 / 64), 126) == pytest.approx(0.8014595579222542, rel=1e-9)
    assert difference_power(0.5, math.sqrt(1 / 34), 33) == pytest.approx(0.8077775012792737, rel=1e-9)
    assert difference_power(100, 0.01, 10) == 1


@pytest.mark.parametrize(("effect", "runs"), [(0.2, 394), (0.5, 64), (0.8, 26)])
def test_runs_needed_as_in_cohens_table(effect, runs):
    # Cohen 1988, table 2.4.1, a2 = 0.05, power 0.80; of d = 0.2 it has the rounded 393, of which the power is 0.7998.
    assert runs_needed(effect, 1.0) == runs


@pytest.mark.parametrize(
    ("variation", "ratio", "limit", "share", "freedom", "power"),
    [
        (0.2, 0.95, 1.25, 2 / 20, 18, 0.834680),
        (0.125, 0.975, 1 / 0.9, 2 / 32, 30, 0.800218),
        (0.35, 0.95, 1.25, 1 / 52 + 1 / 49, 99, 0.8011186),
    ],
)
def test_power_of_equivalence_as_in_powertost(variation, ratio, limit, share, freedom, power):
    # The examples in the README of R's PowerTOST 1.5-2, by Owen's Q function: two crossover studies and one with parallel groups.
    sd = math.sqrt(math.log(1 + variation**2))
    assert equivalence_power(math.log(ratio), math.log(limit), sd * math.sqrt(share), freedom) == pytest.approx(power, abs=3e-5)


def test_units_that_show_equality_do_so():
    units = runs_needed(0.2, 1.0, margin=0.8)
    assert units is not None
    generator = np.random.default_rng(5)
    found = [equivalence_test(generator.normal(0.2, 1, units), generator.normal(0, 1, units), margin=0.8).p <= 0.05 for _ in range(800)]
    assert np.mean(found) == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / 800))
    assert runs_needed(0.0, 1.0, margin=0.8) < units < runs_needed(0.5, 1.0, margin=0.8)
    assert runs_needed(0.0, 1.0, margin=0.8, paired=True) < runs_needed(0.0, 1.0, margin=0.8)
    assert runs_needed(0.8, 1.0, margin=0.8) is None
    assert runs_needed(0.0, 0.0, margin=0.8) is None


@pytest.mark.parametrize("single", [False, True])
def test_nested_designs_have_the_power_they_promise(single):
    between, within, difference = 0.5, 1.0, 0.6
    table = nested_designs(difference, between, within, seeds=(1, 3), single=single)
    generator = np.random.default_rng(6)
    for row in table.itertuples():
        assert row.runs == row.wirings * row.seeds
        sd, draws = math.sqrt(between + within / row.seeds), 4000
        family = generator.normal(difference, sd, (draws, row.wirings))
        other = generator.normal(0, 1, (draws, row.runs)) if single else generator.normal(0, sd, (draws, row.wirings))
        p = stats.ttest_ind(family, other, axis=1, equal_var=False).pvalue
        assert np.mean(p < 0.05) == pytest.approx(row.power, abs=0.03)
        assert row.power >= 0.8
    # More seeds save wirings, but not runs.
    assert table["wirings"].is_monotonic_decreasing
    assert table["runs"].is_monotonic_increasing


def test_nested_designs_for_equality_and_without_an_answer():
    table = nested_designs(0.0, 0.0, 1.0, seeds=(1, 4), margin=0.5)
    assert table["wirings"][0] == runs_needed(0.0, 1.0, margin=0.5)
    # Without variance between wirings a seed is a seed, wherever it is spent; but for the fewer degrees of freedom.
    assert 0 <= table["runs"][1] - table["runs"][0] <= 8
    for arguments, message in (
        ((0.0, 1, 1), "difference: expected one other than 0, got 0; no number"),
        ((1e-5, 1, 1), "difference: expected one other than 0, got 1e-05; no number"),
        ((0.1, 0, 0), "between, within: expected variances, not both 0"),
        ((0.1, -1, 2), "got -1 and 2"),
    ):
        with pytest.raises(ValueError, match=message):
            nested_designs(*arguments)
    with pytest.raises(ValueError, match=r"smaller than the margin of 0\.1, got 0\.2"):
        nested_designs(0.2, 1, 1, margin=0.1)


def test_runs_needed_has_the_power_it_promises():
    assert runs_needed(0.001, 0.00195) == runs_needed(-0.001, 0.00195) == 61  # 0.1 percentage points at a spread of about 0.2
    runs = runs_needed(0.5, 1.0)
    generator = np.random.default_rng(3)
    p = stats.ttest_ind(generator.normal(0.5, 1, (4000, runs)), generator.normal(0, 1, (4000, runs)), axis=1).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.03)


def test_runs_needed_where_there_is_no_number():
    assert runs_needed(0.0, 0.01) is None
    assert runs_needed(0.01, 0.0) is None
    assert runs_needed(0.01, math.nan) is None
    assert runs_needed(1e-5, 1.0) is None  # 1.6e11
    assert runs_needed(2e-4, 1.0) == pytest.approx(2 * ((1.959964 + 0.841621) / 2e-4) ** 2, rel=1e-4)
    assert runs_needed(0.5, 0.001) == smallest_testable(0.05) == 4
    assert smallest_testable(0.01) == 5  # 2 / 252, where 2 / 70 is too many


def test_pairs_needed():
    assert smallest_testable(0.05, paired=True) == 6
    assert sign_flip_test(np.arange(1.0, 7.0)).smallest == 2 / 64
    assert runs_needed(0.01, 0.01, paired=True) == 10  # 7.85 by the normal approximation
    assert runs_needed(1.0, 0.01, paired=True) == 6
