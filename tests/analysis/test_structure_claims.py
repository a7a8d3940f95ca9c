"""The claims, on curves drawn by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from elegans_pyg.analysis import MEASURES
from elegans_pyg.analysis.dyads import dyad_columns
from elegans_pyg.analysis.structure_claims import check_claims, dyad_effects

FRACTIONS = (0.0, 0.05, 0.1, 0.5, 1.0)
SLOW, FAST = ((1.0, 0.95, 0.9, 0.4, 0.0), (1.0, 1.0, 1.0, 0.4, 0.05)), ((1.0, 0.3, 0.1, -0.1, 0.0), (1.0, 0.4, 0.1, 0.05, 0.05))


def curves(direct: tuple, far: tuple) -> pd.DataFrame:
    rows = [
        (name, fraction, left, unusual)
        for length in (1, 2, 3)
        for name in dyad_columns(length)
        for fraction, left, unusual in zip(FRACTIONS, *(direct if length == 1 else far), strict=True)
    ]
    return pd.DataFrame(rows, columns=["measure", "fraction", "left", "unusual"])


def scores(p: float = 0.001, only: str = "") -> pd.DataFrame:
    names = [name for length in (1, 2, 3) for name in dyad_columns(length)]
    return pd.DataFrame({"measure": names, "z": 5.0, "p": [p if only in name else 0.9 for name in names]})


def test_the_columns_are_measures() -> None:
    names = [name for length in (1, 2, 3) for name in dyad_columns(length)]
    assert len(set(names)) == 27
    assert set(names) <= set(MEASURES)


@pytest.mark.parametrize(("direct", "far"), list(product((SLOW, FAST), (SLOW, FAST))))
def test_verdicts_follow_the_curves(direct: tuple, far: tuple) -> None:
    fade, multi = check_claims("worm", "rewired", dyad_effects(curves(direct, far), scores()))
    assert fade.verdict == ("held (9 of 9)" if direct is SLOW else "did not hold (0 of 9)")
    assert multi.verdict == ("held (18 of 18)" if far is FAST else "did not hold (0 of 18)")


def test_what_is_said_of_an_effect() -> None:
    effects = dyad_effects(curves(SLOW, FAST), scores()).set_index("measure")
    row = effects.loc["dyadicity_motor"]
    assert row["falling"] == pytest.approx(-1)
    assert (row["length"], row["left_gradual"], row["unusual_slight"], row["lost"]) == (1, 0.9, 1.0, 0.5)
    # Between 0.9 at 0.1 and 0.4 at 0.5.
    assert row["half"] == pytest.approx(0.1 + 0.4 * 0.4 / 0.5)
    far = effects.loc["dyadicity_motor_path3"]
    assert far["half"] == pytest.approx(0.05 * 0.5 / 0.7)
    assert far["lost"] == 0.05


def test_an_effect_that_turns_into_its_opposite_is_gone() -> None:
    turned = ((1.0, 0.6, 0.4, -0.9, -1.0), (1.0, 1.0, 0.4, 0.1, 0.0))
    row = dyad_effects(curves(turned, SLOW), scores()).set_index("measure").loc["dyadicity_motor"]
    assert row["falling"] == pytest.approx(stats.spearmanr(FRACTIONS, (1, 0.6, 0.4, 0, 0)).statistic)
    assert row["falling"] < -0.9


def test_only_effects_that_survive_the_correction_are_tried() -> None:
    some = dyad_effects(curves(SLOW, SLOW), scores(0.004, only="motor_inter"))
    # 0.004 times 9 is below 0.05, times 18 it is above.
    assert some["measure"].tolist() == ["heterophilicity_motor_inter"]
    assert some["p_holm"].tolist() == pytest.approx([0.036])
    fade, multi = check_claims("worm", "rewired", some)
    assert fade.verdict == "held (1 of 1)"
    assert multi.verdict == "no answer: no such effect"
    assert dyad_effects(curves(SLOW, SLOW), scores(0.9)).empty


def test_effects_that_last_are_said_to() -> None:
    lasting = ((1.0, 1.0, 1.0, 0.9, 0.8), (1.0, 1.0, 1.0, 1.0, 1.0))
    fade, _ = check_claims("worm", "rewired", dyad_effects(curves(lasting, SLOW), scores()))
    assert fade.held == 0
    assert "half of the effect is left at no fraction" in fade.detail
    mixed = curves(SLOW, SLOW)
    mixed.loc[mixed["measure"] == "dyadicity_inter", "left"] = np.ones(5)
    fade, _ = check_claims("worm", "rewired", dyad_effects(mixed, scores()))
    assert fade.verdict == "did not hold (only 8 of 9)"
    assert "never for 1" in fade.detail
