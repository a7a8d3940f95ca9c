"""The commands on structure: analyze, relate, reproduce elegans-structure."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from elegans_pyg import cli, plots
from elegans_pyg.recipes import run as run_module
from elegans_pyg.recipes.structure import SweepConfig
from tests.recipes.tiny import tiny_config
from tests.test_cli import invoke, refused

SWEEP = ("reproduce", "elegans-structure")
SMALL = ("--connectomes", "witvliet2021-1", "--stages", "", "--points", "0,20,100", "--graphs", "2", "--nulls", "19")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, and figures that are not drawn."""

    def save(figure: Figure, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + ".png").touch()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plots, "save", save)
    monkeypatch.setattr(run_module, "draw_figures", lambda *_: [])
    return tmp_path


def test_analyze_takes_names_files_and_runs(place: Path) -> None:
    code, out, err = invoke("analyze", "witvliet2021-1", "--nulls", "19", "--measures", "size,clustering", "--quiet")
    assert (code, err) == (0, "")
    assert re.search(r"clustering +0\.\d+ +0\.\d+ ± \d", out)
    assert "No measure can reach 0.05" in out or "Holm's correction over" in out
    assert "table: runs/analyze-1/measures.parquet" in out
    assert Path("runs/analyze-1/figures/scores.png").is_file()

    run_module.run(tiny_config(place), "run", quiet=True)
    code, out, err = invoke("analyze", "run", "--out", "shape", "--quiet")
    assert (code, err) == (0, "")
    assert "Wirings of run" in out
    assert len(pd.read_parquet("shape/measures.parquet")) == 4

    (place / "own.csv").write_text("pre,post,weight,synapse\nASHL,AVAL,3,chemical\nAVAL,DA1,2,chemical\nASHL,DA1,1,chemical\n")
    code, out, _ = invoke("analyze", "own.csv", "--nulls", "0", "--quiet")
    assert code == 0
    assert re.search(r"nodes +3 +neurons", out)


def test_relate_prints_and_keeps_what_it_finds(place: Path) -> None:
    run_module.run(tiny_config(place, variants=3), "run", quiet=True)
    code, out, err = invoke("relate", "run", "--measures", "size,dag", "--out", "related", "--quiet")
    assert (code, err) == (0, "")
    assert "Accuracy and structure" in out
    assert "Too few wirings: 7, and" in out
    assert "table: related/variants.parquet" in out
    assert {path.name for path in Path("related").iterdir()} == {"variants.parquet", "relation.json", "relation.txt", "figures"}


def test_the_sweep_answers_and_goes_on(place: Path) -> None:
    code, out, err = invoke(*SWEEP, *SMALL, "--workers", "1", "--quiet")
    assert (code, err) == (0, "")
    assert "Claims of ElegansNet (2023), section II-A" in out
    assert "folder: runs/elegans-structure-1\n" in out
    code, out, _ = invoke(*SWEEP, "--resume", "--out", "runs/elegans-structure-1", "--graphs", "3", "--workers", "1", "--quiet")
    assert code == 0
    assert "3 graphs a point, 19 of each null model" in out


def test_help_tells_the_real_defaults() -> None:
    text = " ".join(invoke(*SWEEP, "--help")[1].split())
    assert f"default: {SweepConfig().graphs}" in text
    assert f"default: {SweepConfig().nulls:,}" in text


def test_bad_input_ends_in_one_line(place: Path) -> None:
    (place / "full").mkdir()
    (place / "full" / "file").touch()
    for arguments, message in (
        (("analyze", "cook1986"), "cook2019-hermaphrodite"),
        (("analyze", "none.csv"), "none.csv"),
        (("analyze", "full"), "is no run folder"),
        (("analyze", "witvliet2021-1", "--nulls", "3"), "nulls: expected 0, or at least 19"),
        (("analyze", "witvliet2021-1", "--measures", "sgima", "--nulls", "0", "--quiet"), "sgima"),
        (("analyze", "witvliet2021-1", "--out", "full"), "is not empty"),
        (("relate",), "RUN"),
        (("relate", "none"), "no run folder"),
        ((*SWEEP, "--points", "0,ten"), "points: expected percentages such as 0,10,50,100, got '0,ten'"),
        ((*SWEEP, "--points", "0,50,500"), "percents: expected numbers from 0 to 100"),
        ((*SWEEP, "--connectomes", "cook1986"), "unknown connectome 'cook1986'"),
        ((*SWEEP, "--resume"), "expected --out"),
        ((*SWEEP, "--resume", "--quick", "--out", "full"), "--quick cannot be used with --resume"),
        ((*SWEEP, "--resume", "--out", "full"), "holds no sweep"),
        ((*SWEEP, "--out", "full"), "is not empty"),
    ):
        assert message in refused(*arguments)
    assert not list(place.glob("runs/*"))


def test_ctrl_c_keeps_what_was_measured(place: Path) -> None:
    path = os.pathsep.join([str(Path(cli.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    options = ["--connectomes", "witvliet2021-1", "--stages", "", "--nulls", "100000", "--out", "long run", "--workers", "1"]
    command = [sys.executable, "-m", "elegans_pyg.cli", *SWEEP, *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=place)
    points = place / "long run" / "points"
    deadline = time.monotonic() + 90
    while len(list(points.glob("*.csv"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted; go on with: elegans-pyg reproduce elegans-structure --resume --out 'long run'"
    assert "Traceback" not in err
    assert len(pd.read_csv(points / "witvliet2021-1-rewired-100-null.csv")) >= 20
