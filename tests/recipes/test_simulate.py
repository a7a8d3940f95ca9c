from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open

from elegans_pyg.dynamics import Worm, simulate
from elegans_pyg.recipes.simulate import SimulateSettings, simulate_worm
from tests.commands import invoke, refused

SHORT = ("--duration", "10", "--on", "2", "--off", "8", "--quiet")


def test_writes_what_simulate_returns(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "one"
    code, text, error = invoke("simulate", "--current", "5", "--ablate", "AVA", "--out", out, *SHORT)
    assert (code, error) == (0, "")
    assert "Worm(c302-C1, 300 neurons" in text
    assert "LUAL" in text
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["voltages.csv", "voltages.safetensors", *(f"{name}.{kind}" for name in ("traces", "map", "circuit") for kind in ("png", "svg"))]
    )
    current = torch.zeros(1, 200, 4)
    current[:, 40:160] = 5
    _, expected = simulate(Worm("c302-C1"), current, ["PLML", "PLMR", "AVBL", "AVBR"], duration_ms=10.0, ablate=["AVA"])
    with safe_open(out / "voltages.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("voltage_mV"), expected[0])
        assert torch.equal(file.get_tensor("current_pA"), current[0])
        names = json.loads(file.metadata()["neuron_name"])
    table = pd.read_csv(out / "voltages.csv")
    assert len(table) == 200
    assert table["V_PVR_mV"].to_numpy() == pytest.approx(expected[0, :, names.index("PVR")].numpy(), abs=1e-3)
    assert list(tmp_path.joinpath("runs").iterdir()) == [out]
    again = simulate_worm(SimulateSettings(current=5.0, ablate=("AVA",), duration=10.0, on=2.0, off=8.0))
    assert torch.equal(again.voltage_mV, expected[0])
    assert again.onset == 40


def test_currents_from_a_file_and_another_wiring(tmp_path: Path) -> None:
    file = tmp_path / "currents.csv"
    file.write_bytes(b"\xef\xbb\xbfASEL,AVBL\r\n" + b"1,0.5\r\n" * 20)
    others = ("--connectome", "witvliet2021-8", "--record", "AVBL,RIAL", "--model", "kunert", "--quiet")
    code, text, _ = invoke("simulate", "--currents", file, *others)
    assert code == 0
    assert "1 ms at 0.05 ms" in text
    assert "Worm(kunert, 180 neurons" in text


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
    assert "out: expected a folder that is new or empty" in refused("simulate", "--out", tmp_path, *SHORT)
    assert "error: out: cannot make a folder in" in refused("simulate", "--out", file / "a" / "b", *SHORT)
    assert [path.name for path in tmp_path.iterdir()] == ["currents.csv"]


def test_package_and_help_import_no_simulator() -> None:
    script = "import sys; import elegans_pyg.cli; print([m for m in ('numba', 'elegans_pyg.dynamics', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
