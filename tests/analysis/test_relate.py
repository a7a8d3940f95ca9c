"""Relating measures to accuracies."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from elegans_pyg.analysis import relate as relate_module
from elegans_pyg.analysis.rank_correlation import pairs_needed, rank_correlations, rho_interval
from elegans_pyg.analysis.relate import relate


def runs(wirings: int = 6, copies: int = 2, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for family in ("connectome", "er", "ws"):
        for wiring in range(1 if family == "connectome" else wirings):
            shape = rng.normal(size=3)
            for _ in range(copies):
                rows.append((family, f"{family}{wiring}", 0.9 + 0.01 * shape[0] + 0.001 * rng.normal(), *shape, 280.0))
    return pd.DataFrame(rows, columns=["family", "wiring", "accuracy", "path_length", "clustering", "levels", "nodes"])


MEASURES = ["path_length", "clustering", "levels", "nodes"]


@pytest.fixture(autouse=True)
def _one_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relate_module, "REPEATS", 1)


def test_wirings_are_the_units() -> None:
    variants = runs()
    before = variants.copy()
    relation = relate(variants, MEASURES, resamples=500)
    pd.testing.assert_frame_equal(variants, before)
    means = variants.groupby("wiring")[["accuracy", *MEASURES]].mean()
    table = relation.table.set_index("measure")
    assert relation.table["measure"].iloc[0] == "path_length"
    for name in MEASURES[:3]:
        assert table.loc[name, "n"] == 13
        assert table.loc[name, "rho"] == pytest.approx(stats.spearmanr(means[name], means["accuracy"]).statistic)
        low, high = rho_interval(table.loc[name, "rho"], 13)
        assert (table.loc[name, "low"], table.loc[name, "high"]) == pytest.approx((low, high))
        # At the level that is left for each of three measures.
        assert table.loc[name, "needed"] == pairs_needed(table.loc[name, "rho"], alpha=0.05 / 3)
        families = np.array([wiring.rstrip("0123456789") for wiring in means.index])
        own = rank_correlations(means[[name]].to_numpy(), means["accuracy"].to_numpy(), np.unique(families, return_inverse=True)[1])
        assert table.loc[name, "rho_within"] == pytest.approx(own.rho[0])
    assert table.loc["path_length", "p_holm"] == pytest.approx(3 / 501)
    assert table.loc["path_length", "n_within"] == 12
    assert "nodes" not in table.index
    assert "the same for all wirings: nodes" in "".join(relation.notes)
    # Copies of a wiring add nothing to what is known of it.
    tripled = pd.concat([variants] * 3, ignore_index=True)
    assert relate(tripled, MEASURES, resamples=500).table["p"].tolist() == relation.table["p"].tolist()
    assert relation.models["model"].tolist() == ["family", "ridge", "forest"]
    assert relation.models.set_index("model").loc["ridge", "q2"] > 0.8


def test_wirings_that_tie_in_a_measure_tie_with_any_numbers_of_runs() -> None:
    rows = [(f"er{w}", "er", 0.9 + 0.01 * w + 0.001 * run, 0.1 + 0.1 * (w > 5)) for w in range(12) for run in range(1 + 5 * (w % 4))]
    table = relate(pd.DataFrame(rows, columns=["wiring", "family", "accuracy", "density"]), ["density"], resamples=200).table
    step = stats.spearmanr(np.arange(12), np.arange(12) > 5).statistic
    assert table["rho"][0] == pytest.approx(step, rel=1e-12)


def test_too_few_wirings_say_how_many_are_needed() -> None:
    relation = relate(runs(wirings=1), MEASURES)
    notes = " ".join(relation.notes)
    assert "Too few wirings: 3, and 43 are needed to find a correlation of 0.5" in notes
    assert "α = 0.05/3 measures, power 80%" in notes
    assert "No p values: 3 wirings, and at least 5 are needed" in notes
    assert "No models: 3 wirings, and at least 10 are needed" in notes
    assert relation.table["p"].isna().all()
    assert relation.models.empty
    only = relate(runs().query("wiring == 'er0'"), MEASURES)
    assert only.table.empty
    assert "No measure differs between these wirings" in " ".join(only.notes)


def test_stopped_runs_and_incomplete_measures_are_left_out_and_named() -> None:
    variants = runs()
    variants.loc[variants["wiring"] == "er2", "accuracy"] = math.nan
    variants.loc[variants["wiring"] == "ws1", "levels"] = math.nan
    relation = relate(variants, MEASURES, resamples=200)
    assert relation.table["n"].unique().tolist() == [12]
    assert "2 more left out, because they stopped" in relation.notes[0]
    assert "missing for some wirings: levels" in " ".join(relation.notes)


def test_the_json_holds_plain_numbers() -> None:
    content = json.loads(json.dumps(relate(runs(wirings=2), MEASURES).to_dict(), allow_nan=False))
    assert content["value"] == "accuracy"
    assert content["measures"][0]["ridge"] is None
    assert isinstance(content["measures"][0]["n"], int)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: (t.drop(columns="wiring"), MEASURES), ValueError, "variants must have a column 'wiring'"),
        (lambda t: (t, ["sigma"]), ValueError, "variants must have a column 'sigma'"),
        (lambda t: (t, []), ValueError, "measures: expected the names of at least one column"),
        (lambda t: (t.assign(levels="many"), MEASURES), TypeError, "column 'levels' must hold numbers"),
        (lambda t: (t.assign(accuracy=math.nan), MEASURES), ValueError, "column 'accuracy' must hold at least one number"),
        (lambda t: (t.assign(levels=range(len(t))), MEASURES), ValueError, "got 'levels' of wiring connectome0 differing"),
    ],
)
def test_refuses_bad_tables(change: object, error: type[Exception], message: str) -> None:
    table, measures = change(runs())  # type: ignore[operator]
    with pytest.raises(error, match=message):
        relate(table, measures)
    with pytest.raises(ValueError, match="resamples must be at least 100, got 5"):
        relate(runs(), MEASURES, resamples=5)
    with pytest.raises(ValueError, match="seed: expected 0 or more, got -1"):
        relate(runs(), MEASURES, seed=-1)
