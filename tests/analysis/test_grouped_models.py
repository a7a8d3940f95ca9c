"""Grouped cross-validation, on data whose answer is known."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans_pyg.analysis import grouped_models
from elegans_pyg.analysis.grouped_models import cross_validate, grouped_splits


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**20), st.integers(4, 20), st.integers(2, 4))
def test_no_wiring_is_on_both_sides_and_families_are_spread(seed: int, count: int, folds: int) -> None:
    rng = np.random.default_rng(seed)
    family_of = rng.integers(0, 3, count)
    wirings = np.concatenate([np.arange(count), rng.integers(0, count, 2 * count)])
    seen = np.zeros(len(wirings), dtype=int)
    of_family = []
    for train, test in grouped_splits(wirings, family_of[wirings], folds, rng):
        assert not set(wirings[train]) & set(wirings[test])
        assert len(train) + len(test) == len(wirings)
        seen[test] += 1
        of_family.append(np.bincount(family_of[np.unique(wirings[test])], minlength=3))
    assert (seen == 1).all()
    assert (np.ptp(of_family, axis=0) <= 1).all()


def test_finds_what_is_there_and_nothing_where_nothing_is(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(2)
    wirings = np.repeat(np.arange(40), 3)
    x = rng.normal(size=(40, 4))[wirings]
    families = (wirings % 2).astype(np.int64)
    scores = cross_validate(x, x[:, 0] + 0.1 * rng.normal(size=120), wirings, families, repeats=1, quiet=False)
    assert "fitting models: 5 of 5" in capsys.readouterr().err
    models = scores.models.set_index("model")
    assert models["q2"]["ridge"] > 0.9
    assert models["q2"]["forest"] > 0.5
    assert models["q2"]["family"] < 0.1
    assert models["rank"]["ridge"] > 0.9
    assert int(np.abs(scores.weights).argmax()) == int(scores.importance.argmax()) == 0
    # A value that belongs to the wiring, and to no measure: with copies on both sides a forest would know it by heart.
    hidden = rng.normal(size=40)[wirings]
    assert cross_validate(x, hidden, wirings, families, repeats=1).models.set_index("model")["q2"]["forest"] < 0.2
    by_family = cross_validate(x, 3.0 * families + 0.1 * rng.normal(size=120), wirings, families, repeats=1).models.set_index("model")
    assert by_family["q2"]["family"] > 0.95
    assert by_family["q2"]["ridge"] < 0.2


def test_weights_importance_and_error_are_in_the_units_they_are_said_to_be_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped_models, "TREES", 10)
    rng = np.random.default_rng(3)
    x, noise = rng.normal(size=(60, 2)) * [3.0, 1.0], 0.5 * rng.normal(size=60)
    groups = (np.arange(60), np.zeros(60, dtype=np.int64))
    one, ten = (cross_validate(x, scale * (x[:, 0] + noise), *groups, folds=3, repeats=2) for scale in (1, 10))
    assert one.weights == pytest.approx([3.0, 0.0], abs=0.3)
    assert ten.weights == pytest.approx(10 * one.weights, rel=0.05, abs=0.5)
    # Shuffled, the only measure that tells anything leaves one to two times the variance.
    assert one.importance == pytest.approx([1.5, 0.0], abs=0.5)
    assert ten.importance == pytest.approx(one.importance, rel=0.01, abs=0.01)
    # The mean absolute error of normal noise is 0.8 of its standard deviation.
    error = one.models.set_index("model").loc["ridge", "error"]
    assert error == pytest.approx(0.8 * 0.5, rel=0.25)


def test_the_same_seed_gives_the_same_scores() -> None:
    rng = np.random.default_rng(4)
    arguments = (rng.normal(size=(20, 2)), rng.normal(size=20), np.arange(20), np.zeros(20, dtype=np.int64))
    first, second, other = (cross_validate(*arguments, folds=2, repeats=1, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first.models, second.models)
    assert first.models["q2"][2] != other.models["q2"][2]


def test_few_wirings_have_fewer_inner_folds() -> None:
    few = (np.arange(4.0)[:, None], np.arange(4.0), np.arange(4), np.zeros(4, dtype=np.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(cross_validate(*few, folds=2, repeats=1).models["q2"]).all()


def test_refuses_too_few_wirings_and_flat_values() -> None:
    few = (np.zeros((6, 1)), np.arange(6.0), np.arange(6), np.zeros(6, dtype=np.int64))
    with pytest.raises(ValueError, match="folds: expected at least 2, with two wirings each, got 5 for 6 wirings"):
        cross_validate(*few)
    with pytest.raises(ValueError, match="values: expected some that differ, got 1 for all"):
        cross_validate(few[0], np.ones(6), *few[2:], folds=2)
