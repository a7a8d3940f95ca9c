from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from elegans_pyg.analysis import compare, rank_test
from elegans_pyg.analysis.rank_test import _effect_interval


def frame(real: list[float], nulls: list[list[float]], family: str = "rewired") -> pd.DataFrame:
    rows = [("connectome", 0, seed, value) for seed, value in enumerate(real)]
    rows += [(family, wiring + 1, seed, value) for wiring, runs in enumerate(nulls) for seed, value in enumerate(runs)]
    return pd.DataFrame(rows, columns=["family", "wiring_seed", "seed", "auc"]).assign(variant=range(len(rows)))


def ranked(table: pd.DataFrame, **options) -> pd.Series:
    return rank_test(table, value="auc", **options).iloc[0]


def test_every_number_by_hand():
    # Means 2, 4, 6, 9 of the nulls, 8 of the real wiring, 5.8 of all: 2 and 9 lie as far out or farther, 4 and 6 do not.
    table = frame([7.0, 9.0], [[1.0, 3.0], [4.0, 4.0], [5.0, 7.0], [9.0, 9.0]])
    found = ranked(table, share=False)
    assert (found["wirings"], found["value"], found["mean"], found["rank"]) == (4, 8, 5.25, 2)
    assert found["sd"] == pytest.approx(np.std([2, 4, 6, 9], ddof=1))
    assert found["effect"] == pytest.approx((8 - 5.25) / np.std([2, 4, 6, 9], ddof=1))
    assert (found["p"], found["p_smallest"]) == (pytest.approx(3 / 5), 1 / 5)
    assert ranked(table, share=False, alternative="greater")["p"] == pytest.approx(2 / 5)
    assert ranked(table, share=False, alternative="less")["p"] == pytest.approx(4 / 5)
    assert found["effect_low"] < found["effect"] < found["effect_high"]


def test_compare_has_the_same_numbers():
    generator = np.random.default_rng(0)
    nulls = generator.uniform(0.4, 0.6, (30, 2)).tolist()
    table = pd.concat([frame([0.65, 0.66, 0.67], nulls), frame([], nulls[::2], "er")], ignore_index=True)
    table["variant"] = range(len(table))
    found = rank_test(table, value="auc").set_index("family")
    compared = compare(table, value="auc", resamples=200).table.set_index("family")
    for name in ("rank", "effect", "effect_low", "effect_high"):
        assert found[name].tolist() == compared.loc[["rewired", "er"], name].tolist()
    assert found["p"].tolist() == compared.loc[["rewired", "er"], "p_rank"].tolist() == [pytest.approx(1 / 31), pytest.approx(1 / 16)]
    assert found["p_holm"].tolist() == compared.loc[["rewired", "er"], "p_rank_holm"].tolist() == [2 / 31, 2 / 31]
    # Two-sided: below all of them it is as unusual as above.
    below = pd.concat([frame([0.35, 0.34, 0.33], nulls)], ignore_index=True)
    assert compare(below, value="auc", resamples=200).table["p_rank"].tolist()[1:] == [pytest.approx(1 / 31)]


def test_each_of_twenty_wirings_in_turn_as_the_real_one():
    """Half of the variance is the wirings' own: one of twenty is unusual at 0.05 by its rank; by the test of means half are."""
    generator = np.random.default_rng(1)
    for _ in range(3):
        own = generator.normal(size=20)
        runs, many = own[:, None] + generator.normal(size=(20, 3)), own[:, None] + generator.normal(size=(20, 60))
        by_rank, by_means = [], []
        for real in range(20):
            nulls = np.delete(runs, real, axis=0)
            by_rank.append(ranked(frame(runs[real].tolist(), nulls.tolist()), share=False)["p"] <= 0.05)
            by_means.append(stats.ttest_ind(many[real], nulls.mean(axis=1), equal_var=False).pvalue <= 0.05)
        assert sum(by_rank) == 1
        assert sum(by_means) > 8


def test_nulls_count_with_no_more_runs_than_the_real_wiring_has():
    nulls = [[0.1, 0.9], [0.2, 0.9], [0.3, 0.9]]
    found, first = ranked(frame([0.35], nulls)), ranked(frame([0.35], [runs[:1] for runs in nulls]))
    pd.testing.assert_series_equal(found, first)
    assert found["rank"] == 1


def test_a_wiring_that_ties_has_the_best_of_the_ranks_it_shares():
    assert ranked(frame([0.5], [[0.4], [0.5], [0.5], [0.6]]))["rank"] == 2


@pytest.mark.parametrize(("runs", "wirings", "true"), [(30, 60, 1.5), (1, 20, 3.0), (4, 6, 0.0)])
def test_intervals_of_the_effect_cover_the_truth(runs, wirings, true):
    generator = np.random.default_rng(2)
    draws, covered = 150, 0
    for _ in range(draws):
        real = true + (generator.normal(0, 0.7, runs) if runs > 1 else np.zeros(1))
        nulls = generator.normal(size=wirings)
        low, high = _effect_interval((real.mean() - nulls.mean()) / nulls.std(ddof=1), real, nulls, 0.9)
        covered += low <= true <= high
    assert covered / draws == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / draws))


def test_the_interval_of_a_known_value_is_the_noncentral_ts():
    nulls = np.random.default_rng(3).normal(size=12)
    effect = (2 - nulls.mean()) / nulls.std(ddof=1)
    low, high = _effect_interval(effect, np.array([2.0]), nulls, 0.95)
    for end, level in ((low, 0.975), (high, 0.025)):
        assert stats.nct.cdf(effect * math.sqrt(12), 11, end * math.sqrt(12)) == pytest.approx(level, abs=2e-3)


def test_nulls_that_are_all_the_same():
    found = ranked(frame([0.5, 0.5], [[0.5, 0.5]] * 4))
    assert found["p"] == 1
    assert math.isnan(found["effect"])
    assert math.isnan(found["effect_low"])


def test_what_cannot_be_ranked():
    table = frame([0.5, 0.6], [[0.5], [0.6]])
    with pytest.raises(ValueError, match="expected a family with one wiring and at least one run, got wirings of 'rewired'; use compare"):
        rank_test(table, "rewired", "auc")
    with pytest.raises(ValueError, match="must hold a family of at least two wirings to rank 'connectome' among, got none"):
        rank_test(table[table["family"] == "connectome"], value="auc")
    with pytest.raises(ValueError, match="alternative: expected two-sided, greater or less, got 'both'"):
        rank_test(table, value="auc", alternative="both")
    with pytest.raises(ValueError, match="got no finished run of 'connectome'"):
        rank_test(table.assign(auc=table["auc"].where(table["family"] != "connectome")), value="auc")
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, got 95"):
        rank_test(table, value="auc", confidence=95)
