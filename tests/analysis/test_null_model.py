"""A wiring against a null model, by loops."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elegans_pyg.analysis.inference import holm
from elegans_pyg.analysis.null_model import against_null, share_unusual


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**20), st.integers(2, 40))
def test_agrees_with_counting(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    null = pd.DataFrame({"a": rng.normal(size=count), "b": rng.integers(0, 4, count).astype(float), "same": 3.0})
    observed = pd.Series({"b": 2.0, "a": 1.5, "same": 3.0})
    table = against_null(observed, null).set_index("measure")
    for name in ("a", "b"):
        everything = [*null[name], observed[name]]
        middle = sum(everything) / len(everything)
        farther = sum(abs(value - middle) >= abs(observed[name] - middle) - 1e-12 for value in everything)
        assert table.loc[name, "p"] == pytest.approx(farther / (count + 1)) or np.ptp(everything) == 0
        if np.ptp(null[name]) > 0:
            assert table.loc[name, "z"] == pytest.approx((observed[name] - null[name].mean()) / null[name].std())
    assert table.loc["same", ["z", "p", "p_holm"]].isna().all()
    assert table.loc["same", "sd"] == 0
    assert table["p_holm"].tolist() == pytest.approx(holm(table["p"].to_numpy()).tolist(), nan_ok=True)


@pytest.mark.slow
def test_a_graph_of_the_null_model_is_unusual_as_often_as_it_should_be() -> None:
    rng = np.random.default_rng(0)
    p = [against_null(pd.Series({"a": rng.normal()}), pd.DataFrame({"a": rng.normal(size=39)}))["p"].iloc[0] for _ in range(2000)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.015)


def test_where_the_null_model_never_varies_only_z_is_missing() -> None:
    row = against_null(pd.Series({"a": 2.0}), pd.DataFrame({"a": [1.0] * 9})).iloc[0]
    assert math.isnan(row["z"])
    assert row["p"] == pytest.approx(0.1)


def test_share_unusual_counts_the_side_of_the_observed_value() -> None:
    null = pd.DataFrame({"a": np.linspace(-1, 1, 99), "b": np.linspace(-1, 1, 99)})
    graphs = pd.DataFrame({"a": [5.0, 0.1, -5.0, 6.0], "b": [0.0, 0.1, 0.2, 0.3]})
    assert share_unusual(graphs, null, pd.Series({"a": 7.0, "b": 1.0})).to_dict() == {"a": 0.5, "b": 0.0}
    assert share_unusual(graphs, null, pd.Series({"a": -7.0, "b": 1.0})).to_dict() == {"a": 0.25, "b": 0.0}


def test_nothing_is_unusual_among_fewer_graphs_than_a_permutation_test_needs() -> None:
    graphs, observed = pd.DataFrame({"a": [9.0]}), pd.Series({"a": 9.0})
    # As one of 19 it has a p of at least 1/19, as one of 20 of 0.05.
    for count, share in ((18, 0.0), (19, 1.0)):
        assert share_unusual(graphs, pd.DataFrame({"a": np.linspace(-1, 1, count)}), observed)["a"] == share


def test_refuses_tables_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="null: expected at least two graphs, got 1"):
        against_null(pd.Series({"a": 1.0}), pd.DataFrame({"a": [1.0]}))
    with pytest.raises(ValueError, match="one side has no b"):
        against_null(pd.Series({"a": 1.0, "b": 2.0}), pd.DataFrame({"a": [1.0, 2.0]}))
