"""One simulation of the worm's nervous system under one stimulus, and the folder that it is kept in."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

import elegans_pyg as ep
from elegans_pyg._progress import Progress
from elegans_pyg._settings import Name, Names, Settings
from elegans_pyg.studies.settings import OptionalFile

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_PA = 1e6


class WormSettings(Settings):
    """Which nervous system."""

    group: ClassVar[str] = "Nervous system"

    model: Literal["c302-C1", "c302-D1", "kunert"] = Field("c302-C1", description="Membranes; c302-D1 has neurons with their shape.")
    morphology: bool = Field(False, description="Give the neurons of c302-C1 their shape, too.")
    d_lambda: float | None = Field(
        None, gt=0, description="Longest compartment of a shape, as a share of the length constant (default: a compartment a section)."
    )
    connectome: Name | None = Field(None, description="Another wiring for these membranes, by name; see info.")
    ablate: Names = Field((), description="Neurons or classes to remove, such as AVB.")


class SimulateSettings(WormSettings):
    """A nervous system and what is done to it."""

    group: ClassVar[str] = "Stimulus"

    inputs: Names = Field(("PLML", "PLMR", "AVBL", "AVBR"), description="Neurons that the current flows into.")
    current: float = Field(2.0, ge=-LARGEST_PA, le=LARGEST_PA, description="Size of the current in pA, flowing from on to off.")
    on: float = Field(100.0, description="When the current starts, in ms.")
    off: float = Field(400.0, description="When it ends, in ms.")
    currents: OptionalFile = Field(
        None,
        description="CSV file of currents in pA, a column an input, named by it, and a row a step; in place of the four settings above.",
    )
    dt_ms: float = Field(0.05, ge=1e-6, description="Step in ms.")
    duration: float = Field(500.0, gt=0, le=1e9, description="Of the whole, in ms; with a file of currents, its rows decide.")
    record: Names = Field(("DB1", "LUAL", "PVR", "VB1"), min_length=1, description="Neurons to list and draw.")

    @model_validator(mode="after")
    def _something_flows(self) -> SimulateSettings:
        if self.currents is not None:
            return self
        if not self.inputs:
            raise ValueError("inputs: expected one neuron or more, got none; name some")
        if not self.on < min(self.off, self.duration):
            ends = f"--off ({self.off:g} ms) and the end ({self.duration:g} ms)"
            raise ValueError(f"on: expected a time before {ends}, got {self.on:g}; change one of them")
        return self


@dataclass(frozen=True)
class Simulated:
    """What came out: the nervous system without the neurons that were removed, times ``(T,)``, voltages of all its neurons ``(T, N)``,
    currents ``(T, I)`` into ``inputs``, and the names of the neurons to list and draw."""

    worm: ep.dynamics.Worm
    time_ms: Tensor
    voltage_mV: Tensor
    current_pA: Tensor
    inputs: list[str]
    recorded: list[str]

    @property
    def rows(self) -> list[int]:
        """Positions of the recorded neurons."""
        return [self.worm.neuron_name.index(name) for name in self.recorded]

    @property
    def onset(self) -> int:
        """The first step with a current: settling into rest from where every neuron starts is no answer to it."""
        return int(self.current_pA.abs().amax(1).ne(0).float().argmax())


def simulate_worm(settings: SimulateSettings, out: str | Path | None = None, *, quiet: bool = False) -> Simulated:
    """Simulate, and with ``out`` write ``voltages.csv`` (recorded neurons, a row a step), ``voltages.safetensors`` (all neurons) and three
    figures, all of them or nothing.

    Args:
        settings: nervous system and stimulus.
        out: folder, new or empty.
        quiet: show no progress.

    Raises:
        ValueError: for unknown or removed neurons, a duration that is no whole number of steps or too long for the memory, or a wrong file.
        FileExistsError: if ``out`` holds something.
        OSError: if a file cannot be read or written.
    """
    out = None if out is None else Path(out).expanduser()
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"out: expected a folder that is new or empty, got '{out}'; give another")
    shape = (settings.model, settings.morphology, settings.d_lambda or "section")
    worm = ep.dynamics.Worm(*shape)
    if settings.connectome is not None:
        worm = ep.dynamics.Worm.from_connectome(ep.datasets.Connectome(settings.connectome, synapses="both")[0], *shape)
    left = worm.without(settings.ablate) if settings.ablate else worm
    recorded = worm.resolve(settings.record, "record")
    for name in recorded:
        if name not in left.neuron_name:
            raise ValueError(f"record: expected neurons that are left, got {name}, which --ablate removes; leave it out of one of them")
    neurons = len(left.neuron_name)
    inputs, current = _stimulus(settings, neurons, writes=out is not None)
    duration = settings.duration if settings.currents is None else len(current) * settings.dt_ms
    with Progress(f"Simulating {neurons} neurons for {duration:g} ms", 1, quiet=quiet):
        times, voltage = ep.dynamics.simulate(worm, current[None], inputs, settings.dt_ms, duration, ablate=settings.ablate)
    simulated = Simulated(left, times, voltage[0], current, inputs, recorded)
    if out is not None:
        _write(out, simulated)
    return simulated


def _stimulus(settings: SimulateSettings, neurons: int, writes: bool) -> tuple[list[str], Tensor]:
    """Inputs and currents ``(T, I)``, once it is known that all that follows from them fits in memory."""
    import torch

    from elegans_pyg.dynamics.simulate import count_steps
    from elegans_pyg.dynamics.waveforms import read_currents
    from elegans_pyg.studies.machine import free_memory

    inputs, current = (list(settings.inputs), None) if settings.currents is None else read_currents(settings.currents)
    steps = count_steps(settings.dt_ms, settings.duration) if current is None else len(current)
    # In single precision, and twice, since without Numba the steps are stacked at the end; a file is made in memory before it is written.
    needed, free = 4 * steps * (neurons + 4 * len(inputs)) * (3 if writes else 2), free_memory()
    if needed > 0.8 * free:
        sizes = f"{steps:,} steps of {neurons} neurons need about {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are free"
        raise ValueError(f"duration: {sizes}; take fewer steps")
    if current is None:
        time_ms, half = torch.arange(steps, dtype=torch.float64) * settings.dt_ms, settings.dt_ms / 2
        flows = (time_ms > settings.on - half) & (time_ms < settings.off - half)
        current = (settings.current * flows.float())[:, None].expand(-1, len(inputs)).contiguous()
    return inputs, current


def _write(out: Path, done: Simulated) -> None:
    """Fill a folder beside ``out`` and rename it, so that an interrupted command leaves nothing half written."""
    import pandas as pd
    from safetensors.torch import save

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"out: cannot make a folder in {out.parent} ({error.strerror}); give another") from error
    with tempfile.TemporaryDirectory(dir=out.parent) as partial:
        folder = Path(partial) / "run"
        folder.mkdir()
        recorded = done.voltage_mV[:, done.rows]
        columns = {"time_ms": done.time_ms, **{f"I_{name}_pA": done.current_pA[:, i] for i, name in enumerate(done.inputs)}}
        columns |= {f"V_{name}_mV": recorded[:, i] for i, name in enumerate(done.recorded)}
        table = pd.DataFrame({name: column.numpy() for name, column in columns.items()})
        table.to_csv(folder / "voltages.csv", index=False, float_format="%.6g")
        tensors = {"time_ms": done.time_ms, "voltage_mV": done.voltage_mV.contiguous(), "current_pA": done.current_pA}
        names = {"neuron_name": json.dumps(done.worm.neuron_name), "inputs": json.dumps(done.inputs), "membrane": done.worm.membrane.name}
        (folder / "voltages.safetensors").write_bytes(save(tensors, names))
        ep.plots.save(ep.plots.voltage_traces(done.time_ms, recorded, done.recorded, done.current_pA, done.inputs), folder / "traces")
        ep.plots.save(ep.plots.voltage_map(done.time_ms, done.voltage_mV, done.worm.data.neuron_type), folder / "map")
        ep.plots.save(ep.plots.scenario_circuit(done.worm.data, done.inputs, done.recorded), folder / "circuit")
        if out.is_dir():
            out.rmdir()
        os.replace(folder, out)
