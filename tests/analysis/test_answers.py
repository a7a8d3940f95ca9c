"""Sentences that say what the tests say, and no more."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from elegans_pyg.analysis import Comparison, compare
from elegans_pyg.analysis.answers import answers, task_answers


def comparison(gaps: dict[str, float], runs: int = 8, sd: float = 0.003, margin: float | None = None, seed: int = 0) -> Comparison:
    """Runs of the connectome, and families that lie so far from it."""
    rng, rows = np.random.default_rng(seed), []
    for number, (family, gap) in enumerate({"connectome": 0.0, **gaps}.items()):
        values = rng.standard_normal(runs)
        values = 0.95 + gap + sd * (values - values.mean())
        for run, value in enumerate(values):
            known = {"family": family, "wiring_seed": 1 + run if number else 0, "seed": 100 * number + run}
            rows.append({**known, "accuracy": value})
    return compare(pd.DataFrame(rows).assign(variant=range(len(rows))), margin=margin)


def only(*given: object, **options: object) -> str:
    (sentence,) = answers(comparison(*given, **options), "the worm's wiring", "digits")  # type: ignore[arg-type]
    return sentence


def test_a_difference_is_the_connectomes_minus_the_families() -> None:
    sentence = only({"rewired": -0.01})
    assert sentence.startswith(
        "The worm's wiring had a higher accuracy on digits than 8 rewired ones, on average: +1.00 points, 95 % interval "
    )
    low, high = map(float, re.search(r"interval ([\d.]+) to ([\d.]+)", sentence).groups())  # type: ignore[union-attr]
    assert 0 < low < 1 < high
    assert "p < 0.001" in sentence
    assert "Holm" not in sentence
    assert only({"er": 0.01}).startswith(
        "The worm's wiring had a lower accuracy on digits than 8 random ones (er), on average: −1.00 points"
    )


def test_equal_only_within_a_margin_that_was_set() -> None:
    sentence = only({"rewired": -0.0003}, runs=60, margin=0.003)
    start = "The worm's wiring was not different on digits from 60 rewired ones, on average: +0.03 points, 95 % interval −0."
    assert sentence.startswith(start)
    assert sentence.endswith("equal within the margin of 0.3 points.")
    undecided = only({"rewired": -0.0003}, runs=60)
    assert undecided.startswith("Whether the worm's wiring differs on digits from 60 rewired ones, on average, is undecided: +0.03 points")
    assert re.search(r"about [\d,]+ more of each would decide if what was observed is the true difference\.$", undecided)
    both = only({"rewired": -0.002}, runs=60, margin=0.004)
    assert "had a higher accuracy" in both
    assert "but by less than the margin of 0.4 points" in both


@pytest.mark.parametrize(("runs", "interval"), [(1, False), (2, True)])
def test_what_was_not_tested_is_not_claimed(runs: int, interval: bool) -> None:
    sentence = only({"rewired": -0.05}, runs=runs)
    assert "has not been tested" in sentence
    assert f"{runs} against {runs} is too few for a test, which needs 3 of each" in sentence
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
        assert ("equal within" in sentence) == (row["verdict"] == "equal")
        assert ("undecided" in sentence) == (row["verdict"] == "undecided" and row["p"] is not None)
        assert f"{abs(100 * row['difference']):.2f} points, 95 %" in sentence
        assert ("−" in sentence.split(":")[1][:3]) == (round(100 * row["difference"], 2) > 0)
        assert "after Holm's correction" in sentence or not claimed


def test_a_reference_that_is_no_connectome_and_families_of_one_wiring() -> None:
    table = pd.DataFrame(
        [{"family": name, "wiring_seed": 0, "seed": run, "accuracy": 0.9 + 0.01 * run} for name in ("er", "dense") for run in range(2)]
    )
    (sentence,) = answers(compare(table.assign(variant=range(4)), reference="er"))
    assert sentence.startswith("Whether the family er differs from dense (2 runs) has not been tested: +0.00 points")


def test_several_tasks_are_one_sentence_a_family() -> None:
    tasks = {"memory": comparison({"er": -0.01, "ws": 0.0002}), "parity": comparison({"er": 0.0001, "ws": 0.02})}
    one, other = task_answers(tasks, "the worm's wiring")
    assert one.startswith("The worm's wiring against 8 random ones (er), on average: Different in memory (+1.00 points")
    assert "Undecided in parity (−0.01 points" in one
    assert other.startswith("The worm's wiring against 8 small-world ones (ws), on average: Different in parity (−2.00 points")
    assert task_answers({"memory": tasks["memory"]}, "it") == answers(tasks["memory"], "it")
