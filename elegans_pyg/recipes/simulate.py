"""Simulate the worm's nervous system under one stimulus: voltages and their figures."""

from __future__ import annotations

import json
import warnings
from math import isnan
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

import elegans_pyg as ep
from elegans_pyg._files import read_bounded, sha256
from elegans_pyg._progress import Progress
from elegans_pyg._settings import Name, Names, Settings
from elegans_pyg.studies.settings import OptionalFile
from elegans_pyg.studies.study import Finished, Report, Shard, Study

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

LARGEST_PA = 1e6
VOLTAGES = "voltages.safetensors"
LEAD_MS = 20.0
"""Time before the current that figures show."""


class ShapeSettings(Settings):
    """The shapes of neurons."""

    group: ClassVar[str] = "Shapes of neurons"

    morphology: bool = Field(False, description="Give the neurons of c302-C1 their shape.")
    d_lambda: float | None = Field(
        None, gt=0, description="Longest compartment, as a share of the length constant (default: one compartment per section)."
    )


class WormSettings(ShapeSettings):
    """The nervous system."""

    group: ClassVar[str] = "Nervous system"

    model: Literal["c302-C1", "c302-D1", "kunert"] = Field("c302-C1", description="Membrane model; c302-D1 has neurons with their shape.")
    connectome: Name | None = Field(None, description="Another wiring for these membranes, by name; see info.")
    ablate: Names = Field((), description="Neurons or classes to remove, such as AVB.")


class SimulateSettings(WormSettings):
    """A nervous system and its stimulus."""

    group: ClassVar[str] = "Stimulus"

    inputs: Names = Field(
        ("PLML", "PLMR", "AVBL", "AVBR"), description="Neurons that get the current; with shapes also segments, such as PVDL:7."
    )
    current: float = Field(2.0, ge=-LARGEST_PA, le=LARGEST_PA, description="Current into each of them in pA, flowing from on to off.")
    on: float = Field(100.0, description="When the current starts, in ms.")
    off: float = Field(400.0, description="When it ends, in ms.")
    currents: OptionalFile = Field(
        None,
        description="CSV file of currents in pA, one named column per input and one row per step; replaces the four settings above.",
    )
    dt_ms: float = Field(0.05, ge=1e-6, description="Time step in ms.")
    tolerance: float | None = Field(None, gt=0, description="Largest error in mV; internal steps are made shorter to keep it.")
    duration: float = Field(500.0, gt=0, le=1e9, description="Length of the simulation in ms; ignored with a file of currents.")
    record: Names = Field(("DB1", "LUAL", "PVR", "VB1"), min_length=1, description="Neurons (with shapes also segments) to list and draw.")
    settling: bool = Field(False, description="Also show the time before the current, in which the neurons settle.")

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


class Prepared(NamedTuple):
    """The nervous system without removed neurons, the inputs, their currents ``(T, I)`` in pA, and the neurons or segments to list and
    draw."""

    worm: ep.dynamics.Worm
    inputs: list[str]
    current_pA: Tensor
    recorded: list[str]

    @property
    def places(self) -> list[str]:
        """Where voltages are recorded: all neurons, then the segments that are inputs or recorded."""
        return list(dict.fromkeys([*self.worm.neuron_name, *self.recorded, *self.inputs]))

    @property
    def onset(self) -> int:
        """The first step with a current."""
        return int(self.current_pA.abs().amax(1).ne(0).float().argmax())


def prepare(settings: SimulateSettings) -> Prepared:
    """Prepare the simulation; raises ``ValueError`` for unknown or removed neurons, a duration that is not a whole number of steps or too
    long for the memory, a step that is too long, or a malformed file."""
    shape = (settings.model, settings.morphology, settings.d_lambda or "section")
    worm = ep.dynamics.Worm(*shape)
    if settings.connectome is not None:
        worm = ep.dynamics.Worm.from_connectome(ep.datasets.Connectome(settings.connectome, synapses="both")[0], *shape)
    left = worm.without(settings.ablate) if settings.ablate else worm
    recorded = worm.resolve(settings.record, "record")
    for name in recorded:
        if _neuron(name) not in left.neuron_name:
            raise ValueError(f"record: expected neurons that are left, got {name}, which --ablate removes; leave it out of one of them")
    inputs, current = _stimulus(settings, len(left.neuron_name))
    # Simulating one step raises the errors that the whole simulation would.
    ep.dynamics.simulate(worm, current[None, :1], inputs, settings.dt_ms, settings.dt_ms, ablate=settings.ablate, estimate=False)
    return Prepared(left, inputs, current, recorded)


def _neuron(name: str) -> str:
    """The neuron of a name, which may be one of its segments."""
    return name.partition(":")[0]


def _stimulus(settings: SimulateSettings, neurons: int) -> tuple[list[str], Tensor]:
    """Inputs and currents ``(T, I)`` in pA; raises ``ValueError`` if the simulation does not fit in memory."""
    import torch

    from elegans_pyg.dynamics.simulate import count_steps
    from elegans_pyg.dynamics.waveforms import read_currents
    from elegans_pyg.studies.machine import free_memory

    inputs, current = (list(settings.inputs), None) if settings.currents is None else read_currents(settings.currents)
    steps = count_steps(settings.dt_ms, settings.duration) if current is None else len(current)
    # In single precision: the voltages, their list of steps without Numba, the file's content in memory, and the copy read for the figures.
    needed, free = 4 * steps * (neurons + 4 * len(inputs)) * 4, free_memory()
    if needed > 0.8 * free:
        sizes = f"{steps:,} steps of {neurons} neurons need about {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are free"
        raise ValueError(f"duration: {sizes}; take fewer steps")
    if current is None:
        time_ms, half = torch.arange(steps, dtype=torch.float64) * settings.dt_ms, settings.dt_ms / 2
        flows = (time_ms > settings.on - half) & (time_ms < settings.off - half)
        if not bool(flows.any()):
            times = f"{settings.on:g} to {settings.off:g} ms"
            raise ValueError(f"on: expected at least one step of {settings.dt_ms:g} ms with a current, got {times}; make it longer")
        current = (settings.current * flows.float())[:, None].expand(-1, len(inputs)).contiguous()
    return inputs, current


def simulate_units(settings: SimulateSettings) -> ep.studies.Units:
    """The single unit, after all settings were checked."""
    prepare(settings)
    return ep.studies.Units.build([{"family": settings.model, "wiring_seed": 0, "seed": 0}], [None])


def measure(settings: SimulateSettings, shard: Shard) -> pd.DataFrame:
    """Simulate, and save the voltages of all neurons and of the segments named; the row has the simulation's error estimate in mV."""
    from safetensors.torch import save

    ready = prepare(settings)
    worm, inputs, current, _ = ready
    with Progress(f"Simulating {len(worm.neuron_name)} neurons", 1, quiet=shard.quiet), warnings.catch_warnings():
        # The report states the estimate.
        warnings.simplefilter("ignore", ep.dynamics.StepWarning)
        duration = len(current) * settings.dt_ms
        done = ep.dynamics.simulate(worm, current[None], inputs, settings.dt_ms, duration, ready.places, tolerance_mV=settings.tolerance)
    tensors = {"time_ms": done.time_ms, "voltage_mV": done.voltage_mV[0].contiguous(), "current_pA": current}
    # A single entry, since safetensors writes several in any order, and equal simulations should give equal bytes.
    names = {"neuron_name": ready.places, "inputs": inputs, "membrane": worm.membrane.name}
    shard.write(VOLTAGES, save(tensors, {"worm": json.dumps(names)}))
    return shard.units.assign(error_mV=float(done.error_mV.max()))


def report(done: Finished[SimulateSettings]) -> Report:
    """Report tables and figures, which start shortly before the current."""
    import pandas as pd

    settings, ready = done.settings, prepare(done.settings)
    (tensors,) = done.tensors(VOLTAGES, "time_ms", "voltage_mV", "current_pA")
    worm, column = ready.worm, {name: number for number, name in enumerate(ready.places)}
    columns = {name: tensors["voltage_mV"][:, column[name]] for name in dict.fromkeys([*ready.recorded, *ready.inputs])}
    shown = slice(0 if settings.settling else max(0, ready.onset - round(LEAD_MS / settings.dt_ms)), None)
    table = {"time_ms": tensors["time_ms"], **{f"I_{name}_pA": tensors["current_pA"][:, i] for i, name in enumerate(ready.inputs)}}
    table |= {f"V_{name}_mV": column for name, column in columns.items()}
    time, voltage, current = (tensors[name][shown] for name in ("time_ms", "voltage_mV", "current_pA"))
    recorded, driven = (voltage[:, [column[name] for name in own]] for own in (ready.recorded, ready.inputs))
    # The map, the circuit and the animation show neurons, by the voltages of their somata.
    voltage = voltage[:, : len(worm.neuron_name)]
    into, out = (list(dict.fromkeys(map(_neuron, own))) for own in (ready.inputs, ready.recorded))
    parts = {"driven": into, "recorded": [name for name in out if name not in into]}
    figures = {
        "traces": ep.plots.voltage_traces(time, recorded, ready.recorded, current, ready.inputs, driven),
        "map": ep.plots.voltage_map(time, voltage, worm.data.neuron_type, worm.neuron_name, parts),
        "circuit": ep.plots.scenario_circuit(worm.data, into, out),
    }
    csv = pd.DataFrame({name: column.numpy() for name, column in table.items()}).to_csv(index=False, float_format="%.6g")
    files = {"voltages.csv": csv.encode(), VOLTAGES: (done.shards[0] / VOLTAGES).read_bytes()}
    if movie := ep.plots.body_animation(time, voltage, worm.neuron_name, parts):
        files["figures/body.gif"] = movie
    error = float(done.rows["error_mV"].iloc[0])
    # NaN for neurons with shapes, unless a tolerance is given.
    facts = {} if isnan(error) else {"error_mV": error}
    return Report([_table(settings, ready, tensors["time_ms"], columns)], _notes(settings, ready, error), files, figures, facts)


def _table(settings: SimulateSettings, ready: Prepared, time: Tensor, columns: dict[str, Tensor]) -> object:
    onset, cells = ready.onset, []
    for name, trace in columns.items():
        later = trace[onset:]
        numbers = (trace[max(onset - 1, 0)], later.min(), later.max(), time[onset + int(later.argmax())], trace[-1])
        cells.append((name, "driven" if name in ready.inputs else "", *(f"{float(number):.2f}" for number in numbers)))
    title = f"mV, while the current flows and after it: from {onset * settings.dt_ms:g} to {len(time) * settings.dt_ms:g} ms"
    return ep.studies.make_table(title, ("neuron", "", "just before", "lowest", "highest", "at ms", "at the end"), cells, left=2)


def _notes(settings: SimulateSettings, ready: Prepared, error: float) -> list[str]:
    notes = [f"{ready.worm}, {len(ready.current_pA) * settings.dt_ms:g} ms in steps of {settings.dt_ms:g} ms."]
    if not isnan(error):
        remedy = (
            "" if error <= ep.dynamics.LARGEST_ERROR_MV else f"; --tolerance {ep.dynamics.LARGEST_ERROR_MV / 10:g} makes the steps shorter"
        )
        notes.append(f"The largest error due to the step length is estimated at about {error:.2g} mV{remedy}.")
    if not settings.settling and ready.onset * settings.dt_ms > LEAD_MS:
        notes.append(f"The figures begin {LEAD_MS:g} ms before the current; --settling shows the time before.")
    return [*notes, "voltages.safetensors has the voltages of all neurons, voltages.csv those listed; figures/body.gif is an animation."]


SIMULATE: Study[SimulateSettings] = Study(
    "simulate",
    SimulateSettings,
    simulate_units,
    measure,
    report,
    data=lambda settings: {} if settings.currents is None else {"currents": sha256(read_bounded(settings.currents, "currents"))},
    score="",
    text="Simulate the worm's nervous system under one stimulus: voltages, figures of them, and an animation.",
)
