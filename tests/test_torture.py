"""A small part of what scripts/torture.py does at full size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def torture(tmp_path: Path, *arguments: object) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ELEGANS_PYG_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, str(ROOT / "scripts" / "torture.py"), "--folder", str(tmp_path / "work"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_killed_studies_end_like_undisturbed_ones(tmp_path: Path) -> None:
    torture(tmp_path, "--kills", 4, "--inputs", 0, "--studies", "ensemble,train,fit-rnn,reproduce elegans-echo")


@pytest.mark.slow
def test_bad_input_is_refused_in_one_line(tmp_path: Path) -> None:
    torture(tmp_path, "--kills", 0, "--inputs", 40)
