from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from elegans_pyg import dynamics
from elegans_pyg.models import ReducedOrder
from elegans_pyg.recipes import barbulescu
from elegans_pyg.recipes.barbulescu import BARBULESCU, EXPERIMENTS, BarbulescuSettings, waveforms_of
from elegans_pyg.studies import Interrupted, load_run, run_study, unit_seed
from elegans_pyg.studies.tables import to_text
from tests.commands import invoke, refused
from tests.recipes.waves import stop_after, use_leaky

TINY = ("--epochs", "2", "--runs", "2", "--count", "8", "--quiet")


def settings(number: int, **more: Any) -> BarbulescuSettings:
    return BarbulescuSettings(**{"experiment": number, "epochs": 3, "runs": 2, "count": 8, **more})


@pytest.fixture
def leaky_waves(monkeypatch: pytest.MonkeyPatch) -> None:
    use_leaky(monkeypatch)


def test_the_experiments_are_the_papers() -> None:
    models = {number: [(job.cell, job.hidden) for job in jobs] for number, jobs in EXPERIMENTS.items()}
    assert models[1] == [("rnn", 16), ("lstm", 8), ("gru", 8), ("rnn", 64), ("lstm", 32), ("gru", 32)]
    assert models[2] == [("gru", hidden) for hidden in (2, 4, 8, 16, 32, 64)]
    assert [(job.hidden, job.dt_ms) for job in EXPERIMENTS[3]] == [(4, 0.5), (8, 0.5), (4, 0.1), (8, 0.1), (4, 0.1)]
    assert {job.without for job in EXPERIMENTS[4]} == {("AVBL", "AVBR"), ("PLML", "PLMR")}
    assert models[5] == [(cell, hidden) for cell in ("lstm", "gru") for hidden in (8, 16, 32)]
    published, quick = BARBULESCU.make(), BARBULESCU.make(quick=True)
    assert (published.epochs, published.runs, published.count) == (1000, 10, 40)
    assert (quick.epochs, quick.runs, quick.count) == (150, 3, 40)


@pytest.mark.slow
def test_waveforms_of_neurons_with_their_shape(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="takes minutes without")
    chosen = settings(1, morphology=True, count=4, amplitude=10.0)
    shaped = waveforms_of(EXPERIMENTS[1][0], chosen, tmp_path)
    assert shaped.voltage_mV.shape == (4, 1000, 4)
    direct = dynamics.Waveforms(count=4, amplitude_pA=10.0, worm=dynamics.Worm(morphology=True), root=tmp_path)
    assert direct.voltage_mV.equal(shaped.voltage_mV)
    # Outputs that do nothing would teach nothing.
    assert float(shaped.ranges_mV().min()) > 0.5
    assert BARBULESCU.data(chosen) != BARBULESCU.data(settings(1))
    assert BARBULESCU.data(chosen) != BARBULESCU.data(settings(1, morphology=True, d_lambda=0.3))


@pytest.mark.usefixtures("leaky_waves")
@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.drawn), 3, 4, 5])
def test_every_experiment_runs(tmp_path: Path, number: int) -> None:
    result = run_study(BARBULESCU, settings(number), tmp_path / "out", quiet=True)
    jobs, rows = EXPERIMENTS[number], result.results
    assert len(rows) == 2 * len(jobs)
    # All models begin their runs from the same seeds, a shard a model.
    assert rows["seed"].tolist() == [unit_seed(0, "connectome", 0, run) for run in range(2)] * len(jobs)
    assert pd.read_csv(tmp_path / "out" / "units.csv")["shard"].tolist() == [1 + job for job in range(len(jobs)) for _ in range(2)]
    table, outputs = (pd.read_csv(tmp_path / "out" / name) for name in ("models.csv", "outputs.csv"))
    assert (table["runs"] == 2).all()
    for place, (job, row) in enumerate(zip(jobs, table.itertuples(), strict=True)):
        own = rows[(rows["family"] == job.name) & (rows["task"] == job.setting)]
        assert row.test == pytest.approx(own["test"].mean())
        assert row.test_sd == pytest.approx(own["test"].std())
        model = ReducedOrder.load(tmp_path / "out" / "shards" / f"{1 + place:05}")
        assert row.parameters == model.parameters_per_replica()
        each = outputs[outputs["variant"] == own["variant"].iloc[1]]
        assert each["output"].tolist() == model.output_names
        assert (each["family"] == job.name).all()
        assert len(each) == (28 if number == 5 else 4)
    if number == 1:
        assert (table["parameters"] == table["published_parameters"]).all()
    if number == 4:
        assert ReducedOrder.load(tmp_path / "out" / "shards" / "00001").input_names == ["PLML", "PLMR"]
        assert model.input_names == ["AVBL", "AVBR"]
    if number == 5:
        assert len(model.input_names) == 10
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["findings"]
    assert any("3 of 1,000 epochs, 2 of 10 runs" in note for note in summary["notes"])
    assert ("Test RMSE of each output" in to_text(*result.report.tables)) == (number == 4)
    assert [figure.name for figure in result.figures] == {
        1: ["losses", "traces"],
        2: ["losses", "traces", "sizes"],
        3: ["losses-fcm-0.5ms", "traces-fcm-0.5ms", "losses-fcm-0.1ms", "traces-fcm-0.1ms"],
        4: [*(f"{name}-fcm-no-{gone}-0.5ms" for gone in ("AVB", "PLM") for name in ("losses", "traces")), "outputs"],
        5: ["losses", "traces", "outputs"],
    }[number]


@pytest.mark.drawn
@pytest.mark.slow
def test_the_worms_waveforms_of_two_scenarios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = settings(5, count=4, epochs=1, runs=1)
    result = run_study(BARBULESCU, own, tmp_path / "out", quiet=True)
    assert result.results["test"].between(0, 1).all()
    assert all(figure.with_name(f"{figure.name}.png").stat().st_size > 10_000 for figure in result.figures)
    # Simulated once for all shards, and read when the figures are drawn again.
    root = tmp_path / "out" / "shards" / "waveforms"
    assert sorted(path.name.rsplit("ms-", 1)[0] for path in root.iterdir()) == ["waveforms-fcm16-0.5", "waveforms-nictation-0.5"]
    monkeypatch.setattr("elegans_pyg.dynamics.waveforms.simulate", lambda *_, **__: pytest.fail("simulated again"))
    kept = waveforms_of(EXPERIMENTS[5][0], own, root)
    assert (len(kept), len(kept.input_names), len(kept.output_names)) == (8, 10, 28)
    assert len(load_run(tmp_path / "out").redraw()) == 3


@pytest.mark.usefixtures("leaky_waves")
def test_an_interrupted_experiment_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_study(BARBULESCU, settings(3), tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patched:
        stop_after(patched, 9)
        with pytest.raises(Interrupted):
            run_study(BARBULESCU, settings(3), tmp_path / "parts", quiet=True)
    shards = tmp_path / "parts" / "shards"
    assert [(shards / f"{number:05}" / "rows.csv").exists() for number in (1, 2)] == [True, False]
    assert not (tmp_path / "parts" / "results.csv").exists()
    first = (shards / "00001" / "fit.json").stat().st_mtime_ns
    run_study(BARBULESCU, settings(3), tmp_path / "parts", resume=True, quiet=True)
    assert (shards / "00001" / "fit.json").stat().st_mtime_ns == first
    for name in ("results.csv", "models.csv", "outputs.csv", "history.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    with pytest.raises(ValueError, match="resume: experiment is 3 in"):
        run_study(BARBULESCU, settings(2), tmp_path / "parts", resume=True, quiet=True)


@pytest.mark.usefixtures("leaky_waves")
def test_the_command_sets_published_beside_measured(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, text, err = invoke("reproduce", "barbulescu", "--experiment", 1, "--quick", "--out", out, *TINY)
    assert (code, err) == (0, "")
    assert "Experiment 1: RNN, LSTM and GRU of similar size" in " ".join(text.split())
    for count in ("404", "452", "348", "4,676", "4,868", "3,684"):
        assert f" {count} ({count}) " in text
    assert "Shortened: 2 of 1,000 epochs, 2 of 10 runs" in " ".join(text.split())
    assert "The paper finds the plain RNN worst at both sizes" in " ".join(text.split())
    assert f"run folder: {out}" in text
    assert "holds a run already" in refused("reproduce", "barbulescu", "--out", out, "--epochs", 3)
    assert "epochs is 2 in" in refused("reproduce", "barbulescu", "--resume", "--out", out, "--epochs", 3)


@pytest.mark.usefixtures("leaky_waves")
def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        code, text, err = invoke("reproduce", "barbulescu", "--experiment", 3, "--out", out, *TINY)
    assert (code, text) == (130, "")
    assert f"interrupted; resume with: elegans-pyg reproduce barbulescu --resume --out {out}" in err
    assert invoke("reproduce", "barbulescu", "--resume", "--out", out, "--quiet")[0] == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--experiment", 6), "experiment: expected at most 5, got 6"),
        (("--epochs", 0), "epochs: expected at least 1, got 0"),
        (("--runs", 0), "runs: expected at least 1, got 0"),
        (("--seed", -1), "seed: expected at least 0, got -1"),
        (("--count", 3), "count: expected at least 4, got 3"),
        (("--clip-norm", 0), "clip_norm: expected a number above 0, got 0.0"),
        (("--clip-norm", "nan"), "clip_norm: expected a finite number, got nan"),
        (("--count", 10_000_000), "memory: one unit needs about "),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: tuple[object, ...], message: str
) -> None:
    monkeypatch.setattr(dynamics, "Waveforms", lambda *_, **__: pytest.fail("simulated"))
    assert refused("reproduce", "barbulescu", *wrong, "--out", tmp_path / "new").startswith(f"error: {message}")
    assert not (tmp_path / "new").exists()


def verdicts(number: int, rows: list[tuple[str, str, float]], train: list[float] | None = None, outputs: object = None) -> str:
    """The findings on a table of data, model and test RMSE."""
    table = pd.DataFrame(rows, columns=["data", "model", "test"])
    table["hidden"] = table["model"].str.split("-").str[1].astype(int)
    table["train"] = train if train is not None else table["test"]
    return " ".join(barbulescu._FINDINGS[number](table, outputs))


def test_verdicts_follow_the_numbers() -> None:
    cells = ["RNN-16", "LSTM-8", "GRU-8", "RNN-64", "LSTM-32", "GRU-32"]
    worst, not_worst = [0.06, 0.011, 0.007, 0.03, 0.007, 0.006], [0.06, 0.011, 0.007, 0.03, 0.04, 0.006]
    assert "worst at both sizes: confirmed here" in verdicts(1, [("fcm", *pair) for pair in zip(cells, worst, strict=True)])
    assert "worst at both sizes: not confirmed here" in verdicts(1, [("fcm", *pair) for pair in zip(cells, not_worst, strict=True)])
    sizes = [
        ("fcm", f"GRU-{units}", rmse) for units, rmse in zip((2, 4, 8, 16, 32, 64), (0.03, 0.013, 0.01, 0.009, 0.012, 0.02), strict=True)
    ]
    found = verdicts(2, sizes, train=[0.03, 0.013, 0.01, 0.009, 0.008, 0.007])
    assert "smallest test RMSE is that of 16 units" in found
    assert "better in training: confirmed here" in found
    assert "better in training: not confirmed here" in verdicts(2, sizes, train=[0.03, 0.006, 0.01, 0.009, 0.008, 0.007])
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
    assert [line.endswith(": confirmed here.") for line in found[1:4:2]] == [agrees, agrees]
    each = pd.DataFrame({"model": ["GRU-16", "GRU-16"], "output": ["DB1", "RMER"], "rmse": [good, bad]})
    table = [("both", f"{cell}-{size}", good if cell == "GRU" else bad) for cell in ("LSTM", "GRU") for size in (8, 16, 32)]
    found = verdicts(5, table, outputs=each)
    assert ("smaller test RMSE at 8, 16, 32 of" in found) == agrees
    assert f"reproduces {'DB1' if agrees else 'RMER'} best" in found


def test_help_names_the_defaults() -> None:
    text = " ".join(invoke("reproduce", "barbulescu", "--help")[1].replace("│", " ").split())
    assert "3 runs of 150 epochs" in text
    assert "10 runs of 1,000 epochs" in text
    assert "has its own run folder" in text
