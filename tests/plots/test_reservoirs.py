from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from elegans_pyg.analysis import compare
from elegans_pyg.plots import sequence_outputs, sweep_curves, task_scores


def sweep() -> pd.DataFrame:
    rows = [
        (variant, family, radius, leak, 10 * radius + run + (5 if family == "ws" else 0) - leak)
        for variant, (family, run) in enumerate([("ws", 0), ("ws", 1), ("ws", 2), ("connectome", 0), ("connectome", 1)])
        for radius in (0.9, 0.3, 0.6)
        for leak in (0.5, 1.0)
    ]
    return pd.DataFrame(rows, columns=["variant", "family", "radius", "leak", "score"])


def test_curves_are_means_by_radius_with_a_panel_a_leak() -> None:
    frame = sweep()
    before = frame.copy()
    figure = sweep_curves(frame, "score", "memory capacity")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["leak 1 (none)", "leak 0.5"]
    assert figure.axes[0].get_ylabel() == "memory capacity"
    for axes, leak in zip(figure.axes, (1.0, 0.5), strict=True):
        drawn = {line.get_label().split(" ")[0]: line for line in axes.get_lines()}
        np.testing.assert_allclose(drawn["ws"].get_xydata(), [[r, 10 * r + 6 - leak] for r in (0.3, 0.6, 0.9)])
        np.testing.assert_allclose(drawn["connectome"].get_ydata(), [10 * r + 0.5 - leak for r in (0.3, 0.6, 0.9)])
        assert to_hex(drawn["connectome"].get_color()).upper() == "#D7191C"
        band = min(axes.collections, key=lambda band: -band.get_paths()[0].vertices[:, 1].max()).get_paths()[0].vertices
        assert band[:, 1].max() == pytest.approx(10 * 0.9 + 6 - leak + 1)  # ws: standard deviation 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["connectome (n = 2)", "ws (n = 3)"]
    pd.testing.assert_frame_equal(frame, before)


def results() -> pd.DataFrame:
    rows = [
        (variant, family, task, level + 0.1 * (variant % 4))
        for variant, family in enumerate(["connectome"] * 4 + ["er"] * 4)
        for task, level in (("memory", 10.0), ("narma10", 0.5))
    ]
    return pd.DataFrame(rows, columns=["variant", "family", "task", "score"])


def test_scores_have_a_panel_a_task_and_the_table_s_intervals() -> None:
    frame = results()
    figure = task_scores(frame, {"memory": "memory capacity", "narma10": "NRMSE"})
    assert [(axes.get_title(loc="left"), axes.get_xlabel()) for axes in figure.axes] == [
        ("memory", "memory capacity"),
        ("narma10", "NRMSE"),
    ]
    axes = figure.axes[0]
    np.testing.assert_allclose(np.sort(np.asarray(axes.collections[0].get_offsets())[:, 0]), [10, 10.1, 10.2, 10.3])
    rows = frame[frame["task"] == "memory"].assign(wiring_seed=frame["variant"], seed=0)
    rows.loc[rows["family"] == "connectome", ["wiring_seed", "seed"]] = [[0, s] for s in range(4)]
    table = compare(rows, value="score", share=False).table.set_index("family")
    bars = [line.get_xdata() for line in axes.get_lines() if line.get_linewidth() == 2.4]
    np.testing.assert_allclose(bars[1], table.loc["er", ["low", "high"]].to_numpy(dtype=float))
    dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    assert dashed[0].get_xdata()[0] == pytest.approx(10.15)


def test_outputs_have_a_line_each_and_logits_of_whole_sequences_bars() -> None:
    rng = np.random.default_rng(0)
    inputs, lines, logits = rng.normal(size=(7, 2)), rng.normal(size=(2, 7, 3)), rng.normal(size=(2, 5))
    by_step = sequence_outputs(inputs, ["u", "v"], {"er": lines[0], "connectome": lines[1]})
    assert [axes.get_ylabel() for axes in by_step.axes] == ["output 1", "output 2", "output 3", "input"]
    for number, axes in enumerate(by_step.axes[:-1]):
        np.testing.assert_array_equal([line.get_ydata() for line in axes.get_lines()], lines[:, :, number])
    whole = sequence_outputs(inputs, ["u", "v"], {"er": logits[0], "connectome": logits[1]})
    first, last = whole.axes
    np.testing.assert_array_equal([[bar.get_height() for bar in bars] for bars in first.containers], logits)
    assert [round(bar.get_x() + bar.get_width()) for bar in first.containers[0]] == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal([line.get_ydata() for line in last.get_lines()], inputs.T)
    assert [text.get_text() for text in whole.legends[0].get_texts()] == ["er", "connectome"]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="sweep must have a column 'leak'"):
        sweep_curves(sweep().drop(columns="leak"), "score", "x")
    with pytest.raises(ValueError, match="sweep must hold at least one row"):
        sweep_curves(sweep().iloc[:0], "score", "x")
    with pytest.raises(ValueError, match="reference must be one of the families in sweep, got 'male'; choose from ws, connectome"):
        sweep_curves(sweep(), "score", "x", reference="male")
    with pytest.raises(ValueError, match=r"got variant 0, radius 0\.9, leak 0\.5 twice; give one task"):
        sweep_curves(pd.concat([sweep(), sweep()]), "score", "x")
    with pytest.raises(ValueError, match="metrics must name tasks in results, got lorenz; choose from memory, narma10"):
        task_scores(results(), {"lorenz": "NRMSE"})
    with pytest.raises(ValueError, match="metrics must name tasks in results, got none"):
        task_scores(results(), {})
