from __future__ import annotations

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from elegans_pyg.analysis import Comparison, compare
from elegans_pyg.analysis.arms import Arm
from elegans_pyg.analysis.contrast import Contrast
from elegans_pyg.analysis.inference import permutation_test
from elegans_pyg.analysis.power import runs_needed
from elegans_pyg.studies.tables import comparison_table, to_markdown, to_text

Rows = list[tuple[str, int, int, float]]


def table(rows: Rows) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["family", "wiring_seed", "seed", "accuracy"])
    return frame.assign(variant=range(len(frame)))


def runs(family: str, accuracies: list[float], wirings: bool = True) -> Rows:
    return [(family, index if wirings else 0, index, accuracy) for index, accuracy in enumerate(accuracies)]


CONNECTOME = runs("connectome", [0.970, 0.972, 0.975, 0.971, 0.974], wirings=False)
WS = runs("ws", [0.960, 0.973, 0.965, 0.962])


def welch(x, y, axis):
    return np.abs(stats.ttest_ind(x, y, axis=axis, equal_var=False).statistic)


def row(comparison: Comparison, family: str) -> pd.Series:
    return comparison.table.set_index("family").loc[family]


def note(comparison: Comparison, start: str) -> str:
    found = [text for text in comparison.notes if text.startswith(start)]
    assert len(found) == 1, comparison.notes
    return found[0]


def test_every_number_of_a_family():
    comparison = compare(table([*WS, *CONNECTOME]))
    ours, base = np.array([0.960, 0.973, 0.965, 0.962]), np.array([0.970, 0.972, 0.975, 0.971, 0.974])
    assert comparison.table["family"].tolist() == ["connectome", "ws"]
    ws, connectome = row(comparison, "ws"), row(comparison, "connectome")
    assert (ws["runs"], ws["n"], ws["stopped"], ws["unit"]) == (4, 4, 0, "wiring")
    assert (connectome["runs"], connectome["unit"]) == (5, "run")
    assert ws["mean"] == pytest.approx(ours.mean())
    assert ws["sd"] == pytest.approx(ours.std(ddof=1))
    assert ws["low"] < ws["mean"] < ws["high"]
    assert ws["difference"] == pytest.approx(ours.mean() - base.mean())
    assert ws["difference_low"] < ws["difference"] < ws["difference_high"]
    expected = stats.permutation_test(
        (ours, base), welch, alternative="greater", n_resamples=np.inf, permutation_type="independent", vectorized=True
    ).pvalue
    assert ws["p"] == ws["p_holm"] == pytest.approx(expected)
    assert ws["p_method"] == "exact"
    assert ws["delta"] == pytest.approx(2 * stats.mannwhitneyu(ours, base).statistic / 20 - 1)
    pooled = math.sqrt((ours.var(ddof=1) + base.var(ddof=1)) / 2)  # as arms of one size have it
    # The normal approximation, and the two more that the t test takes.
    assert 0 < ws["needed_small"] - 2 * ((1.959964 + 0.841621) * pooled / 0.001) ** 2 < 2
    assert connectome[["difference", "p", "p_holm", "delta", "needed_small"]].isna().all()
    assert connectome["seed_variance"] == pytest.approx(base.var(ddof=1))
    assert "connectome" in note(comparison, "One wiring each")


def test_seeds_of_one_wiring_are_averaged_before_they_are_permuted():
    grouped = [("er", wiring, seed, 0.96 + 0.01 * wiring + 0.001 * seed) for wiring in range(4) for seed in range(5)]
    comparison = compare(table([*CONNECTOME, *grouped]))
    er = row(comparison, "er")
    means = [0.962, 0.972, 0.982, 0.992]
    assert (er["runs"], er["n"], er["unit"]) == (20, 4, "wiring")
    assert er["sd"] == pytest.approx(np.std(means, ddof=1))
    averaged = compare(table([*CONNECTOME, *runs("er", means)]))
    assert er["p"] == row(averaged, "er")["p"]
    assert er["seed_variance"] == pytest.approx(2.5e-6)
    assert er["wiring_variance"] == pytest.approx(np.var(means, ddof=1) - 2.5e-6 / 5)
    assert "er 4 wirings" in note(comparison, "Several seeds share a wiring")
    assert "er 1.29 and 0.16" in note(comparison, "Standard deviation between wirings")
    assert note(comparison, "A mean over seeds varies less")
    narrower = compare(table([*CONNECTOME, *grouped]), confidence=0.5)
    low, high = row(narrower, "er")[["icc_low", "icc_high"]]
    assert er["icc_low"] < low < high < er["icc_high"]
    assert f"with its 50 % interval): er 1.29 and 0.16, {er['icc']:.2f} ({low:.2f} to {high:.2f})" in note(narrower, "Standard deviation")


def test_unequal_seeds_a_wiring_are_told():
    grouped = [("er", wiring, seed, 0.96 + 0.01 * wiring) for wiring in range(3) for seed in range(wiring + 1)]
    comparison = compare(table([*CONNECTOME, *grouped]))
    assert row(comparison, "er")["mean"] == pytest.approx(0.97)
    assert note(comparison, "The wirings' means are of unequal numbers of seeds").endswith("er.")


def test_connectomes_with_a_random_dag_each_are_wirings():
    comparison = compare(table([*runs("connectome", [0.970, 0.972, 0.975, 0.971, 0.974]), *WS]))
    assert row(comparison, "connectome")["unit"] == "wiring"
    assert np.isnan(row(comparison, "ws")["p_rank"])
    assert not any(text.startswith("One wiring each") for text in comparison.notes)
    assert "connectome, ws" in note(comparison, "One seed per wiring")


def test_stopped_runs_are_left_out_and_counted():
    rows = [*CONNECTOME, *WS, ("ws", 7, 7, math.nan)]
    with_stopped, without = compare(table(rows)), compare(table(rows[:-1]))
    assert row(with_stopped, "ws")["stopped"] == 1
    assert row(with_stopped, "ws")["p"] == row(without, "ws")["p"]
    assert "ws 1 of 5" in note(with_stopped, "Left out")


def test_a_family_that_never_finished_keeps_its_row():
    comparison = compare(table([*CONNECTOME, *WS, *runs("ba", [math.nan] * 4)]))
    ba = row(comparison, "ba")
    assert (ba["runs"], ba["stopped"]) == (0, 4)
    assert ba[["mean", "sd", "low", "difference", "p", "delta", "needed_small"]].isna().all()
    assert (ba["verdict"], ba["more"]) == ("not tested", 5)
    assert "0 wirings against 5 runs of connectome" in note(comparison, "Not tested: ba")


def test_a_reference_that_never_finished_leaves_the_means():
    comparison = compare(table([*runs("connectome", [math.nan] * 3, wirings=False), *WS]))
    assert row(comparison, "ws")["mean"] == pytest.approx(0.965)
    assert "4 wirings against 0 runs" in note(comparison, "Not tested: ws")


def test_two_runs_are_not_tested_and_one_number_is_needed():
    comparison = compare(table([*CONNECTOME, *runs("ws", [0.96, 0.962]), *runs("er", [0.96, 0.962, 0.97])]))
    ws = row(comparison, "ws")
    assert math.isnan(ws["p"])
    assert math.isnan(ws["p_holm"])
    # Of 5 against 5 there are 252 splits, and twice the p of one, 2/252, is below 0.05; of 4 against 4 there are 70.
    told = "2 wirings against 5 runs of connectome. With 3 more of each, p can reach 0.05 after Holm's correction."
    assert note(comparison, "Not tested: ws").endswith(told)
    assert (ws["verdict"], ws["more"]) == ("not tested", 3)
    assert "ws      not tested     3" in to_text(comparison_table(comparison))
    assert (comparison.to_dict()["families"][1]["verdict"], comparison.to_dict()["families"][1]["more"]) == ("not tested", 3)
    assert row(comparison, "er")["p_holm"] == row(comparison, "er")["p"]


def test_one_run_an_arm_is_not_tested():
    comparison = compare(table([*runs("connectome", [0.97]), ("ws", 1, 1, 0.96)]))
    assert note(comparison, "Not tested: ws").endswith("1 run against 1 run of connectome. With 3 more of each, p can reach 0.05.")
    assert pd.isna(row(comparison, "ws")["needed_small"])
    assert row(comparison, "ws")["difference"] == pytest.approx(-0.01)
    assert json.dumps(comparison.to_dict(), allow_nan=False)


def test_a_single_run_is_taken_to_vary_like_the_other_arm():
    base = np.array([0.970, 0.972, 0.975, 0.971, 0.974])
    comparison = compare(table([*CONNECTOME, ("ws", 1, 1, 0.96)]))
    assert row(comparison, "ws")["needed_small"] == runs_needed(0.001, float(base.std(ddof=1)))


def test_a_large_difference_still_needs_as_many_units_as_its_test():
    # 2 / C(14, 7) is the first below 0.001, so 4 against 4 lack 3 more of each.
    arms = [mean + np.array([0.0, 0.001, 0.002, 0.003]) for mean in (0.9, 0.1)]
    assert Contrast(arms).more_needed(None, 0.001) == 3


def test_three_against_three_cannot_be_significant():
    comparison = compare(table([*CONNECTOME[:3], *runs("ws", [0.1, 0.2, 0.3])]))
    assert row(comparison, "ws")["p"] == row(comparison, "ws")["p_smallest"] == pytest.approx(0.1)
    assert "At least 4 per arm" in note(comparison, "Too few units")


def test_holm_runs_over_the_tested_families():
    generator = np.random.default_rng(0)
    rows = list(CONNECTOME)
    for family, mean in (("ws", 0.973), ("er", 0.960), ("ba", 0.968)):
        rows += runs(family, generator.normal(mean, 0.003, 6).tolist())
    comparison = compare(table(rows))
    p = comparison.table["p"].to_numpy()[1:]
    expected, highest = np.empty(3), 0.0
    for step, index in enumerate(np.argsort(p)):
        highest = expected[index] = max(highest, min(1.0, (3 - step) * p[index]))
    np.testing.assert_allclose(comparison.table["p_holm"].to_numpy()[1:], expected)


def test_many_runs_use_random_permutations():
    generator = np.random.default_rng(0)
    rows = [
        *runs("connectome", generator.normal(0.97, 0.002, 30).tolist(), wirings=False),
        *runs("ws", generator.normal(0.95, 0.002, 30).tolist()),
    ]
    comparison = compare(table(rows), resamples=999)
    assert row(comparison, "ws")["p"] == 0.001
    assert row(comparison, "ws")["p_method"] == "monte carlo"
    assert "999 random permutations (ws)" in note(comparison, "p by 999")


def test_a_family_does_not_depend_on_the_others():
    few = compare(table([*CONNECTOME, *WS]), seed=4)
    more = compare(table([*runs("er", [0.9, 0.91, 0.92]), *CONNECTOME, *WS]), seed=4)
    names = ["low", "high", "difference_low", "difference_high", "p"]
    pd.testing.assert_series_equal(row(few, "ws")[names], row(more, "ws")[names])


def test_neither_input_nor_global_state_change():
    frame = table([*CONNECTOME, *WS])
    copy, state = frame.copy(deep=True), np.random.get_state()[1].copy()  # noqa: NPY002
    compare(frame)
    pd.testing.assert_frame_equal(frame, copy)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_constant_accuracies():
    comparison = compare(table([*runs("connectome", [1.0] * 4, wirings=False), *runs("ws", [1.0] * 4)]))
    ws = row(comparison, "ws")
    assert (ws["low"], ws["high"], ws["difference"], ws["p"], ws["delta"]) == (1, 1, 0, 1, 0)
    assert pd.isna(ws["needed_small"])


def test_renderings_hold_the_same_numbers():
    comparison = compare(table([*CONNECTOME, *WS, *runs("ba", [0.96, math.nan])]))
    text, markdown = to_text(comparison_table(comparison)), to_markdown(comparison_table(comparison))
    for part in ("97.24 ± 0.21", "96.50 ± 0.57", f"{row(comparison, 'ws')['p']:.3f}", "-0.74"):
        assert part in text
        assert part in markdown
    assert "\x1b" not in text
    assert markdown.splitlines()[1].count("---:") == 9
    assert all(line.count("|") == 11 for line in markdown.splitlines()[:5])
    content = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert [family["family"] for family in content["families"]] == ["connectome", "ws", "ba"]
    assert content["families"][2]["sd"] is None
    assert isinstance(content["families"][1]["needed_small"], int)
    assert content["notes"] == comparison.notes


FROZEN = [0.968, 0.971, 0.972, 0.9705, 0.970, 0.9651]


def test_runs_of_the_same_seeds_are_compared_in_pairs():
    base = [0.970, 0.972, 0.975, 0.971, 0.974, 0.966]
    rows = [*runs("connectome", base, wirings=False), *runs("frozen", FROZEN, wirings=False)[::-1], *runs("ws", base)]
    comparison = compare(table(rows))
    frozen, ws = row(comparison, "frozen"), row(comparison, "ws")
    differences = np.array(FROZEN) - np.array(base)
    assert (frozen["pairs"], frozen["difference"]) == (6, pytest.approx(differences.mean()))
    assert frozen["p"] == frozen["p_smallest"] == 2 / 64
    assert frozen["difference_low"] < frozen["difference"] < frozen["difference_high"] < 0
    assert frozen["needed_observed"] == runs_needed(differences.mean(), differences.std(ddof=1), paired=True)
    assert "frozen 6 pairs" in note(comparison, "Compared with connectome in pairs")
    assert "all signs of the differences" in note(comparison, "p by exact permutation")
    # Wirings that happen to have the same seeds are no pairs.
    assert pd.isna(ws["pairs"])
    # Nor are runs of which one has a seed that the other has not.
    other = compare(table([*rows[:11], ("frozen", 0, 77, FROZEN[0])]))
    assert pd.isna(row(other, "frozen")["pairs"])
    assert row(other, "frozen")["p"] > 2 / 64
    assert not any(text.startswith("Compared with connectome in pairs") for text in other.notes)


def test_a_stopped_run_takes_its_pair_along():
    base = [0.970, 0.972, 0.975, math.nan]
    comparison = compare(table([*runs("connectome", base, wirings=False), *runs("frozen", [0.96, math.nan, 0.97, 0.98], wirings=False)]))
    frozen = row(comparison, "frozen")
    assert (frozen["pairs"], frozen["difference"]) == (2, pytest.approx(-0.0075))
    assert note(comparison, "Not tested: frozen, 3 runs against 3 runs of connectome. With 4 more pairs, p can reach 0.05.")
    nothing = compare(table([*runs("connectome", [0.97, math.nan], wirings=False), *runs("frozen", [math.nan, 0.9], wirings=False)]))
    assert row(nothing, "frozen")["pairs"] == 0
    assert pd.isna(row(nothing, "frozen")["difference"])


GOOD = table([*CONNECTOME, *WS])


@pytest.mark.parametrize(
    ("results", "options", "message"),
    [
        (GOOD.drop(columns="seed"), {}, "must have a column 'seed', got family"),
        (GOOD, {"value": "f1"}, "must have a column 'f1'"),
        (GOOD.iloc[:0], {}, "at least one row, got none"),
        (GOOD, {"reference": "male"}, "got 'male'; choose from connectome, ws"),
        (GOOD[GOOD["family"] == "connectome"], {}, "at least two families, got only 'connectome'"),
        (GOOD.assign(accuracy=100 * GOOD["accuracy"]), {}, "between 0 and 1, got 97.0; divide percentages by 100"),
        (GOOD.assign(accuracy=-0.1), {}, "between 0 and 1, got -0.1"),
        (GOOD.assign(accuracy=math.inf), {}, "between 0 and 1, got inf"),
        (GOOD.assign(variant=3), {}, "differ in variant from row to row, got variant 3 twice"),
        (GOOD.assign(seed=0), {}, "got family connectome, wiring_seed 0, seed 0 twice; drop the copy"),
        (GOOD.assign(wiring_seed=math.nan), {}, "column 'wiring_seed' must be complete, got 9 missing"),
        (GOOD, {"resamples": 10}, "resamples must be at least 100, got 10"),
        (GOOD, {"seed": -1}, "seed: expected 0 or more, got -1"),
        (GOOD, {"confidence": 95}, "confidence must lie between 0 and 1, got 95"),
        (GOOD, {"margin": 0.3}, "margin: expected a share of at most 0.1, got 0.3; 0.3 percentage points are 0.003"),
        (GOOD, {"margin": 0.0}, "margin: expected a difference above 0, got 0"),
    ],
)
def test_bad_input_is_refused(results, options, message):
    with pytest.raises(ValueError, match=message):
        compare(results, **options)


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match="must be a pandas DataFrame with one row per variant, got list"):
        compare([0.9, 0.8])
    with pytest.raises(TypeError, match="column 'accuracy' must hold numbers"):
        compare(GOOD.assign(accuracy="high"))


def test_values_that_are_no_shares() -> None:
    rng = np.random.default_rng(0)
    rows = [("connectome", 0, seed, 12 + value) for seed, value in enumerate(rng.normal(size=8))]
    rows += [("er", seed, seed, 15 + value) for seed, value in enumerate(rng.normal(size=8))]
    frame = pd.DataFrame(rows, columns=["family", "wiring_seed", "seed", "memory capacity"]).assign(variant=range(16))
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        compare(frame, value="memory capacity")
    comparison = compare(frame, value="memory capacity", share=False)
    table = comparison.table.set_index("family")
    means = frame.groupby("family")["memory capacity"].mean()
    assert table.loc["er", "difference"] == pytest.approx(means["er"] - means["connectome"])
    # The same statistics as of the same values as shares; the small difference alone is another one.
    shares = compare(frame.assign(accuracy=frame["memory capacity"] / 100)).table.set_index("family")
    for column in ("p", "p_holm", "delta", "needed_observed"):
        assert table.loc["er", column] == pytest.approx(shares.loc["er", column])
    arms = [group["memory capacity"].std(ddof=1) for _, group in frame.groupby("family")]
    assert table.loc["er", "needed_small"] == runs_needed(0.01 * means["connectome"], float(np.sqrt(np.mean(np.square(arms)))))
    text = to_text(comparison_table(comparison))
    assert "Memory capacity by family, compared with connectome" in text
    assert f"{means['er']:.3f} ±" in text
    assert "%" not in re.sub(r"\d+ ?%", "", text)
    assert " pp" not in text
    assert "1% of connectome's mean" in " ".join(text.split())
    # The interval of the mean and that of the difference.
    for name in ("low", "difference_low"):
        assert f"{table.loc['er', name]:.3f}" in text
    assert "| memory capacity ± SD |" in to_markdown(comparison_table(comparison))


def spread(means: dict[str, float], sd: float, count: int) -> pd.DataFrame:
    """Families whose runs are the quantiles of normal distributions."""
    quantiles = sd * stats.norm.ppf((np.arange(count) + 0.5) / count)
    return table([item for name, mean in means.items() for item in runs(name, (mean + quantiles).tolist(), name != "connectome")])


def test_different_equal_or_undecided():
    frame = spread({"connectome": 0.970, "er": 0.970, "ws": 0.960, "ba": 0.9716}, 0.003, 30)
    comparison = compare(frame, margin=0.003)
    verdicts = comparison.table.set_index("family")["verdict"]
    assert verdicts[["er", "ws", "ba"]].tolist() == ["equal", "different", "undecided"]
    assert verdicts.isna().tolist() == [True, False, False, False]
    for name in ("er", "ws", "ba"):
        own, base = (frame.loc[frame["family"] == family, "accuracy"] for family in (name, "connectome"))
        ends = ((-0.003, "greater"), (0.003, "less"))
        sides = [stats.ttest_ind(own - end, base, equal_var=False, alternative=tail).pvalue for end, tail in ends]
        assert row(comparison, name)["p_equal"] == pytest.approx(max(sides))
    assert comparison.table["more"].notna().tolist() == [False, False, False, True]
    # What would decide: to find the difference, as the three tests need it, or to show that it is small; whichever takes fewer.
    ba = row(comparison, "ba")
    pooled = math.sqrt((row(comparison, "connectome")["sd"] ** 2 + ba["sd"] ** 2) / 2)
    needed = [runs_needed(ba["difference"], pooled, alpha=0.05 / 3, margin=margin) for margin in (None, 0.003)]
    assert ba["more"] == min(count for count in needed if count is not None) - 30
    assert "reject any difference of 0.3 pp or more" in note(comparison, "Different: p (Holm) up to 0.05. Equal")
    without = compare(frame)
    assert without.table["verdict"].tolist()[1:] == ["undecided", "different", "undecided"]
    assert without.table[["p_equal", "equal_low"]].isna().all(axis=None)
    assert "nothing is called equal" in note(without, "Different: p (Holm)")


def test_a_difference_that_is_too_small_to_matter():
    comparison = compare(spread({"connectome": 0.970, "er": 0.968}, 0.001, 30), margin=0.005)
    er = row(comparison, "er")
    assert er["verdict"] == "different within margin"
    assert note(comparison, "Different, but by less than the margin: er")
    text = to_text(comparison_table(comparison))
    assert "Different, equal within 0.5 pp, or undecided" in text
    assert "| different within margin |" in to_markdown(comparison_table(comparison))
    # The small difference is the margin.
    pooled = math.sqrt((row(comparison, "connectome")["sd"] ** 2 + er["sd"] ** 2) / 2)
    assert er["needed_small"] == runs_needed(0.005, pooled)
    assert "n for 0.5 pp" in text
    many = compare(spread({"connectome": 0.770, "er": 0.768}, 0.05, 10))
    assert f"{row(many, 'er')['needed_small']:,}" in to_text(comparison_table(many))
    assert row(many, "er")["needed_small"] > 10_000


def test_seeds_of_a_wiring_are_not_taken_as_independent():
    """Half of the variance is the wirings' own. Two families that do not differ are found to in 5 %; with runs as units, in many."""
    generator = np.random.default_rng(5)
    draws, wirings, seeds, by_wiring, by_run = 200, 5, 8, [], []
    for number in range(draws):
        values = [generator.normal(size=(wirings, 1)) + generator.normal(size=(wirings, seeds)) for _ in range(2)]
        rows = [
            (name, 100 * place + wiring, seed, value)
            for place, (name, own) in enumerate(zip(("er", "ws"), values, strict=True))
            for (wiring, seed), value in np.ndenumerate(own)
        ]
        frame = table(rows)
        contrast = Contrast.of(*(Arm(frame[frame["family"] == name], "accuracy") for name in ("ws", "er")))
        by_wiring.append(permutation_test(*contrast.samples).p)
        by_run.append(stats.ttest_ind(values[0].ravel(), values[1].ravel()).pvalue)
        if number == 0:
            assert row(compare(frame, "er", share=False, resamples=200), "ws")["p"] == by_wiring[0]
    assert np.mean(np.array(by_wiring) <= 0.05) == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / draws))
    assert np.mean(np.array(by_run) <= 0.05) > 0.3


def test_arms_of_other_sizes_and_variances_keep_the_level():
    """One wiring's 40 runs against 8 wirings, whose means vary three times as much: the plain difference would be found in a third."""
    generator = np.random.default_rng(6)
    draws = 300
    found = [permutation_test(generator.normal(0, 1, 40), generator.normal(0, 3, 8), resamples=199, seed=seed).p for seed in range(draws)]
    plain = [
        stats.ttest_ind(generator.normal(0, 1, 40), generator.normal(0, 3, 8)).pvalue for _ in range(draws)
    ]  # to which the permutation of the plain difference comes close
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.06, abs=4 * math.sqrt(0.05 * 0.95 / draws))
    assert np.mean(np.array(plain) <= 0.05) > 0.2


@pytest.mark.parametrize("margin", [None, 2.5])
def test_the_further_units_decide_where_arms_differ_in_size_and_variance(margin):
    """8 wirings and one wiring's 40 runs, whose standard deviation is a third; to find a difference of 1, or show it to be under 2.5."""
    generator = np.random.default_rng(8)
    own, base = (mean + sd * stats.zscore(generator.normal(size=count), ddof=1) for mean, sd, count in ((1, 3, 8), (0, 1, 40)))
    contrast = Contrast([own, base])
    more = contrast.more_needed(margin)
    wirings, runs = generator.normal(1, 3, (4000, 8 + more)), generator.normal(0, 1, (4000, 40 + more))

    def rejected(end, tail):
        return stats.ttest_ind(wirings - end, runs, axis=1, equal_var=False, alternative=tail).pvalue < 0.05

    found = rejected(0, "two-sided") if margin is None else rejected(-margin, "greater") & rejected(margin, "less")
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)
    # Two new arms of one size.
    units = runs_needed(1.0, contrast.sd)
    p = stats.ttest_ind(generator.normal(1, 3, (4000, units)), generator.normal(0, 1, (4000, units)), axis=1, equal_var=False).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.03)


def test_wirings_of_the_same_seeds_are_compared_in_pairs():
    generator = np.random.default_rng(7)
    rows = [("rewired", wiring, seed, 0.9 + 0.01 * wiring + 0.001 * seed) for wiring in range(7) for seed in range(2)]
    frozen = [("frozen", wiring, seed, value - generator.uniform(0.001, 0.003)) for _, wiring, seed, value in rows]
    comparison = compare(table([*rows, *frozen[::-1]]), reference="rewired", margin=0.005)
    found = row(comparison, "frozen")
    gaps = np.array([new[3] - old[3] for new, old in zip(frozen, rows, strict=True)]).reshape(7, 2).mean(axis=1)
    assert (found["pairs"], found["p"]) == (7, 2 / 2**7)
    assert found["difference"] == pytest.approx(gaps.mean())
    assert found["p_equal"] == pytest.approx(stats.ttest_1samp(gaps, -0.005, alternative="greater").pvalue)
    assert found["verdict"] == "different within margin"
    assert pd.isna(row(compare(table([*rows, *frozen[1:]]), reference="rewired"), "frozen")["pairs"])
