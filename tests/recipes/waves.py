"""Waveforms that take no simulation: leaky neurons that follow the sums of their inputs; and a stop in the middle of a fit."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import torch

from elegans_pyg import dynamics, plots
from elegans_pyg.dynamics import Waveforms
from elegans_pyg.dynamics.scenarios import SCENARIOS
from elegans_pyg.dynamics.stimuli import stimuli
from elegans_pyg.models import ReducedOrder


def leaky(name: str = "fcm", dt_ms: float = 0.5, count: int = 8, seed: int = 0, outputs: list[str] | None = None) -> Waveforms:
    """As many inputs and outputs as the scenario has, 25 samples."""
    chosen = SCENARIOS[name]
    kinds = (
        (["step", "ramp", "pulse train", "sum"] * count)[: count // 2]
        + ["pulse", "sine"] * (count // 8)
        + ["chirp", "noise"] * (count // 8)
    )
    current = stimuli(chosen.groups, kinds, 20 * dt_ms, 500 * dt_ms, 2.0, seed).current_pA.float()
    names = list(chosen.outputs if outputs is None else outputs)
    mix = torch.rand(current.size(2), len(names), generator=torch.Generator().manual_seed(1))
    voltage, rows = torch.zeros(count, len(names)), []
    for step in current.unbind(1):
        voltage = voltage + 0.3 * (torch.tanh(step @ mix) - voltage)
        rows.append(voltage)
    made = Waveforms.__new__(Waveforms)
    made.scenario, made.dt_ms, made.kind = name, dt_ms, kinds
    made.current_pA, made.voltage_mV = current, torch.stack(rows, 1) * 5 - 60
    made.time_ms = torch.arange(1, current.size(1) + 1, dtype=torch.float64) * dt_ms
    made.input_names, made.output_names = chosen.input_names, names
    made.split = ["train"] * (count // 2) + ["validation"] * (count // 4) + ["test"] * (count // 4)
    return made


def use_leaky(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take these for simulated ones, and draw figures without writing them, which takes most of a short run's time."""

    class Fake(Waveforms):
        def __new__(cls, name: str, dt_ms: float, count: int, seed: int, *_: object, **options: object) -> Waveforms:
            return leaky(name, dt_ms, 8, seed, options.get("outputs"))  # type: ignore[arg-type]

        from_files = staticmethod(Waveforms.from_files)

    monkeypatch.setattr(dynamics, "Waveforms", Fake)
    monkeypatch.setattr(plots, "save", lambda figure, path: None)


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Ctrl-C while a model computes for that time."""
    real, calls = ReducedOrder.forward, []

    def forward(self: ReducedOrder, *rest: Any, **more: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == steps:
            signal.raise_signal(signal.SIGINT)
        return real(self, *rest, **more)

    monkeypatch.setattr(ReducedOrder, "forward", forward)
