from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from elegans_pyg.plots.reduced_order import loss_curves, output_errors, predicted_traces, size_curve


def history(runs: int, level: float) -> pd.DataFrame:
    epochs = np.repeat(np.arange(1, 21), runs)
    replica = np.tile(np.arange(runs), 20)
    return pd.DataFrame(
        {"epoch": epochs, "replica": replica, "train": level / epochs + replica, "validation": 2 * level / epochs + replica}
    )


def test_loss_curves_draw_means_within_the_band_of_runs() -> None:
    figure = loss_curves({"GRU-4": history(3, 1.0), "LSTM-8": history(2, 2.0)})
    train, validation = figure.axes
    assert [line.get_label() for line in validation.lines] == ["GRU-4 (n = 3)", "LSTM-8 (n = 2)"]
    np.testing.assert_allclose(train.lines[0].get_ydata(), 1 / np.arange(1, 21) + 1)
    np.testing.assert_allclose(validation.lines[1].get_ydata(), 4 / np.arange(1, 21) + 0.5)
    band = train.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (pytest.approx(1 / 20), pytest.approx(3))
    assert train.get_yscale() == "log"
    with pytest.raises(ValueError, match="histories: expected one model or more"):
        loss_curves({})
    with pytest.raises(ValueError, match="histories of GRU-4 must have a column 'validation'"):
        loss_curves({"GRU-4": history(1, 1.0).drop(columns="validation")})


def test_traces_show_truth_predictions_and_the_driven_inputs() -> None:
    time = torch.arange(1, 51) * 0.5
    current = torch.zeros(2, 50, 2)
    current[0, :, 0], current[1, :, 1] = 1.0, 2.0
    true = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0))
    figure = predicted_traces(time, current, true, {"GRU-4": true + 1}, ["PLML", "AVBL"], ["DB1", "VB1", "PVR"], ["pulse", "sine"])
    axes = np.array(figure.axes).reshape(4, 2)
    for row in range(3):
        for column in range(2):
            below, above = axes[row, column].lines
            np.testing.assert_allclose(below.get_ydata(), true[column, :, row])
            np.testing.assert_allclose(above.get_ydata(), true[column, :, row] + 1)
    assert [[line.get_label() for line in axes[3, column].lines] for column in range(2)] == [["PLML"], ["AVBL"]]
    with pytest.raises(ValueError, match=r"predicted_mV: expected \(2, 50, 3\) numbers for GRU-4, at least one, got \(2, 50, 2\)"):
        predicted_traces(time, current, true, {"GRU-4": true[..., :2]}, ["PLML", "AVBL"], ["DB1", "VB1", "PVR"], ["a", "b"])
    with pytest.raises(ValueError, match=r"current_pA: expected \(2, 50, 1\)"):
        predicted_traces(time, current, true, {}, ["PLML"], ["DB1", "VB1", "PVR"], ["a", "b"])


def test_size_curve() -> None:
    table = pd.DataFrame({"hidden": [2, 4], "train": [0.2, 0.1], "train_sd": [0.01, np.nan], "validation": 0.3, "validation_sd": 0.0})
    table = table.assign(test=[0.4, 0.25], test_sd=0.02)
    (axes,) = size_curve(table, 0.013).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "4"]
    assert [container.lines[0].get_ydata().tolist() for container in axes.containers] == [[0.2, 0.1], [0.3, 0.3], [0.4, 0.25]]
    assert axes.lines[-1].get_ydata()[0] == 0.013
    with pytest.raises(ValueError, match="table must have a column 'test_sd'"):
        size_curve(table.drop(columns="test_sd"))


def test_output_errors_put_each_setting_at_its_place() -> None:
    rows = [(s, m, o, 0.1 * a + 0.01 * b + 0.001 * c) for a, s in enumerate("xy") for b, m in enumerate("mn") for c, o in enumerate("pqr")]
    table = pd.DataFrame(rows, columns=["setting", "model", "output", "rmse"])
    (axes,) = output_errors(table).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["p", "q", "r"]
    for number, dots in enumerate(axes.collections):
        offsets = np.asarray(dots.get_offsets())
        expected = table[table["setting"] == "xy"[number]]
        np.testing.assert_allclose(np.sort(offsets[:, 1]), np.sort(expected["rmse"]))
        assert (np.abs(offsets[:, 0] - np.tile([0, 1, 2], 2)) < 0.4).all()
    means = sorted(float(line.get_ydata()[0]) for line in axes.lines)
    np.testing.assert_allclose(means, sorted(table.groupby(["setting", "output"])["rmse"].mean()))
    with pytest.raises(ValueError, match="table must hold at least one row"):
        output_errors(table.head(0))
