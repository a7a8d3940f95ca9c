from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from elegans_pyg import cli
from elegans_pyg.dynamics import Worm, simulate

SHORT = ("--duration", "10", "--on", "2", "--off", "8", "--quiet")


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["simulate", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_writes_what_simulate_returns(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "one"
    code, text, error = invoke("--current", "5", "--ablate", "AVA", "--out", out, *SHORT)
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


def test_currents_from_a_file_and_another_wiring(tmp_path: Path) -> None:
    file = tmp_path / "currents.csv"
    file.write_text("ASEL,AVBL\n" + "1,0.5\n" * 20)
    code, text, _ = invoke("--currents", file, "--connectome", "witvliet2021-8", "--record", "AVBL,RIAL", "--model", "kunert", "--quiet")
    assert code == 0
    assert "1 ms at 0.05 ms" in text
    assert "Worm(kunert, 180 neurons" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--inputs", "PLMX"), "error: inputs: expected a neuron of this worm's 302, got 'PLMX'; nearest are"),
        (("--record", "DB99"), "error: record: expected a neuron"),
        (("--model", "hh"), "error: name: expected one of c302-C1, kunert, got 'hh'"),
        (("--ablate", "PLM"), "error: inputs: expected neurons that are left, got PLML, which ablate removes"),
        (("--dt", "0"), "error: dt_ms: expected a finite number of ms above 0"),
    ],
)
def test_mistakes_end_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    code, text, error = invoke(*arguments, "--quiet")
    assert (code, text) == (2, "")
    assert error.startswith(message)
    assert len(error.splitlines()) == 1


def test_refuses_broken_files_and_folders_in_use(tmp_path: Path) -> None:
    file = tmp_path / "currents.csv"
    file.write_text("AVBL,AVBR\n1,2\n3,x\n")
    assert "line 3, got '3,x'" in invoke("--currents", file)[2]
    file.write_text("AVBL\n")
    assert "got 1 lines" in invoke("--currents", file)[2]
    assert invoke("--currents", tmp_path / "none.csv")[0] == 2
    code, _, error = invoke("--out", tmp_path, *SHORT)
    assert code == 2
    assert "out: expected a folder that is new or empty" in error
    assert [path.name for path in tmp_path.iterdir()] == ["currents.csv"]


def test_package_and_help_import_no_simulator() -> None:
    script = "import sys; import elegans_pyg.cli; print([m for m in ('numba', 'elegans_pyg.dynamics', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
