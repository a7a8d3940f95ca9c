from __future__ import annotations

import json
import re
import time
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from elegans_pyg import dynamics, studies
from elegans_pyg.dynamics import SCENARIOS, Waveforms
from elegans_pyg.models import ReducedOrder
from elegans_pyg.nn.recurrent import CELLS
from elegans_pyg.recipes import fit_rnn
from elegans_pyg.recipes.fit_rnn import FIT_RNN, FitRnnSettings, fit_rnn_memory, fit_rnn_units
from elegans_pyg.studies import Interrupted, load_run, run_study, unit_seed
from elegans_pyg.studies.shards import split
from elegans_pyg.training import SequenceSettings, fit
from elegans_pyg.training.data import FitData
from elegans_pyg.training.objective import SequenceRegression, replica_rmse
from tests.commands import invoke, refused, start
from tests.recipes.waves import leaky, stop_after, use_leaky

TINY = ("--count", "8", "--epochs", "2", "--runs", "2", "--quiet")


def settings(**more: Any) -> FitRnnSettings:
    chosen = {"cell": "lstm", "hidden": 3, "runs": 2, "count": 8, "seed": 7, "training": SequenceSettings(epochs=4)}
    return FitRnnSettings(**{**chosen, **more})


@pytest.fixture
def leaky_waves(monkeypatch: pytest.MonkeyPatch) -> None:
    use_leaky(monkeypatch)


@pytest.fixture
def no_waves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamics, "Waveforms", lambda *_, **__: pytest.fail("simulated"))


@pytest.mark.drawn
@pytest.mark.slow
def test_the_worms_waveforms_are_fitted_and_kept_whole(tmp_path: Path) -> None:
    result = run_study(FIT_RNN, settings(), tmp_path / "run", quiet=True)
    rows, data = result.results, Waveforms("fcm", 0.5, 8, 7)
    seeds = [unit_seed(7, "connectome", 0, run) for run in range(2)]
    assert rows["seed"].tolist() == seeds
    assert rows["family"].tolist() == ["LSTM-3"] * 2
    assert "seconds" not in rows

    # The same as by the library's own functions.
    model = ReducedOrder("lstm", data.input_names, data.output_names, 3, 2, seeds)
    model.set_scaling(*data.scaling())
    parts = FitData("fcm", data.scaled("train"), data.scaled("test"), data.scaled("validation"))
    found = fit(model, parts, SequenceSettings(epochs=4).fit_settings("lstm", 4), objective=SequenceRegression(), quiet=True)
    with torch.no_grad():
        for name in ("train", "validation", "test"):
            inputs, targets = data.scaled(name)
            assert rows[name].tolist() == pytest.approx(replica_rmse(model(inputs), targets).tolist(), rel=1e-6)
    assert rows["best_epoch"].tolist() == found.tested_at.tolist()
    assert rows["test"].tolist() == pytest.approx(found.results["rmse"].tolist(), rel=1e-6)
    assert rows["parameters"].tolist() == [model.parameters_per_replica()] * 2

    shard = tmp_path / "run" / "shards" / "00001"
    outputs, history = (pd.read_csv(tmp_path / "run" / f"{name}.csv") for name in ("outputs", "history"))
    for folder in (tmp_path / "run", shard):
        loaded = ReducedOrder.load(folder)
        assert torch.equal(loaded.weight, model.weight)
    chosen = data.indices("test")
    in_mV = (loaded.predict_mV(data.current_pA[chosen]) - data.voltage_mV[chosen]).square().mean((1, 2)).sqrt()
    assert in_mV.flatten().tolist() == pytest.approx(outputs["rmse_mV"].tolist(), rel=1e-3)
    assert (in_mV / data.ranges_mV()).flatten().tolist() == pytest.approx(outputs["rmse"].tolist(), rel=1e-3)
    assert outputs["output"].tolist() == data.output_names * 2
    assert outputs["seed"].tolist() == [seed for seed in seeds for _ in data.output_names]
    best = history.loc[history.groupby("variant")["validation"].idxmin()]
    assert best["epoch"].tolist() == rows["best_epoch"].tolist()
    assert best["validation"].tolist() == pytest.approx(rows["validation"].tolist(), rel=1e-5)
    assert json.loads((shard / "model.json").read_text())["notes"] == {
        "dt_ms": 0.5,
        "scenario": "fcm",
        "waveforms": fit_rnn.waveform_hash(data),
    }
    assert [figure.name for figure in result.figures] == ["losses", "traces"]
    assert all(figure.with_name(f"{figure.name}.png").stat().st_size > 10_000 for figure in result.figures)
    assert [path.name for path in load_run(tmp_path / "run").redraw()] == ["losses", "traces"]
    kept = list((tmp_path / "run" / "shards" / "waveforms").iterdir())
    assert [path.name.startswith("waveforms-fcm-0.5ms-") for path in kept] == [True]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    run, checkpoint = tmp_path / "parts", tmp_path / "parts" / "shards" / "00001" / "checkpoint"
    chosen = ("--count", 4, "--epochs", 300, "--runs", 2, "--checkpoint-every", 30)
    with start("fit-rnn", "--out", run, *chosen, "--quiet", folder=tmp_path) as process:
        while not checkpoint.is_dir():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert not (run / "shards" / "00001" / "rows.csv").exists()
    with start("fit-rnn", "--resume", "--out", run, "--quiet", folder=tmp_path) as process:
        assert process.wait() == 0
    with start("fit-rnn", "--out", tmp_path / "whole", *chosen, "--quiet", folder=tmp_path) as process:
        assert process.wait() == 0
    for name in ("results.csv", "history.csv", "outputs.csv", "model.safetensors", "figures/traces.png"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.usefixtures("leaky_waves")
@pytest.mark.parametrize("steps", [2, 5])
def test_an_interrupted_run_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    run_study(FIT_RNN, settings(), tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patched:
        stop_after(patched, steps)
        with pytest.raises(Interrupted if steps < 5 else KeyboardInterrupt):
            run_study(FIT_RNN, settings(), tmp_path / "parts", quiet=True)
    assert not (tmp_path / "parts" / "results.csv").exists()
    run_study(FIT_RNN, settings(), tmp_path / "parts", resume=True, quiet=True)
    for name in ("results.csv", "history.csv", "outputs.csv", "model.safetensors", "model.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    with pytest.raises(ValueError, match="resume: hidden is 3 in"):
        run_study(FIT_RNN, settings(hidden=4), tmp_path / "parts", resume=True, quiet=True)


@pytest.mark.usefixtures("leaky_waves")
def test_runs_in_shards_of_their_own_end_the_same(tmp_path: Path) -> None:
    together = run_study(FIT_RNN, settings(), tmp_path / "together", quiet=True)
    apart = run_study(FIT_RNN, settings(), tmp_path / "apart", shards=2, quiet=True)
    pd.testing.assert_frame_equal(apart.results, together.results)
    for name in ("history.csv", "outputs.csv"):
        rows = [pd.read_csv(tmp_path / run / name) for run in ("together", "apart")]
        rows = [table.sort_values(list(table.columns[:2]), ignore_index=True) for table in rows]
        pd.testing.assert_frame_equal(rows[1], rows[0])


@pytest.mark.usefixtures("leaky_waves")
def test_an_output_that_never_moves_has_no_range_to_be_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    data = leaky()
    data.voltage_mV[..., 0] = -58
    monkeypatch.setattr(dynamics, "Waveforms", lambda *_, **__: data)
    result = run_study(FIT_RNN, settings(runs=1), quiet=True)
    assert result.report.files["outputs.csv"]["rmse"].isna().tolist() == [True, False, False, False]


@pytest.mark.usefixtures("leaky_waves")
def test_a_stopped_run_counts_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = studies.fit_shard

    def stopped(*arguments: Any) -> Any:
        return replace(fit(*arguments), stopped={0: "its loss is not finite"})

    monkeypatch.setattr(studies, "fit_shard", stopped, raising=False)
    report = run_study(FIT_RNN, settings(runs=2), quiet=True).report
    outputs = report.files["outputs.csv"].set_index("variant")
    assert outputs.loc[0, ["rmse", "rmse_mV"]].isna().all(axis=None)
    assert outputs.loc[1, ["rmse", "rmse_mV"]].notna().all(axis=None)
    assert report.answer[0].startswith("Mean over 1 runs: test RMSE of ")


@pytest.mark.usefixtures("leaky_waves")
def test_a_damaged_model_is_not_drawn(tmp_path: Path) -> None:
    run_study(FIT_RNN, settings(), tmp_path / "run", quiet=True)
    path = tmp_path / "run" / "shards" / "00001" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"00001 does not hold a complete model .*another sha256"):
        load_run(tmp_path / "run").redraw()


@pytest.mark.drawn
@pytest.mark.usefixtures("leaky_waves")
def test_the_command_prints_and_keeps_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke("fit-rnn", "--cell", "lstm", "--hidden", 3, *TINY)
    assert (code, err) == (0, ""), (out, err)
    assert "run folder: runs/fit-rnn-1" in out
    results = pd.read_csv(tmp_path / "runs" / "fit-rnn-1" / "results.csv")
    assert f"{results['test'].mean():.4f}" in out
    model = ReducedOrder.load(tmp_path / "runs" / "fit-rnn-1")
    assert (model.cell, model.hidden, model.replicas) == ("lstm", 3, 2)
    assert re.search(rf"LSTM-3 +{model.parameters_per_replica()} ", out)
    for name in ("DB1", "LUAL", "PVR", "VB1"):
        assert f"test RMSE of {name}: " in out
    assert "fcm" in (tmp_path / "runs" / "fit-rnn-1" / "config.yaml").read_text()
    assert "holds a run already" in refused("fit-rnn", "--out", tmp_path / "runs" / "fit-rnn-1", *TINY)


@pytest.mark.usefixtures("leaky_waves")
def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        code, text, err = invoke("fit-rnn", "--out", out, *TINY)
    assert (code, text) == (130, "")
    assert f"interrupted; resume with: elegans-pyg fit-rnn --resume --out {out}" in err
    assert invoke("fit-rnn", "--resume", "--out", out, "--quiet")[0] == 0


def test_files_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    for number in range(4):
        rows = [f"{k} {0.001 * k} {-0.06 + 0.001 * k * number} {number}" for k in range(6)]
        (tmp_path / "files" / f"Sequence_{number}.dat").write_text("\n".join(rows))
    columns = ("--inputs", "PLML", "--outputs", "DB1")
    arguments = ("fit-rnn", "--files", tmp_path / "files", *columns, *TINY)
    code, _, err = invoke(*arguments, "--out", tmp_path / "out")
    assert code == 0, err
    assert ReducedOrder.load(tmp_path / "out").output_names == ["DB1"]
    (tmp_path / "files" / "Sequence_2.dat").write_text("\n".join(f"{k} {0.001 * k} -0.06 1" for k in range(6)))
    assert "Sequence_2" not in refused(*arguments, "--out", tmp_path / "out")
    code, _, err = invoke("fit-rnn", "--resume", "--out", tmp_path / "out", "--quiet")
    assert code == 0, err
    (tmp_path / "files" / "Sequence_2.dat").write_text("0 0 1\n")
    assert "Sequence_2.dat, line 1: expected 4 columns" in refused(*arguments, "--out", tmp_path / "new")
    assert "holds no .dat file" in refused("fit-rnn", "--files", tmp_path / "out", *columns, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_files_that_were_changed_are_no_longer_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        rows = [f"{k} {0.001 * k} {-0.06 + 0.001 * k * number} {number}" for k in range(6)]
        (tmp_path / f"Sequence_{number}.dat").write_text("\n".join(rows))
    own = settings(files=str(tmp_path), inputs=("PLML",), outputs=("DB1",))
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        with pytest.raises(Interrupted):
            run_study(FIT_RNN, own, tmp_path / "run", quiet=True)
    (tmp_path / "Sequence_2.dat").write_text("\n".join(f"{k} {0.001 * k} -0.06 1" for k in range(6)))
    with pytest.raises(ValueError, match=r"resume: the images or other data of .* have changed since its run started"):
        run_study(FIT_RNN, own, tmp_path / "run", resume=True, quiet=True)


@pytest.mark.usefixtures("no_waves")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cell", "nope"), 'error: Invalid value "nope" for --cell. Choose from: "rnn", "lstm", "gru"'),
        (("--scenario", "nope"), 'error: Invalid value "nope" for --scenario'),
        (("--hidden", 0), "error: hidden: expected at least 1, got 0"),
        (("--runs", 0), "error: runs: expected at least 1, got 0"),
        (("--count", 3), "error: count: expected at least 4, got 3"),
        (("--seed", -1), "error: seed: expected at least 0, got -1"),
        (("--amplitude", 0), "error: amplitude: expected a number above 0"),
        (("--epochs", 0), "error: epochs: expected at least 1, got 0"),
        (("--clip-norm", 0), "error: clip_norm: expected a number above 0"),
        (("--learning-rate", "nan"), "error: learning_rate: expected a finite number"),
        (("--dt-ms", 0.3), "error: dt_ms: expected a multiple of 0.05 ms that divides 500 ms, got 0.3"),
        (("--inputs", "A"), "error: inputs: --inputs and --outputs name the columns of --files"),
        (("--files", "."), "error: files: expected --inputs and --outputs"),
        (("--hidden", 100_000), "error: memory: one unit needs about 1,643.0 GiB"),
        (("--count", 10_000_000), "error: memory: one unit needs about "),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_simulated(tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    line = refused("fit-rnn", *arguments, "--out", tmp_path / "new", "--quiet")
    assert line.startswith(message)
    assert not (tmp_path / "new").exists()


def test_more_runs_than_fit_in_memory_are_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    own = settings(runs=50)
    memory = fit_rnn_memory(own, fit_rnn_units(own))
    monkeypatch.setattr("elegans_pyg.studies.machine.free_memory", lambda device: int((memory.fixed + 20.5 * memory.unit) / 0.8))
    assert split(FIT_RNN, own, fit_rnn_units(own)).tolist() == [1] * 20 + [2] * 20 + [3] * 10


def test_choices_and_help_are_those_of_the_library() -> None:
    fields = FitRnnSettings.model_fields
    assert typing.get_args(fields["scenario"].annotation) == tuple(SCENARIOS)
    assert typing.get_args(fields["cell"].annotation) == CELLS
    text = " ".join(invoke("fit-rnn", "--help")[1].split())
    assert "ten GRUs of 4 units" in text
    assert "[1000]" in text
