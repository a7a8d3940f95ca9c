"""Benchmarks of the engine, models and simulator refuse what does not fit into memory, in one line, before they start."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import scripts.memory

RUNS = {
    "bench_dag": (["--variants", ""], "a step of loop, levels, fused"),
    "bench_training": (["--channels", "4"], "a step"),
    "bench_connectome_rnn": ([], "the reference"),
    "bench_reservoir": ([], "all states at once"),
    "bench_simulate": (["--without-neuron"], "the simulation"),
    "bench_cable": (["--without-neuron", "--gradients"], "the simulation"),
}


@pytest.mark.parametrize("name", RUNS)
def test_what_does_not_fit_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options, what = RUNS[name]
    if name == "bench_reservoir":
        pytest.importorskip("reservoirpy", reason="needs reservoirpy (extra dev)")
    monkeypatch.syspath_prepend(str(Path(scripts.memory.__file__).parent))
    monkeypatch.setattr(scripts.memory, "free_memory", lambda device: 2**20)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *options])
    with pytest.raises(SystemExit, match=rf"^{what} needs about [0-9.]+ GiB, and 0\.0 GiB can be had here; use fewer --"):
        importlib.import_module(f"scripts.{name}").main()


def test_what_fits_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts.memory, "free_memory", lambda device: 2**30)
    scripts.memory.refuse_if_too_large("a step", 2**30, "use less")
    with pytest.raises(SystemExit, match=r"^a step needs about 1\.5 GiB, and 1\.0 GiB can be had here; use less$"):
        scripts.memory.refuse_if_too_large("a step", 1.5 * 2**30, "use less")
