"""Threads that wait for each other: the command lets them sleep, which GNU OpenMP decides when torch is loaded, and small work has one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from elegans_pyg.dynamics import Worm, integrate, simulate
from tests.dynamics.circuits import five

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


@pytest.mark.parametrize("small", [True, False])
def test_a_small_circuit_is_simulated_on_one_thread_forward_and_backward(monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    seen, step, before = [], integrate.Integrator.step, torch.get_num_threads()

    def watched(*arguments: object) -> object:
        seen.append(torch.get_num_threads())
        if len(seen) > 80:
            raise RuntimeError("enough")
        return step(*arguments)

    monkeypatch.setattr(integrate.Integrator, "step", watched)
    if not small:
        monkeypatch.setattr(integrate, "SMALL", 0)
    torch.set_num_threads(2)
    try:
        current = torch.ones(3, 40, 1, requires_grad=True)
        _, voltage = simulate(Worm.from_connectome(five()), current, ["N0"], 0.05, 2.0, backend="reference", estimate=False)
        voltage.sum().backward()
        assert seen == [1 if small else 2] * 80
        with pytest.raises(RuntimeError, match="enough"):
            simulate(Worm.from_connectome(five()), current, ["N0"], 0.05, 2.0, backend="reference", estimate=False)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
