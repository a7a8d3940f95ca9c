from __future__ import annotations

import signal
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from elegans_pyg import cli, datasets
from elegans_pyg.datasets import Waveforms
from elegans_pyg.models import ReducedOrder
from elegans_pyg.recipes import barbulescu, barbulescu_figures
from elegans_pyg.training import sequences
from tests.recipes.waves import leaky

TINY = ("--epochs", "2", "--runs", "2", "--quiet")


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def refused(*arguments: object) -> str:
    code, out, err = invoke(*arguments)
    assert (code, out) == (2, ""), (code, out, err)
    (line,) = err.splitlines()
    return line


@pytest.fixture(autouse=True)
def no_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake(Waveforms):
        def __new__(cls, name: str, dt_ms: float, count: int, seed: int, *_: object, **options: object) -> Waveforms:
            return leaky(name, dt_ms, 8, seed, options.get("outputs"))  # type: ignore[arg-type]

        from_files = staticmethod(Waveforms.from_files)

    monkeypatch.setattr(datasets, "Waveforms", Fake)
    monkeypatch.setattr(barbulescu, "Waveforms", Fake)
    monkeypatch.setattr(barbulescu_figures, "save", lambda *_: None)


def test_fit_rnn_prints_and_keeps_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke("fit-rnn", "--cell", "lstm", "--hidden", 3, *TINY)
    assert (code, err) == (0, ""), (out, err)
    assert "LSTM-3" in out
    assert "run folder: runs/fit-rnn-1" in out
    results = pd.read_csv(tmp_path / "runs" / "fit-rnn-1" / "results.csv")
    assert f"{results['test'].mean():.4f}" in out
    model = ReducedOrder.load(tmp_path / "runs" / "fit-rnn-1")
    assert (model.cell, model.hidden, model.replicas) == ("lstm", 3, 2)
    assert f" {model.parameters_per_replica()} " in out
    for name in ("DB1", "LUAL", "PVR", "VB1"):
        assert f"test RMSE of {name}: " in out


def test_fit_rnn_reads_files(tmp_path: Path) -> None:
    for number in range(4):
        rows = [f"{k} {0.001 * k} {-0.06 + 0.001 * k * number} {number}" for k in range(6)]
        (tmp_path / f"Sequence_{number}.dat").write_text("\n".join(rows))
    arguments = ("fit-rnn", "--files", tmp_path, "--inputs", "PLML", "--outputs", "DB1", "--out", tmp_path / "out", *TINY)
    code, out, err = invoke(*arguments)
    assert code == 0, err
    assert ReducedOrder.load(tmp_path / "out").output_names == ["DB1"]
    assert invoke(*arguments)[1] == out
    (tmp_path / "Sequence_2.dat").write_text("0 0 1\n")
    assert "Sequence_2.dat, line 1: expected 4 columns" in refused(*arguments)
    assert refused("fit-rnn", "--files", tmp_path).startswith("error: files: expected --inputs and --outputs")
    assert "holds no .dat file" in refused("fit-rnn", "--files", tmp_path / "out", "--inputs", "A", "--outputs", "B")
    assert refused("fit-rnn", "--inputs", "A").startswith("error: inputs: --inputs and --outputs name the columns of --files")
    assert refused("fit-rnn", "--cell", "esn", "--out", tmp_path / "new").startswith("error: cell: expected one of rnn, lstm, gru")


def test_barbulescu_sets_published_beside_measured(tmp_path: Path) -> None:
    code, out, err = invoke("reproduce", "barbulescu", "--experiment", 1, "--quick", "--out", tmp_path, *TINY)
    assert (code, err) == (0, "")
    assert "Experiment 1: RNN, LSTM and GRU of like size" in out
    for count in ("404", "452", "348", "4,676", "4,868", "3,684"):
        assert f" {count} ({count}) " in out
    assert "Shortened: 2 of 1,000 epochs, 2 of 10 runs" in " ".join(out.split())
    assert f"run folder: {tmp_path}" in out
    assert "holds experiments with" in refused("reproduce", "barbulescu", "--out", tmp_path, "--epochs", 3)
    assert refused("reproduce", "barbulescu", "--experiment", 6, "--out", tmp_path).startswith("error: experiment: expected 1 to 5, got 6")


@pytest.mark.parametrize("command", [("fit-rnn",), ("reproduce", "barbulescu", "--experiment", "3")])
def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    real, stop = sequences._Fit._train_epoch, [True]

    def interrupting(self: sequences._Fit) -> None:
        real(self)
        if stop.pop() if stop else False:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sequences._Fit, "_train_epoch", interrupting)
    code, out, err = invoke(*command, "--out", tmp_path / "run", *TINY)
    assert (code, out) == (130, "")
    assert f"interrupted; go on with: elegans-pyg {command[0]}" in err
    assert str(tmp_path / "run") in err
    assert invoke(*command, "--out", tmp_path / "run", *TINY)[0] == 0


def test_help_names_the_defaults() -> None:
    text = " ".join(invoke("reproduce", "barbulescu", "--help")[1].split())
    assert f"{barbulescu.QUICK.runs} runs of {barbulescu.QUICK.epochs} epochs" in text
    assert "10 runs of 1,000 epochs" in text
    assert "ten GRUs of 4 units" in " ".join(invoke("fit-rnn", "--help")[1].split())
