"""Sentences that say what the tests say, and no more."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from elegans_pyg.analysis import Comparison, compare
from elegans_pyg.analysis.answers import answers, task_answers
from elegans_pyg.studies.tables import comparison_table, to_text


def comparison(
    gaps: dict[str, float], runs: int = 8, sd: float = 0.003, margin: float | None = None, seed: int = 0, value: str = "accuracy"
) -> Comparison:
    """Runs of the connectome, and families that lie so far from it."""
    rng, rows = np.random.default_rng(seed), []
    for number, (family, gap) in enumerate({"connectome": 0.0, **gaps}.items()):
        values = rng.standard_normal(runs)
        values = 0.95 + gap + sd * (values - values.mean())
        for run, score in enumerate(values):
            known = {"family": family, "wiring_seed": 1 + run if number else 0, "seed": 100 * number + run}
            rows.append({**known, value: score})
    return compare(pd.DataFrame(rows).assign(variant=range(len(rows))), value=value, share=value == "accuracy", margin=margin)


def only(*given: object, **options: object) -> str:
    (sentence,) = answers(comparison(*given, **options), "the worm's wiring", "digits")  # type: ignore[arg-type]
    return sentence


def test_a_difference_is_the_connectomes_minus_the_families() -> None:
    sentence = only({"rewired": -0.01})
    assert sentence.startswith(
        "The worm's wiring had a higher accuracy on digits than 8 rewired ones, on average: 1.00 points higher (95 % interval: "
    )
    ends = re.search(r"interval: ([\d.]+) to ([\d.]+) points higher\), p < 0.001\.$", sentence)
    low, high = map(float, ends.groups())  # type: ignore[union-attr]
    assert 0 < low < 1 < high
    assert "Holm" not in sentence
    assert only({"er": 0.01}).startswith(
        "The worm's wiring had a lower accuracy on digits than 8 random ones (er), on average: 1.00 points lower"
    )


@pytest.mark.parametrize(("value", "scale", "form", "unit"), [("accuracy", 100, ".2f", " points"), ("narma10_nrmse", 1, ".3f", "")])
def test_the_sentence_has_the_numbers_of_the_table(value: str, scale: float, form: str, unit: str) -> None:
    """The table's are family minus connectome; the sentence says which of the two is higher."""
    found = comparison({"er": 0.004}, sd=0.01, value=value)
    (sentence,), er, text = answers(found), found.table.iloc[1], to_text(comparison_table(found))
    assert er["difference_low"] < 0 < er["difference"] < er["difference_high"]
    size, most_lower, most_higher = (
        f"{abs(scale * er[name]):{form}}{unit}" for name in ("difference", "difference_high", "difference_low")
    )
    name = value.replace("_", " ")
    assert sentence.startswith(
        f"Whether the reference differs in {name} from 8 random ones (er), on average, is undecided: it was {size} lower"
    )
    assert f"lower (95 % interval: {most_lower} lower to {most_higher} higher), p = " in sentence
    for name in ("difference", "difference_low", "difference_high"):
        assert f"{scale * er[name]:+{form}}" in text


def test_equal_only_within_a_margin_that_was_set() -> None:
    sentence = only({"rewired": -0.0003}, runs=60, margin=0.003)
    start = (
        "The worm's wiring had the same accuracy on digits as 60 rewired ones, on average, within the margin of 0.3 points (p < 0.001): "
    )
    assert sentence.startswith(start)
    assert re.search(r": 0\.03 points higher \(95 % interval: 0\.\d\d points lower to 0\.\d\d points higher\)\.$", sentence)
    undecided = only({"rewired": -0.0003}, runs=60)
    start = (
        "Whether the worm's wiring differs in accuracy on digits from 60 rewired ones, on average, is undecided: it was 0.03 points higher"
    )
    assert undecided.startswith(start)
    assert re.search(r"about [\d,]+ more of each would decide if what was observed is the true difference\.$", undecided)
    found = comparison({"rewired": -0.0003}, margin=0.001)
    (neither,), p = answers(found), found.table.iloc[1][["p_holm", "p_equal_holm"]]
    assert f"), p = {p.iloc[0]:.3f}, nor is it shown to be equal within 0.1 points (p = {p.iloc[1]:.3f}); about " in neither
    both = only({"rewired": -0.002}, runs=60, margin=0.004)
    assert "had a higher accuracy" in both
    assert "but by less than the margin of 0.4 points" in both


@pytest.mark.parametrize(("runs", "interval"), [(1, False), (2, True)])
def test_what_was_not_tested_is_not_claimed(runs: int, interval: bool) -> None:
    sentence = only({"rewired": -0.05}, runs=runs)
    assert "has not been tested" in sentence
    assert sentence.endswith(f"; {runs} against {runs} are too few, p can reach 0.05 with {4 - runs} more of each.")
    assert ("interval" in sentence) == interval


def test_without_spread_nobody_knows_how_many_more() -> None:
    assert only({"rewired": 0.0}, sd=0.0).endswith("p = 1.000; how many more would decide is not known.")


@pytest.mark.parametrize("seed", range(12))
def test_the_words_follow_the_verdict(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = comparison({name: rng.normal(0, 0.004) for name in ("er", "mine", "ws")}, int(rng.integers(2, 9)), margin=0.003, seed=seed)
    for row, sentence in zip(found.to_dict()["families"][1:], answers(found, "the wiring of larva"), strict=True):
        claimed = "had a higher" in sentence or "had a lower" in sentence
        assert claimed == (row["p_holm"] is not None and row["p_holm"] <= 0.05)
        assert ("had the same" in sentence) == (row["verdict"] == "equal")
        assert ("undecided" in sentence) == ("nor is it shown to be equal within 0.3 points" in sentence) == (row["verdict"] == "undecided")
        assert ("not been tested" in sentence) == (row["verdict"] == "not tested") == (row["p"] is None)
        difference = round(100 * row["difference"], 2)
        direction = "lower" if difference > 0 else "higher" if difference < 0 else "apart"
        assert f"{abs(difference):.2f} points {direction} (95 % interval: " in sentence
        assert "after Holm's correction" in sentence


def test_a_reference_that_is_no_connectome_and_families_of_one_wiring() -> None:
    table = pd.DataFrame(
        [{"family": name, "wiring_seed": 0, "seed": run, "accuracy": 0.9 + 0.01 * run} for name in ("er", "dense") for run in range(2)]
    )
    (sentence,) = answers(compare(table.assign(variant=range(4)), reference="er"))
    told = "Whether the family er differs in accuracy from dense (2 runs) has not been tested: it was 0.00 points apart (95 % interval: "
    assert sentence.startswith(told)


def test_several_tasks_are_one_sentence_a_family() -> None:
    tasks = {"memory": comparison({"er": -0.01, "ws": 0.0002}), "parity": comparison({"er": 0.0001, "ws": 0.02})}
    one, other = task_answers(tasks, "the worm's wiring")
    assert one.startswith("The worm's wiring against 8 random ones (er), on average: Different in memory (1.00 points higher, p < 0.001)")
    assert "Undecided in parity (0.01 points lower, about " in one
    assert other.startswith(
        "The worm's wiring against 8 small-world ones (ws), on average: Different in parity (2.00 points lower, p < 0.001)"
    )
    assert task_answers({"memory": tasks["memory"]}, "it") == answers(tasks["memory"], "it")
