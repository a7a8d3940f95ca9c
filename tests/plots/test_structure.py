"""Figures of structure: what they show, read back from their parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from elegans_pyg import plots
from elegans_pyg.analysis import MEASURES, dyads
from elegans_pyg.analysis.relate import relate
from elegans_pyg.datasets import Connectome


def curves(measures: list[str]) -> pd.DataFrame:
    rows = []
    for family in ("rewired", "random_rewired"):
        for name in measures:
            for fraction in (0.0, 0.5, 1.0):
                mean = 280.0 if name == "nodes" else 1 - fraction
                width = 0.0 if name == "nodes" else 0.1
                rows.append(("worm", family, fraction, name, mean, mean - width, mean + width, 1 - fraction, 1 - fraction))
    return pd.DataFrame(rows, columns=["connectome", "family", "fraction", "measure", "mean", "low", "high", "left", "unusual"])


def test_fading_dyads_draws_what_is_left() -> None:
    table = curves(["dyadicity_motor", "heterophilicity_inter_motor_path3"])
    effects = pd.DataFrame({"measure": ["dyadicity_motor", "heterophilicity_inter_motor_path3"], "length": [1, 3]})
    figure = plots.fading_dyads(table[table["family"] == "rewired"], effects)
    lines = [[line for line in axes.lines if len(line.get_xdata()) == 3] for axes in figure.axes]
    assert [len(found) for found in lines] == [1, 0, 1, 1, 0, 1]
    assert list(lines[0][0].get_ydata()) == [100, 50, 0]
    assert list(lines[0][0].get_xdata()) == [0, 50, 100]
    assert figure.axes[1].get_title(loc="left") == "along shortest paths of 2 edges: 0 of 9 pairs"
    with pytest.raises(ValueError, match="effects: expected at least one, got none"):
        plots.fading_dyads(table, effects.iloc[:0])


def test_measures_by_fraction_leaves_out_what_never_changes() -> None:
    figure = plots.measures_by_fraction(curves(["nodes", "clustering", "reciprocity"]))
    shown = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert shown == ["clustering", "reciprocity"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    with pytest.raises(ValueError, match="expected a measure that changes, got none"):
        plots.measures_by_fraction(curves(["nodes"]))


def test_score_map_holds_the_scores() -> None:
    rows = [("worm", "clustering", 5.0, 0.01), ("worm", "nodes", np.nan, np.nan), ("male", "clustering", -1.0, 0.5)]
    scores = pd.DataFrame(rows, columns=["connectome", "measure", "z", "p_holm"])
    families = pd.DataFrame([("worm", "er", "clustering", -30.0)], columns=["connectome", "family", "measure", "z"])
    axes = plots.score_map(scores, families).axes[0]
    assert axes.images[0].get_array().tolist() == [[5.0, -1.0, -30.0]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["worm", "male", "er (mean)"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["clustering"]
    assert sum(len(dots.get_offsets()) for dots in axes.collections) == 1
    with pytest.raises(ValueError, match="expected at least one measure with a z"):
        plots.score_map(scores[scores["measure"] == "nodes"])


def test_score_dots_fills_what_is_significant() -> None:
    scores = pd.DataFrame({"measure": ["a", "b", "c"], "z": [3.0, np.nan, -8.0], "p_holm": [0.2, np.nan, 0.01]})
    axes = plots.score_dots(scores).axes[0]
    dots = axes.collections[-1]
    assert dots.get_offsets()[:, 0].tolist() == [3.0, -8.0]
    assert dots.get_facecolors()[:, :3].tolist()[0] == [1.0, 1.0, 1.0]
    assert dots.get_facecolors()[:, :3].tolist()[1] != [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="expected at least one measure with a z"):
        plots.score_dots(scores.iloc[1:2])


def test_type_pairs_writes_the_ratios() -> None:
    table = dyads(Connectome("witvliet2021-1")[0], lengths=(1, 2))
    figure = plots.type_pairs(table)
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes[:2]]
    for length, found in zip((1, 2), texts, strict=True):
        assert sorted(found) == sorted(f"{ratio:.2f}" for ratio in table.loc[table["length"] == length, "ratio"])


def test_measures_by_family_has_a_dot_a_wiring() -> None:
    table = pd.DataFrame({"family": ["connectome", "er", "er"], "clustering": [0.3, 0.1, 0.2], "nodes": 9.0})
    figure = plots.measures_by_family(table, ["clustering", "nodes"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["clustering"]
    assert [dots.get_offsets()[:, 0].tolist() for dots in figure.axes[0].collections] == [[0.3], [0.1, 0.2]]
    with pytest.raises(ValueError, match="expected wirings that differ in a measure"):
        plots.measures_by_family(table, ["nodes"])


def test_value_against_measures_shows_runs_and_wirings() -> None:
    variants = pd.DataFrame(
        {
            "family": ["connectome"] * 2 + ["er"] * 3,
            "wiring": ["c", "c", "e1", "e2", "e3"],
            "accuracy": [0.9, 0.92, 0.8, 0.85, np.nan],
            "clustering": [0.3, 0.3, 0.1, 0.2, 0.4],
        }
    )
    assert "clustering" in MEASURES
    relation = relate(variants, ["clustering"])
    axes = plots.value_against_measures(variants, relation).axes[0]
    dots = sorted(tuple(point) for part in axes.collections for point in part.get_offsets().tolist())
    # Runs, and a ring at the mean of the wiring with two; the run without accuracy is not there.
    assert dots == [pytest.approx(pair) for pair in [(0.1, 80), (0.2, 85), (0.3, 90), (0.3, 91), (0.3, 92)]]
    with pytest.raises(ValueError, match="relation: expected at least one measure"):
        plots.value_against_measures(variants, relate(variants[:2], ["clustering"]))


def test_of_many_measures_the_strongest_are_drawn_and_the_title_says_so() -> None:
    rng = np.random.default_rng(0)
    score = rng.uniform(0.5, 1, 20)
    names = sorted(MEASURES)[:15]
    noise = {name: score + rng.normal(0, 0.02 + 0.05 * place, 20) for place, name in enumerate(names)}
    variants = pd.DataFrame({"family": ["connectome"] * 4 + ["er"] * 16, "wiring": range(20), "accuracy": score, **noise})
    relation = relate(variants, names, resamples=100)
    figure = plots.value_against_measures(variants, relation)
    strongest = variants[names].corrwith(variants["accuracy"], method="spearman").abs().sort_values(ascending=False).index[:12]
    assert {axes.get_title(loc="left") for axes in figure.axes} == {name.replace("_", " ") for name in strongest}
    assert figure.get_suptitle() == "accuracy against the 12 of 15 measures with the largest |ρ| (connectome, er)"
    assert plots.value_against_measures(variants, relation, most=20).get_suptitle().startswith("accuracy against all 15 measures")


def test_a_title_is_wrapped_and_the_panels_keep_their_height() -> None:
    table = pd.DataFrame({"family": ["connectome", "er"], "clustering": [0.3, 0.1]})
    figure = plots.measures_by_family(table, ["clustering"])
    before = figure.get_figheight()
    plots.titled(figure, "digits, " + "cook2019-hermaphrodite " * 4)
    lines = figure.get_suptitle().splitlines()
    assert len(lines) > 1
    assert " ".join(lines) == ("digits, " + "cook2019-hermaphrodite " * 4).strip()
    grown = figure.get_figheight()
    assert grown > before + 0.19 * len(lines)
    assert plots.titled(figure, figure.get_suptitle()).get_figheight() == pytest.approx(grown)


@pytest.mark.parametrize("word", ["MMMMM", "iiiii", "12345"])
def test_a_title_is_as_wide_as_the_figure_at_most_and_fills_its_lines(word: str) -> None:
    figure = plots.titled(Figure(figsize=(6, 4)), f"{word} " * 60)
    extent = figure.texts[0].get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert 0.85 * figure.bbox.width < extent.x1 <= figure.bbox.width
