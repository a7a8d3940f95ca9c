from __future__ import annotations

import json
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch

from elegans_pyg.models import ReducedOrder
from elegans_pyg.recipes import barbulescu, barbulescu_figures, reduced_order
from elegans_pyg.recipes.barbulescu import EXPERIMENTS, Job, Settings, reproduce
from elegans_pyg.recipes.barbulescu_figures import draw_experiment, draw_fit
from elegans_pyg.recipes.reduced_order import fit_runs
from elegans_pyg.training import sequences
from elegans_pyg.training.sequences import SequenceFitConfig
from tests.recipes.waves import leaky

TINY = Settings(epochs=3, runs=2, count=8)


@pytest.fixture(autouse=True)
def no_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(name: str, dt_ms: float, count: int, seed: int, **options: object) -> object:
        return leaky(name, dt_ms, count, seed, options.get("outputs"))  # type: ignore[arg-type]

    monkeypatch.setattr(barbulescu, "Waveforms", fake)


def test_the_experiments_are_the_papers() -> None:
    models = {number: [(job.cell, job.hidden) for job in jobs] for number, jobs in EXPERIMENTS.items()}
    assert models[1] == [("rnn", 16), ("lstm", 8), ("gru", 8), ("rnn", 64), ("lstm", 32), ("gru", 32)]
    assert models[2] == [("gru", hidden) for hidden in (2, 4, 8, 16, 32, 64)]
    assert [(job.hidden, job.dt_ms) for job in EXPERIMENTS[3]] == [(4, 0.5), (8, 0.5), (4, 0.1), (8, 0.1), (4, 0.1)]
    assert {job.without for job in EXPERIMENTS[4]} == {("AVBL", "AVBR"), ("PLML", "PLMR")}
    assert models[5] == [(cell, hidden) for cell in ("lstm", "gru") for hidden in (8, 16, 32)]
    assert (Settings().epochs, Settings().runs, Settings().count) == (1000, 10, 40)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_every_experiment_runs(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    done = reproduce(number, tmp_path / "out", TINY, quiet=True)
    jobs = EXPERIMENTS[number]
    assert len(done.table) == len(jobs) == len(done.fits)
    assert (done.table["runs"] == 2).all()
    saved = pd.read_csv(tmp_path / "out" / f"experiment-{number}.csv")
    assert saved["test"].tolist() == pytest.approx(done.table["test"].tolist())
    for job, row in zip(jobs, done.table.itertuples(), strict=True):
        results = done.fits[job].results
        assert row.test == pytest.approx(results["test"].mean())
        assert row.test_sd == pytest.approx(results["test"].std())
        assert row.parameters == done.fits[job].model.parameters_per_replica()
        each = done.outputs[(done.outputs["model"] == job.name) & (done.outputs["data"] == row.data)]
        assert len(each) == len(done.waveforms[job].output_names) == (28 if number == 5 else 4)
    if number == 1:
        assert (done.table["parameters"] == done.table["published_parameters"]).all()
    if number == 4:
        assert done.waveforms[jobs[0]].input_names == ["PLML", "PLMR"]
        assert done.waveforms[jobs[-1]].input_names == ["AVBL", "AVBR"]
    if number == 5:
        assert len(done.waveforms[jobs[0]].input_names) == 10
    assert done.findings
    assert any("3 of 1,000 epochs, 2 of 10 runs" in note for note in done.notes)
    assert len(done.tables()) == (2 if number == 4 else 1)
    if number == 2:
        figures = draw_experiment(done, tmp_path / "figures")
        assert [figure.name[13:] for figure in figures] == ["losses", "traces", "sizes"]
        assert all(figure.with_name(figure.name + ".png").stat().st_size > 10_000 for figure in figures)
    else:
        # Writing files takes most of the time of drawing.
        monkeypatch.setattr(barbulescu_figures, "save", lambda figure, path: figure.draw_without_rendering())
        figures = draw_experiment(done, tmp_path / "figures")
        assert len(figures) == {1: 2, 3: 4, 4: 5, 5: 3}[number]


def test_finished_fits_are_read_and_shared_by_experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = reproduce(1, tmp_path, TINY, quiet=True)
    fitted = []
    real = reduced_order.fit_sequences
    monkeypatch.setattr(
        reduced_order, "fit_sequences", lambda model, *rest, **more: fitted.append(model.hidden) or real(model, *rest, **more)
    )
    again = reproduce(1, tmp_path, TINY, quiet=True)
    assert not fitted
    pd.testing.assert_frame_equal(again.table, first.table, check_exact=False, rtol=1e-12)
    reproduce(2, tmp_path, TINY, quiet=True)
    assert fitted == [2, 4, 16, 64]


def test_an_interrupted_experiment_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reproduce(3, tmp_path / "whole", TINY, quiet=True)
    real, epochs = sequences._Fit._train_epoch, []

    def interrupting(self: sequences._Fit) -> None:
        real(self)
        epochs.append(self.epoch)
        if len(epochs) == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sequences._Fit, "_train_epoch", interrupting)
    stopped = reproduce(3, tmp_path / "parts", TINY, quiet=True)
    assert stopped.interrupted
    assert len(stopped.fits) == 1
    assert not (tmp_path / "parts" / "experiment-3.csv").exists()
    done = reproduce(3, tmp_path / "parts", TINY, quiet=True)
    assert len(epochs) == 18
    columns = [column for column in whole.table if column != "seconds"]
    pd.testing.assert_frame_equal(done.table[columns], whole.table[columns])


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    reproduce(2, tmp_path / "a", TINY, quiet=True)
    with pytest.raises(ValueError, match=r"out: .* holds experiments with .*'epochs': 3.* not .*'epochs': 4"):
        reproduce(2, tmp_path / "a", Settings(4, 2, 8), quiet=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty and holds no experiments"):
        reproduce(2, tmp_path / "b", TINY, quiet=True)
    with pytest.raises(FileExistsError, match="is not empty and holds no fit"):
        fit_runs(leaky(), tmp_path / "b", runs=1, config=SequenceFitConfig(2), quiet=True)
    with pytest.raises(ValueError, match="experiment: expected 1 to 5, got 6"):
        reproduce(6, tmp_path / "a", TINY)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"runs": 0}, {"seed": -1}, {"count": 3}, {"clip_norm": 0.0}, {"clip_norm": float("nan")}])
def test_settings_out_of_range_are_refused_before_a_folder_is_made(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
        Settings(**wrong)  # type: ignore[arg-type]


def test_damaged_results_are_not_read(tmp_path: Path) -> None:
    fit = fit_runs(leaky(), tmp_path / "fit", runs=2, config=SequenceFitConfig(2), quiet=True)
    for name in ("results", "history", "outputs"):
        path = fit.folder / f"{name}.csv"
        whole = path.read_text()
        for damaged in ("\n".join(whole.splitlines()[:-1]) + "\n", whole.replace("seed", "seeds", 1), ""):
            path.write_text(damaged)
            with pytest.raises(ValueError, match=r"out: .* holds no whole fit .*; delete it"):
                fit_runs(leaky(), tmp_path / "fit", runs=2, config=SequenceFitConfig(2), quiet=True)
        path.write_text(whole)
    again = fit_runs(leaky(), tmp_path / "fit", runs=2, config=SequenceFitConfig(2), quiet=True)
    pd.testing.assert_frame_equal(again.results, fit.results)


def test_an_output_that_never_moves_has_no_range_to_be_compared_with(tmp_path: Path) -> None:
    data = leaky()
    data.voltage_mV[..., 0] = -58
    fit = fit_runs(data, tmp_path / "fit", runs=1, config=SequenceFitConfig(2), quiet=True)
    assert fit.outputs["rmse"].isna().tolist() == [True, False, False, False]


def verdicts(number: int, rows: list[tuple[str, str, float]], train: list[float] | None = None, outputs: object = None) -> str:
    """The findings on a table of data, model and test RMSE."""
    table = pd.DataFrame(rows, columns=["data", "model", "test"])
    table["hidden"] = table["model"].str.split("-").str[1].astype(int)
    table["train"] = train if train is not None else table["test"]
    return " ".join(barbulescu._FINDINGS[number](table, outputs))


def test_verdicts_follow_the_numbers() -> None:
    cells = ["RNN-16", "LSTM-8", "GRU-8", "RNN-64", "LSTM-32", "GRU-32"]
    worst, not_worst = [0.06, 0.011, 0.007, 0.03, 0.007, 0.006], [0.06, 0.011, 0.007, 0.03, 0.04, 0.006]
    assert "worst at both sizes: so it is here" in verdicts(1, [("fcm", *pair) for pair in zip(cells, worst, strict=True)])
    assert "worst at both sizes: not so here" in verdicts(1, [("fcm", *pair) for pair in zip(cells, not_worst, strict=True)])
    sizes = [
        ("fcm", f"GRU-{units}", rmse) for units, rmse in zip((2, 4, 8, 16, 32, 64), (0.03, 0.013, 0.01, 0.009, 0.012, 0.02), strict=True)
    ]
    found = verdicts(2, sizes, train=[0.03, 0.013, 0.01, 0.009, 0.008, 0.007])
    assert "least test RMSE is that of 16 units" in found
    assert "so it is here" in found
    assert "not so here" in verdicts(2, sizes, train=[0.03, 0.006, 0.01, 0.009, 0.008, 0.007])
    steps = ["fcm, 0.5 ms", "fcm, 0.1 ms", "fcm, 0.1 ms, 2x epochs"]
    found = verdicts(3, [(step, "GRU-4", rmse) for step, rmse in zip(steps, (0.0128, 0.014, 0.0117), strict=True)])
    assert "fcm, 0.1 ms: 0.0140: not below 0.013 at both time steps." in found
    assert "fcm, 0.1 ms, 2x epochs: 0.0117: below 0.013." in found
    below = verdicts(3, [(step, "GRU-4", rmse) for step, rmse in zip(steps, (0.0128, 0.0129, 0.0131), strict=True)])
    assert "0.0129: below 0.013 at both time steps." in below
    assert "0.0131: not below 0.013." in below


@pytest.mark.parametrize("agrees", [True, False])
def test_verdicts_on_inputs_and_scenarios(agrees: bool) -> None:
    good, bad = (0.05, 0.2) if agrees else (0.2, 0.05)
    rows = [("fcm no AVB, 0.5 ms", output, good if output in ("LUAL", "PVR") else bad) for output in ("DB1", "LUAL", "PVR", "VB1")] + [
        ("fcm no PLM, 0.5 ms", output, good if output in ("DB1", "VB1") else bad) for output in ("DB1", "LUAL", "PVR", "VB1")
    ]
    found = barbulescu._FINDINGS[4](pd.DataFrame(), pd.DataFrame(rows, columns=["data", "output", "rmse"]))
    assert [line.endswith("so they are here.") for line in found[1:4:2]] == [agrees, agrees]
    each = pd.DataFrame({"model": ["GRU-16", "GRU-16"], "output": ["DB1", "RMER"], "rmse": [good, bad]})
    table = [("both", f"{cell}-{size}", good if cell == "GRU" else bad) for cell in ("LSTM", "GRU") for size in (8, 16, 32)]
    found = verdicts(5, table, outputs=each)
    assert ("lesser test RMSE at 8, 16, 32 of" in found) == agrees
    assert f"reproduces {'DB1' if agrees else 'RMER'} best" in found


def test_one_fit_is_kept_whole(tmp_path: Path) -> None:
    data = leaky()
    config = SequenceFitConfig(4)
    fit = fit_runs(data, tmp_path / "fit", "lstm", 3, runs=2, seed=7, config=config, quiet=True)
    loaded = ReducedOrder.load(tmp_path / "fit")
    rows = data.indices("test")
    predicted = loaded.predict_mV(data.current_pA[rows])
    span = data.scaling()[2]
    own = ((predicted - data.voltage_mV[rows]) / span).square().mean((1, 2, 3)).sqrt()
    assert own.tolist() == pytest.approx(fit.results["test"].tolist(), rel=1e-4)
    in_mV = (predicted - data.voltage_mV[rows]).square().mean((1, 2)).sqrt()
    assert in_mV.flatten().tolist() == pytest.approx(fit.outputs["rmse_mV"].tolist(), rel=1e-3)
    assert (in_mV / data.ranges_mV()).flatten().tolist() == pytest.approx(fit.outputs["rmse"].tolist(), rel=1e-3)
    best = fit.history.loc[fit.history.groupby("replica")["validation"].idxmin()]
    assert best["epoch"].tolist() == fit.results["best_epoch"].tolist()
    assert best["validation"].tolist() == pytest.approx(fit.results["validation"].tolist(), rel=1e-5)
    assert fit.results["seed"].tolist() == [7, 8]
    assert [path.name for path in draw_fit(fit, data)] == ["losses", "traces"]
    again = fit_runs(data, tmp_path / "fit", "lstm", 3, runs=2, seed=7, config=config, quiet=True)
    pd.testing.assert_frame_equal(again.results, fit.results)
    assert torch.equal(again.model.weight, fit.model.weight)
    with pytest.raises(ValueError, match="holds a fit with hidden 3 instead of 4"):
        fit_runs(data, tmp_path / "fit", "lstm", 4, runs=2, seed=7, config=config, quiet=True)
    with pytest.raises(ValueError, match="holds a fit with waveforms"):
        fit_runs(leaky(seed=1), tmp_path / "fit", "lstm", 3, runs=2, seed=7, config=config, quiet=True)
    kept = json.loads((tmp_path / "fit" / "fit.json").read_text())
    assert kept["seconds"] == pytest.approx(fit.seconds)
    (tmp_path / "fit" / "results.csv").unlink()
    with pytest.raises(ValueError, match="holds no whole fit"):
        fit_runs(data, tmp_path / "fit", "lstm", 3, runs=2, seed=7, config=config, quiet=True)


def test_a_job_is_named_by_its_data() -> None:
    keys = [job.key for jobs in EXPERIMENTS.values() for job in jobs]
    assert len(set(keys)) == len({job for jobs in EXPERIMENTS.values() for job in jobs}) == 10 + 3 + 12 + 6
    assert Job("gru", 4).key == "fcm-0.5ms-gru-4"
