"""Agreement of predicted and measured responses: against scikit-learn and NumPy, and what repeated measurements allow."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from elegans_pyg.analysis import effects_by_fold, noise_ceilings, response_scores
from elegans_pyg.analysis.responses import ranking_scores


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**20), st.integers(8, 60), st.sampled_from([2, 5, 1000]))
def test_rankings_are_those_of_scikit_learn(seed: int, pairs: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    # Few levels: many ties.
    score, responds = rng.integers(levels, size=(3, pairs)).astype(float), rng.permutation(pairs) < max(3, pairs // 4)
    areas, precisions = ranking_scores(score, responds)
    assert areas == pytest.approx([roc_auc_score(responds, row) for row in score])
    assert precisions == pytest.approx([average_precision_score(responds, row) for row in score])


def test_scores_of_all_pairs_of_those_that_respond_and_by_steps() -> None:
    rng = np.random.default_rng(0)
    responds, steps = rng.random(400) < 0.3, rng.integers(1, 5, 400).astype(float)
    measured = rng.normal(size=400) + responds
    predicted = measured + rng.normal(size=(2, 400))
    table = response_scores(np.abs(predicted), predicted, responds, measured, steps)
    for row, own in zip(table.itertuples(), predicted, strict=True):
        assert row.auc == pytest.approx(roc_auc_score(responds, np.abs(own)))
        assert row.r == pytest.approx(np.corrcoef(own, measured)[0, 1])
        assert row.r_significant == pytest.approx(np.corrcoef(own[responds], measured[responds])[0, 1])
        assert row.auc_2 == pytest.approx(roc_auc_score(responds[steps == 2], np.abs(own[steps == 2])))
    few = response_scores(predicted, np.ones_like(predicted), np.arange(400) < 2, measured, steps)
    assert few.isna().all(axis=None)


def test_the_ceiling_is_what_a_prediction_without_error_reaches() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=200_000)
    one, two, other = (truth + rng.normal(size=truth.size) for _ in range(3))
    measured, responds = (one + two) / 2, truth > 1
    other[:10] = math.nan
    table = noise_ceilings(responds, measured, (one, two), other).set_index("by")
    assert table.loc["halves", "r"] == pytest.approx(np.corrcoef(truth, measured)[0, 1], abs=0.005)
    assert table.loc["halves", "r_significant"] == pytest.approx(np.corrcoef(truth[responds], measured[responds])[0, 1], abs=0.02)
    assert table["pairs"].tolist() == [200_000, 200_000, 199_990]
    assert math.isnan(table.loc["halves", "auc"])
    assert table.loc["other", "auc"] == pytest.approx(roc_auc_score(responds[10:], np.abs(other[10:])))
    # Half of the trials has seen half of what it predicts.
    assert table.loc["half", "r"] > table.loc["halves", "r"] > table.loc["other", "r"]


def test_effects_over_folds_have_student_s_interval() -> None:
    rng = np.random.default_rng(2)
    rows = [("connectome", 0, fold, 3.0 + fold) for fold in range(4)]
    rows += [("er", seed, fold, value) for fold in range(4) for seed, value in enumerate(rng.normal(size=30))]
    folds = pd.DataFrame([*rows, ("connectome", 0, 4, math.nan)], columns=["family", "wiring_seed", "fold", "auc"])
    nulls = folds[folds["family"] == "er"].pivot(index="wiring_seed", columns="fold", values="auc")
    effect = (3.0 + np.arange(4) - nulls.mean()) / nulls.mean(axis=1).std()
    (row,) = effects_by_fold(folds, "auc").itertuples()
    assert (row.family, row.folds) == ("er", 4)
    interval = stats.ttest_1samp(effect, 0).confidence_interval(0.95)
    assert (row.fold_low, row.fold_high) == pytest.approx((interval.low, interval.high))
    # Around the effect of the means over the folds.
    assert (row.fold_low + row.fold_high) / 2 == pytest.approx((4.5 - nulls.mean(axis=1).mean()) / nulls.mean(axis=1).std())
    (single,) = effects_by_fold(folds[folds["fold"] == 0], "auc").itertuples()
    assert math.isnan(single.fold_low)
