from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from elegans_pyg.analysis import compare
from elegans_pyg.plots import accuracy_curves, family_accuracies


def metrics(iterations: int = 5, **families: int) -> pd.DataFrame:
    rows, variant = [], 0
    for family, count in (families or {"ws": 3, "connectome": 2}).items():
        for run in range(count):
            for step in range(1, iterations + 1):
                for split in ("train", "validation"):
                    rows.append((10 * step, variant, family, run, run, split, 0.1, 0.9 + 0.01 * run + 0.001 * step))
            variant += 1
    return pd.DataFrame(rows, columns=["iteration", "variant", "family", "wiring_seed", "seed", "split", "loss", "accuracy"])


def lines(axes) -> dict[str, object]:
    return {line.get_label().split(" ")[0]: line for line in axes.get_lines()}


def test_curves_are_means_with_bands_and_a_dashed_red_reference():
    frame = metrics()
    figure = accuracy_curves(frame)
    whole, enlarged = figure.axes
    for axes in (whole, enlarged):
        drawn = lines(axes)
        assert set(drawn) == {"ws", "connectome"}
        assert drawn["connectome"].get_linestyle() == "--"
        assert to_hex(drawn["connectome"].get_color()).upper() == "#D7191C"
        assert drawn["ws"].get_linestyle() != "--"
        np.testing.assert_allclose(drawn["ws"].get_xydata(), [[10 * step, 91 + 0.1 * step] for step in range(1, 6)])
        assert drawn["connectome"].zorder > drawn["ws"].zorder
    band = max(whole.collections, key=lambda band: len(band.get_paths()[0].vertices)).get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(90.1)  # ws: mean 91.1 and standard deviation 1 at iteration 10
    assert [text.get_text() for text in whole.get_legend().get_texts()] == ["connectome (n = 2)", "ws (n = 3)"]
    low, high = enlarged.get_xlim()
    assert low == pytest.approx(10 + 40 * 2 / 3)
    assert high == 50


def test_few_evaluations_fill_one_panel():
    assert len(accuracy_curves(metrics(3)).axes) == 1
    assert len(accuracy_curves(metrics(1)).axes) == 1


def test_every_family_has_its_own_line():
    names = ("ws", "er", "ba", "rewired", "type_rewired", "weight_shuffled", "names_shuffled", "random_dag", "connectome", "mine")
    drawn = lines(accuracy_curves(metrics(2, **dict.fromkeys(names, 2))).axes[0])
    assert set(drawn) == set(names)
    assert len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in drawn.values()}) == len(names)
    assert len({to_hex(line.get_color()) for line in drawn.values()}) == len(names)


def test_stopped_variants_are_counted_in_the_legend():
    frame = metrics()
    frame.loc[(frame["variant"] == 0) & (frame["iteration"] > 20), "accuracy"] = math.nan
    axes = accuracy_curves(frame).axes[0]
    assert "ws (n = 2 of 3)" in [text.get_text() for text in axes.get_legend().get_texts()]
    assert lines(axes)["ws"].get_ydata()[-1] == pytest.approx(92.0)


def test_another_reference_or_none():
    assert lines(accuracy_curves(metrics(), reference="ws").axes[0])["ws"].get_linestyle() == "--"
    drawn = lines(accuracy_curves(metrics(), reference=None).axes[0])
    assert all(line.get_linestyle() != "--" for line in drawn.values())


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (metrics().drop(columns="accuracy"), {}, "must have a column 'accuracy'"),
        (metrics().iloc[:0], {}, "at least one row"),
        (metrics(), {"reference": "male"}, "got 'male'; choose from ws, connectome"),
        (metrics(), {"split": "dev"}, "got 'dev'; choose from train, validation"),
        (pd.concat([metrics(), metrics()]), {}, "got iteration 10, variant 0 twice"),
    ],
)
def test_curves_refuse_bad_metrics(frame, options, message):
    with pytest.raises(ValueError, match=message):
        accuracy_curves(frame, **options)


def results() -> pd.DataFrame:
    accuracies = {"ws": [0.95, 0.96, 0.97, 0.96], "connectome": [0.970, 0.971, 0.973]}
    runs = {"ws": [0, 0, 1, 1], "connectome": [0, 0, 0]}
    rows = [(family, runs[family][run], run, value) for family, values in accuracies.items() for run, value in enumerate(values)]
    rows.append(("ws", 9, 9, math.nan))
    return pd.DataFrame(rows, columns=["family", "wiring_seed", "seed", "accuracy"]).assign(variant=range(len(rows)))


def test_every_run_is_a_dot_beside_the_table_s_interval():
    frame = results()
    axes = family_accuracies(frame).axes[0]
    runs_connectome, runs_ws, wirings_ws = (np.sort(np.asarray(dots.get_offsets())[:, 0]) for dots in axes.collections)
    np.testing.assert_allclose(runs_ws, [95, 96, 96, 97])
    np.testing.assert_allclose(runs_connectome, [97, 97.1, 97.3])
    np.testing.assert_allclose(wirings_ws, [95.5, 96.5])
    assert (
        len({tuple(offset) for offset in np.asarray(axes.collections[1].get_offsets()).tolist()}) == 4
    )  # equal runs do not hide each other
    table = compare(frame).table.set_index("family")
    bars = [line.get_xdata() for line in axes.get_lines() if line.get_linewidth() == 2.4]
    np.testing.assert_allclose(bars[0], 100 * table.loc["connectome", ["low", "high"]].to_numpy(dtype=float), atol=1e-9)
    np.testing.assert_allclose(bars[1], 100 * table.loc["ws", ["low", "high"]].to_numpy(dtype=float), atol=1e-9)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["connectome\n3 runs", "ws\n4 runs, 2 wirings"]
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert dashed[0].get_xdata()[0] == pytest.approx(100 * table.loc["connectome", "mean"])


def test_family_accuracies_refuse_bad_results():
    with pytest.raises(ValueError, match="got 'male'; choose from ws, connectome"):
        family_accuracies(results(), reference="male")
    with pytest.raises(ValueError, match="at least one number, got none"):
        family_accuracies(results().assign(accuracy=math.nan))
    with pytest.raises(ValueError, match="must have a column 'seed'"):
        family_accuracies(results().drop(columns="seed"))


def test_other_scores_are_drawn_and_named():
    frame = metrics().rename(columns={"accuracy": "pixel_accuracy"})
    figure, expected = accuracy_curves(frame, value="pixel_accuracy"), accuracy_curves(metrics())
    assert figure.axes[0].get_ylabel() == "validation pixel accuracy (%)"
    drawn, before = (lines(axes.axes[0])["ws"].get_xydata() for axes in (figure, expected))
    np.testing.assert_array_equal(drawn, before)
    results = frame[frame["split"] == "validation"].drop_duplicates("variant", keep="last")
    assert family_accuracies(results, value="pixel_accuracy").axes[0].get_xlabel().startswith("pixel accuracy (%), one dot per run")
