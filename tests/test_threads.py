"""Threads that wait for each other: the command lets them sleep, which GNU OpenMP decides when torch is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import contextlib, os, sys
from elegans_pyg.cli import main
with contextlib.suppress(SystemExit):
    main(["--help"])
assert "torch" not in sys.modules
print(os.environ["OMP_WAIT_POLICY"])
"""


def policy(**environment: str) -> str:
    without = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment = {**without, "PYTHONPATH": str(Path(__file__).parents[1]), **environment}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def test_waiting_threads_sleep_unless_told_otherwise() -> None:
    assert policy() == "passive"
    assert policy(OMP_WAIT_POLICY="active") == "active"
