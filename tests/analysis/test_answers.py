"""Sentences that say what the tests say, and no more."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from elegans_pyg.analysis import Comparison, compare
from elegans_pyg.analysis.answers import answers, task_answers
from elegans_pyg.analysis.comparison_notes import powerless
from elegans_pyg.studies.tables import comparison_table, to_text


def comparison(
    gaps: dict[str, float], runs: int = 12, sd: float = 0.003, margin: float | None = None, seed: int = 0, value: str = "accuracy"
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
        "The worm's wiring had a higher accuracy on digits than 12 rewired ones, on average: 1.00 points higher (95 % interval: "
    )
    ends = re.search(r"interval: ([\d.]+) to ([\d.]+) points higher\), p < 0.001\.$", sentence)
    low, high = map(float, ends.groups())  # type: ignore[union-attr]
    assert 0 < low < 1 < high
    assert "Holm" not in sentence
    assert only({"er": 0.01}).startswith(
        "The worm's wiring had a lower accuracy on digits than 12 random ones (er), on average: 1.00 points lower"
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
        f"Whether the reference differs in {name} from 12 random ones (er), on average, is undecided: it was {size} lower"
    )
    assert f"lower (95 % interval: {most_lower} lower to {most_higher} higher), p = " in sentence
    for name in ("difference", "difference_low", "difference_high"):
        assert f"{scale * er[name]:+{form}}" in text


def test_equal_only_within_a_margin_that_was_set() -> None:
    sentence = only({"rewired": -0.0003}, runs=60, margin=0.003)
    start = "The worm's wiring had the same accuracy on digits as 60 rewired ones, on average, within the margin of 0.3 points: "
    assert sentence.startswith(start)
    assert re.search(r": 0\.03 points higher \(95 % interval: 0\.\d\d points lower to 0\.\d\d points higher\), p < 0\.001\.$", sentence)
    undecided = only({"rewired": -0.0003}, runs=60)
    start = (
        "Whether the worm's wiring differs in accuracy on digits from 60 rewired ones, on average, is undecided: it was 0.03 points higher"
    )
    assert undecided.startswith(start)
    assert re.search(r"about [\d,]+ more of each would decide if this is the true difference\.$", undecided)
    found = comparison({"rewired": -0.0003}, margin=0.001)
    (neither,), p = answers(found), found.table.iloc[1][["p_holm", "p_equal_holm"]]
    assert f"), p = {p.iloc[0]:.3f}, nor is it shown to be equal within 0.1 points, p = {p.iloc[1]:.3f}; about " in neither
    both = only({"rewired": -0.002}, runs=60, margin=0.004)
    assert "had a higher accuracy" in both
    assert "but by less than the margin of 0.4 points" in both


@pytest.mark.parametrize("runs", [1, 2])
def test_what_was_not_tested_is_not_claimed(runs: int) -> None:
    sentence = only({"rewired": -0.05}, runs=runs)
    assert "has not been tested" in sentence
    assert sentence.endswith(f"; {runs} against {runs} are too few, p can reach 0.05 with {4 - runs} more of each.")


@pytest.mark.parametrize(("runs", "interval"), [(9, False), (10, True)])
def test_an_interval_is_given_only_where_there_are_enough_units(runs: int, interval: bool) -> None:
    found = comparison({"rewired": -0.01}, runs)
    assert ("interval" in answers(found)[0]) == interval
    assert any("too narrow" in note for note in found.notes) != interval


def test_units_too_few_to_show_a_difference_are_said_to_be() -> None:
    found = comparison({"er": 0.002, "rewired": -0.01}, runs=3, sd=0.001)
    assert found.table["difference_low"].iloc[2] < found.table["difference_high"].iloc[2] < 0
    lead, *sentences = answers(found)
    assert lead.endswith(
        "is undecided (on average it was 0.20 points lower to 1.00 points higher, and so few units can show no difference)."
    )
    assert sentences[1].startswith(
        "Undecided against 3 rewired ones: 1.00 points higher, p (Holm) = 0.200; 3 against 3 are too few to show "
    )
    # With four against four, 2/70 is the smallest p: too large for the first of two families, and not for the second.
    two = comparison({"er": 0.001, "ws": 0.001}, runs=4).table
    assert powerless(two).tolist() == [False, True, True]
    assert powerless(two.assign(p_holm=[np.nan, 0.01, 0.9])).tolist() == [False, False, False]


def test_without_spread_nobody_knows_how_many_more() -> None:
    assert only({"rewired": 0.0}, sd=0.0).endswith("p = 1.000; how many more would decide is not known.")


OPENINGS = {"different": "Different from", "equal": "Equal to", "undecided": "Undecided against", "not tested": "Not tested against"}


@pytest.mark.parametrize("seed", range(12))
def test_the_words_follow_the_verdict(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gaps = {name: rng.normal(0, 0.004) for name in ("er", "mine", "ws")}
    found = comparison(gaps, int(rng.integers(2, 20)), margin=0.003, seed=seed)
    lead, *sentences = answers(found, "the wiring of larva")
    said = dict.fromkeys(("higher", "lower", "same", "undecided", "not been tested"), "")
    for part in lead.split(";"):
        (word,) = [word for word in said if f"{word} than" in part or (word in list(said)[2:] and word in part)]
        said[word] = part
    assert "of the wiring of larva (" in lead
    for row, sentence in zip(found.to_dict()["families"][1:], sentences, strict=True):
        verdict, higher = row["verdict"], row["difference"] < 0
        assert sentence.startswith(f"{OPENINGS[verdict.removesuffix(' within margin')]} {row['n']} ")
        assert ("but by less than the margin" in sentence) == (verdict == "different within margin")
        assert ("nor is it shown to be equal within 0.3 points" in sentence) == (verdict == "undecided")
        difference = round(100 * row["difference"], 2)
        direction = "lower" if difference > 0 else "higher" if difference < 0 else "apart"
        assert f": {abs(difference):.2f} points {direction}" in sentence
        assert ("p (Holm)" in sentence) == (row["p"] is not None)
        words = {"equal": "same", "undecided": "undecided", "not tested": "not been tested"}
        word = words.get(verdict, "higher" if higher else "lower")
        other = {"er": "random ones (er)", "mine": "wirings of the family mine", "ws": "small-world ones (ws)"}[row["family"]]
        assert [name for name, part in said.items() if f"{row['n']} {other}" in part] == [word]


def test_one_sentence_sums_up_the_families() -> None:
    found = comparison({"er": -0.01, "ws": -0.02, "rewired": 0.0003, "ba": 0.005, "mine": 0.0015}, runs=40, margin=0.003)
    assert answers(found, "the worm's wiring", "digits")[0] == (
        "The accuracy on digits of the worm's wiring (40 runs) was, on average, higher than that of 40 random ones (er) and 40 small-world"
        " ones (ws) by 1.00 to 2.00 points; lower than that of 40 scale-free ones (ba) by 0.50 points; the same as that of 40 rewired"
        " ones within the margin of 0.3 points; whether it differs from that of 40 wirings of the family mine is undecided (on average it"
        " was 0.15 points lower)."
    )
    within = answers(comparison({"er": -0.002, "{x}": -0.002}, runs=60, margin=0.004))[0]
    assert within.endswith("(er) and 60 wirings of the family {x} by 0.20 points, less than the margin of 0.4 points.")
    nothing = comparison({"er": 0.0, "ws": 0.0}).table.assign(difference=None, verdict="not tested")
    lead, *sentences = answers(Comparison(nothing, [], "connectome", 0.95))
    assert lead.startswith("The accuracy of the reference (12 runs) cannot be compared with that of 12 random ones (er) and 12 small-world")
    assert sentences[0] == "Not comparable with 12 random ones (er): of one of the two no run has finished."


def test_a_reference_that_is_no_connectome_and_families_of_one_wiring() -> None:
    table = pd.DataFrame(
        [{"family": name, "wiring_seed": 0, "seed": run, "accuracy": 0.9 + 0.01 * run} for name in ("er", "dense") for run in range(2)]
    )
    (sentence,) = answers(compare(table.assign(variant=range(4)), reference="er"))
    told = (
        "Whether the family er differs in accuracy from dense (2 runs), on average, has not been tested: it was 0.00 points apart; 2 pairs"
    )
    assert sentence.startswith(told)


def test_several_tasks_are_one_sentence_a_family() -> None:
    tasks = {"memory": comparison({"er": -0.01, "ws": 0.0002}), "parity": comparison({"er": 0.0001, "ws": 0.02})}
    lead, one, other = task_answers(tasks, "the worm's wiring")
    assert lead == (
        "Of 4 comparisons (2 tasks, 2 families), the worm's wiring is on average higher in 1 (memory 1); lower in 1 (parity 1); undecided"
        " in 2 (memory 1 and parity 1)."
    )
    assert one.startswith("The worm's wiring against 12 random ones (er), on average: Different in memory (1.00 points higher, p < 0.001)")
    assert "Undecided in parity (0.01 points lower, about " in one
    assert other.startswith(
        "The worm's wiring against 12 small-world ones (ws), on average: Different in parity (2.00 points lower, p < 0.001)"
    )
    assert task_answers({"memory": tasks["memory"]}, "it", "digits") == answers(tasks["memory"], "it", "digits")
    # Of one family a sentence is enough.
    assert len(task_answers({"memory": comparison({"er": -0.01}), "parity": comparison({"er": 0.0001})})) == 1
