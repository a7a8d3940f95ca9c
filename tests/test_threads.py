"""Threads that wait for each other: the command lets them sleep, which GNU OpenMP decides when torch is loaded, and small work has one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from elegans_pyg._threads import in_threads
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


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_items_are_shared_by_threads_and_results_come_in_order(threads: int) -> None:
    together = threading.Barrier(threads, timeout=10)

    def square(number: int) -> int:
        together.wait()
        return number**2

    assert list(in_threads(square, range(6))) == [number**2 for number in range(6)]
    assert list(in_threads(square, [])) == []


def test_after_an_error_or_when_nobody_asks_waiting_items_are_left(threads: int) -> None:
    begun: list[int] = []

    def slow(number: int) -> int:
        begun.append(number)
        time.sleep(0.01)
        if number == 1:
            raise ValueError("one")
        return number

    with pytest.raises(ValueError, match="one"):
        list(in_threads(slow, range(1000)))
    assert len(begun) < 100
    begun.clear()
    results = in_threads(slow, range(2, 1000))
    assert next(results) == 2
    results.close()  # type: ignore[attr-defined]
    assert len(begun) < 100
