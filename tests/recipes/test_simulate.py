from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from safetensors import safe_open

from elegans_pyg.dynamics import Worm, simulate
from elegans_pyg.recipes.simulate import SIMULATE, SimulateSettings
from elegans_pyg.studies import load_run, run_study
from tests.commands import invoke, refused
from tests.recipes.undrawn import undrawn

SHORT = ("--duration", "10", "--on", "2", "--off", "8", "--quiet")


@pytest.mark.drawn
@pytest.mark.slow
def test_writes_what_simulate_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, text, error = invoke("simulate", "--current", "5", "--ablate", "AVA", *SHORT)
    assert (code, error) == (0, "")
    assert "Worm(c302-C1, 300 neurons" in text
    assert "LUAL" in text
    assert "run folder: runs/simulate-1" in text
    out = tmp_path / "runs" / "simulate-1"
    figures = [f"{name}.{kind}" for name in ("traces", "map", "circuit") for kind in ("png", "svg")]
    assert sorted(path.name for path in (out / "figures").iterdir()) == sorted(["body.gif", *figures])
    current = torch.zeros(1, 200, 4)
    current[:, 40:160] = 5
    _, expected = simulate(Worm("c302-C1"), current, ["PLML", "PLMR", "AVBL", "AVBR"], duration_ms=10.0, ablate=["AVA"])
    with safe_open(out / "voltages.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("voltage_mV"), expected[0])
        assert torch.equal(file.get_tensor("current_pA"), current[0])
        names = json.loads(file.metadata()["worm"])["neuron_name"]
    table = pd.read_csv(out / "voltages.csv")
    assert len(table) == 200
    for name in ("PVR", "PLML"):
        assert table[f"V_{name}_mV"].to_numpy() == pytest.approx(expected[0, :, names.index(name)].numpy(), abs=1e-3)
    # What the table says of a neuron: just before the current, and from then on.
    trace = expected[0, :, names.index("PVR")]
    row = next(line.split() for line in text.splitlines() if line.strip().startswith("PVR"))
    assert row[1:4] == [f"{float(value):.2f}" for value in (trace[39], trace[40:].min(), trace[40:].max())]
    settings = load_run(out).settings
    assert settings == SimulateSettings(current=5.0, ablate=("AVA",), duration=10.0, on=2.0, off=8.0)


def test_a_killed_simulation_is_resumed_to_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elegans_pyg.plots.body_animation", lambda *_: b"")
    settings = SimulateSettings(duration=10.0, on=2.0, off=8.0, settling=True)
    with undrawn():
        run_study(SIMULATE, settings, tmp_path / "whole", quiet=True)
        with pytest.raises(KeyboardInterrupt):
            run_study(replace(SIMULATE, report=stop), settings, tmp_path / "killed", quiet=True)
        run_study(SIMULATE, settings, tmp_path / "killed", resume=True, quiet=True)
    for name in ("voltages.csv", "voltages.safetensors", "results.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def stop(done: object) -> None:
    raise KeyboardInterrupt


def test_figures_begin_shortly_before_the_current_unless_settling_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []

    def traces(time_ms: torch.Tensor, *others: object) -> Figure:
        shown.append(float(time_ms[0]))
        return Figure()

    monkeypatch.setattr("elegans_pyg.plots.voltage_traces", traces)
    monkeypatch.setattr("elegans_pyg.plots.body_animation", lambda *_: b"")
    for settling in (False, True):
        with undrawn():
            run_study(SIMULATE, SimulateSettings(duration=50.0, on=30.0, off=40.0, settling=settling), quiet=True)
    assert shown == pytest.approx([10.05, 0.05])


@pytest.mark.drawn
def test_currents_from_a_file_and_another_wiring(tmp_path: Path) -> None:
    file = tmp_path / "currents.csv"
    file.write_bytes(b"\xef\xbb\xbfASEL,AVBL\r\n" + b"1,0.5\r\n" * 20)
    others = ("--connectome", "witvliet2021-8", "--record", "AVBL,RIAL", "--model", "kunert", "--quiet", "--out", tmp_path / "out")
    code, text, _ = invoke("simulate", "--currents", file, *others)
    assert code == 0
    assert "1 ms in steps of 0.05 ms" in " ".join(text.split())
    assert "Worm(kunert, 180 neurons" in text


def test_segments_are_driven_and_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}

    def traces(time: object, recorded: torch.Tensor, names: list[str], current: object, inputs: list[str], driven: torch.Tensor) -> Figure:
        drawn.update(dict(zip([*names, *inputs], [*recorded.T, *driven.T], strict=True)))
        return Figure()

    monkeypatch.setattr("elegans_pyg.plots.voltage_traces", traces)
    monkeypatch.setattr("elegans_pyg.plots.body_animation", lambda *_: b"")
    options = {"inputs": ("PLML:17", "AVBL"), "record": ("PLML:45", "PLML"), "on": 0.1, "off": 0.5, "duration": 0.5}
    with undrawn():
        run_study(SIMULATE, SimulateSettings(model="c302-D1", **options), quiet=True)
    current = torch.zeros(1, 10, 2)
    current[:, 2:] = 2
    places = ["PLML:45", "PLML", "PLML:17", "AVBL"]
    _, expected = simulate(Worm("c302-D1"), current, ["PLML:17", "AVBL"], duration_ms=0.5, record=places)
    assert list(drawn) == places
    for name, trace in zip(places, expected[0].T, strict=True):
        torch.testing.assert_close(drawn[name], trace, rtol=0, atol=1e-5)
    assert float((drawn["PLML:17"] - drawn["PLML"]).abs().max()) > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--inputs", "PLMX"), "error: inputs: expected a neuron of this worm's 302, got 'PLMX'; nearest are"),
        (("--inputs", ","), "error: inputs: expected one neuron or more, got none"),
        (("--record", "DB99"), "error: record: expected a neuron"),
        (("--record", ","), "error: record: expected at least 1 values"),
        (("--record", "AVAL", "--ablate", "AVA"), "error: record: expected neurons that are left, got AVAL, which --ablate removes"),
        (("--model", "hh"), 'error: Invalid value "hh" for --model. Choose from: "c302-C1", "c302-D1", "kunert"'),
        (("--connectome", "fly"), "error: name: expected one of cook2019-hermaphrodite, "),
        (("--ablate", "PLM"), "error: inputs: expected neurons that are left, got PLML, which ablate removes"),
        (("--dt-ms", "0"), "error: dt_ms: expected at least 1e-06, got 0.0"),
        (("--dt-ms", "0.3"), "error: duration_ms: expected a whole number of steps of 0.3 ms, got 500.0"),
        (("--current", "1e9"), "error: current: expected at most 1000000, got 1000000000.0"),
        (("--on", "450"), "error: on: expected a time before --off (400 ms) and the end (500 ms), got 450"),
        (
            ("--on", "100.05", "--off", "100.2", "--dt-ms", "0.5"),
            "error: on: expected at least one step of 0.5 ms with a current, got 100.05",
        ),
        (("--duration", "9e8"), "error: duration: 18,000,000,000 steps of 302 neurons need about "),
    ],
)
def test_mistakes_end_in_one_line_and_leave_nothing(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    assert refused("simulate", *arguments, "--out", tmp_path / "out", "--quiet").startswith(message)
    assert not list(tmp_path.iterdir())


def test_refuses_broken_files_and_folders_in_use(tmp_path: Path) -> None:
    file = tmp_path / "currents.csv"
    file.write_text("AVBL,AVBR\n1,2\n3,x\n")
    assert "currents.csv, line 3: expected a number, finite in float32, got 'x'" in refused("simulate", "--currents", file)
    file.write_text("AVBL\n")
    assert "expected lines after the first, got none" in refused("simulate", "--currents", file)
    file.write_bytes(b"AVBL\n\xff\n")
    assert "expected UTF-8 text" in refused("simulate", "--currents", file)
    assert "none.csv" in refused("simulate", "--currents", tmp_path / "none.csv")
    assert "folder" in refused("simulate", "--currents", tmp_path)
    assert "is not empty and holds no run" in refused("simulate", "--out", tmp_path, *SHORT)
    assert "error: out: cannot create" in refused("simulate", "--out", file / "a" / "b", *SHORT)
    assert [path.name for path in tmp_path.iterdir()] == ["currents.csv"]


def test_package_and_help_import_no_simulator() -> None:
    script = "import sys; import elegans_pyg.cli; print([m for m in ('numba', 'elegans_pyg.dynamics', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
