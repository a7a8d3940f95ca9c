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
