"""The engine ``ray``, on two nodes of this machine that know of nothing but the loopback device."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from elegans_pyg.studies import load_run, run_study
from tests.studies.counting import COUNTING, CountingSettings

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.ray
pytest.importorskip("ray", reason="needs Ray (extra cluster)")


def alone() -> list[str]:
    """A prefix that runs a command in a network of its own, where this machine allows it."""
    for flags in ("-n", "-rn"):
        command = ["unshare", flags, "sh", "-c", 'ip link set lo up && exec "$0" "$@"']
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    pytest.skip("needs unshare and ip, so that Ray can be given a network of its own")


def start(folder: Path, scene: str) -> subprocess.Popen[str]:
    command = [*alone(), sys.executable, "-m", "tests.studies.on_ray", str(folder), scene]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | quiet, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    try:
        out, _ = process.communicate(timeout=180)
    finally:
        kill_group(process)
    assert process.returncode == 0, out
    return out


def kill_group(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.fixture(scope="module")
def expected() -> pd.DataFrame:
    return run_study(COUNTING, CountingSettings(units=2, steps=6, shard_size=1), quiet=True).results


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["worker", "node"])
def test_what_is_lost_runs_again_from_its_checkpoint(tmp_path: Path, scene: str, expected: pd.DataFrame) -> None:
    out = finish(start(tmp_path / "run", scene))
    assert f"killed a {scene}" in out
    pd.testing.assert_frame_equal(load_run(tmp_path / "run", COUNTING).results, expected, check_exact=True)


@pytest.mark.slow
def test_a_killed_driver_is_started_again(tmp_path: Path, expected: pd.DataFrame) -> None:
    process = start(tmp_path / "run", "driver")
    end = time.monotonic() + 120
    while not list((tmp_path / "run").glob("shards/*/state.txt")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    kill_group(process)
    process.communicate()
    assert not load_run(tmp_path / "run", COUNTING).folder.finished()
    finish(start(tmp_path / "run", "none"))
    pd.testing.assert_frame_equal(load_run(tmp_path / "run", COUNTING).results, expected, check_exact=True)
