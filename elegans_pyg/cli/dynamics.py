"""Simulating the living worm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elegans_pyg.cli.app import app, show
from elegans_pyg.cli.options import OutOption, QuietOption

if TYPE_CHECKING:
    from torch import Tensor

    from elegans_pyg.dynamics import Worm

WORM, STIMULUS = "Nervous system", "Stimulus"
LARGEST_PA, LARGEST_GIB = 1e6, 64


@app.command()
def simulate(
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Membranes: c302-C1 or kunert.", rich_help_panel=WORM)] = "c302-C1",
    connectome: Annotated[
        str | None,
        typer.Option("--connectome", metavar="NAME", help="Another wiring for these membranes, by name; see info.", rich_help_panel=WORM),
    ] = None,
    ablate: Annotated[
        str, typer.Option("--ablate", metavar="N,N,...", help="Neurons or classes to remove, such as AVB.", rich_help_panel=WORM)
    ] = "",
    inputs: Annotated[
        str, typer.Option("--inputs", metavar="N,N,...", help="Neurons that the current flows into.", rich_help_panel=STIMULUS)
    ] = "PLML,PLMR,AVBL,AVBR",
    current: Annotated[
        float,
        typer.Option("--current", metavar="PA", help="Size of the current in pA, flowing from --on to --off.", rich_help_panel=STIMULUS),
    ] = 2.0,
    on: Annotated[float, typer.Option("--on", metavar="MS", help="When the current starts.", rich_help_panel=STIMULUS)] = 100.0,
    off: Annotated[float, typer.Option("--off", metavar="MS", help="When it ends.", rich_help_panel=STIMULUS)] = 400.0,
    currents: Annotated[
        Path | None,
        typer.Option(
            "--currents",
            metavar="FILE",
            help="Currents in pA as CSV, a column an input, named by it, and a row a step; in place of the four options above.",
            rich_help_panel=STIMULUS,
        ),
    ] = None,
    dt: Annotated[float, typer.Option("--dt", metavar="MS", help="Step.", rich_help_panel=STIMULUS)] = 0.05,
    duration: Annotated[
        float, typer.Option("--duration", metavar="MS", help="Of the whole; with --currents, its rows decide.", rich_help_panel=STIMULUS)
    ] = 500.0,
    record: Annotated[
        str, typer.Option("--record", metavar="N,N,...", help="Neurons to list and draw.", rich_help_panel=STIMULUS)
    ] = "DB1,LUAL,PVR,VB1",
    out: OutOption = None,
    quiet: QuietOption = False,
) -> None:
    """Simulate the worm's nervous system under one stimulus: voltages, and figures of them.

    With --out, the folder gets voltages.csv (the recorded neurons, a row a step), voltages.safetensors (all neurons) and three figures.
    """
    import sys

    import torch
    from rich.console import Console
    from rich.table import Table

    from elegans_pyg import dynamics
    from elegans_pyg.datasets import Connectome
    from elegans_pyg.dynamics.simulate import count_steps

    worm = dynamics.Worm(model)
    if connectome is not None:
        worm = dynamics.Worm.from_connectome(Connectome(connectome, synapses="both")[0], model)
    removed, recorded = _names(ablate), _names(record)
    left = worm.without(removed) if removed else worm
    if currents is None:
        into = _names(inputs)
        steps = count_steps(dt, duration)
        size = 4 * steps * len(left.neuron_name) / 2**30
        if size > LARGEST_GIB:
            raise ValueError(f"duration: expected at most {LARGEST_GIB} GiB of voltages, got {size:,.0f} GiB; take fewer steps")
        if not -LARGEST_PA <= current <= LARGEST_PA:
            raise ValueError(f"current: expected at most {LARGEST_PA:,.0f} pA, got {current:g}; lower it")
        if not on < min(off, duration):
            raise ValueError(f"on: expected a time before --off ({off:g} ms) and the end ({duration:g} ms), got {on:g}; change one of them")
        time_ms = torch.arange(steps, dtype=torch.float64) * dt
        flows = (time_ms > on - dt / 2) & (time_ms < off - dt / 2)
        stimulus = (current * flows.float())[:, None].expand(-1, len(into))
    else:
        into, stimulus = _read_currents(currents)
        duration = stimulus.size(0) * dt
    for name, neurons in (("inputs", into), ("record", recorded)):
        if not neurons:
            raise ValueError(f"{name}: expected one neuron or more, got none; name some")
    for name in worm.resolve(recorded, "record"):
        if name not in left.neuron_name:
            raise ValueError(f"record: expected neurons that are left, got {name}, which --ablate removes; leave it out of one of them")
    if out is not None and out.parent.exists() and not out.parent.is_dir():
        raise NotADirectoryError(f"out: expected a folder to be in, got the file '{out.parent}'; give another")
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"out: expected a folder that is new or empty, got '{out}'; give another")
    with Console(stderr=True, quiet=quiet or not sys.stderr.isatty()).status(
        f"Simulating {len(left.neuron_name)} neurons for {duration:g} ms"
    ):
        times, voltages = dynamics.simulate(worm, stimulus[None].contiguous(), into, dt, duration, ablate=removed)
    voltage = voltages[0]
    rows = [left.neuron_name.index(name) for name in left.resolve(recorded, "record")]
    # Settling into rest from where every neuron starts is no answer to the current.
    onset = int(stimulus.abs().amax(1).ne(0).float().argmax())
    table = Table(title=f"voltages from {onset * dt:g} ms on, in mV")
    for heading in ("neuron", "then", "lowest", "highest", "at ms", "last"):
        table.add_column(heading, justify="left" if heading == "neuron" else "right")
    for name, row in zip(recorded, rows, strict=True):
        trace = voltage[onset:, row]
        figures = (float(trace[0]), float(trace.min()), float(trace.max()), float(times[onset + int(trace.argmax())]), float(trace[-1]))
        table.add_row(name, *(f"{value:.2f}" for value in figures))
    print(f"{left}, {duration:g} ms at {dt:g} ms")
    show(table)
    if out is not None:
        _write(out, left, times, voltage, rows, stimulus, into)
        print(f"written to {out}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _read_currents(path: Path) -> tuple[list[str], Tensor]:
    """Inputs and currents ``(T, I)`` of a CSV file."""
    import csv

    import torch

    try:
        # Spreadsheets begin UTF-8 with a mark.
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"currents: expected a CSV file, got '{path}', which is none ({error}); export it again") from error
    if len(lines) < 2:
        raise ValueError(f"currents: expected a line of names and a line of numbers a step in '{path}', got {len(lines)} lines; fill it")
    names = [name.strip() for name in lines[0]]
    values = []
    for place, line in enumerate(lines[1:], start=2):
        try:
            numbers = [float(cell) for cell in line]
        except ValueError:
            numbers = []
        if len(numbers) != len(names):
            raise ValueError(f"currents: expected {len(names)} numbers in '{path}', line {place}, got '{','.join(line)[:60]}'; correct it")
        values.append(numbers)
    return names, torch.tensor(values, dtype=torch.float32)


def _write(out: Path, worm: Worm, times: Tensor, voltage: Tensor, rows: list[int], stimulus: Tensor, inputs: list[str]) -> None:
    """Fill a folder beside ``out`` and rename it, so that an interrupted command leaves nothing half written."""
    import json
    import os
    import tempfile

    import pandas as pd
    from safetensors.torch import save as to_bytes

    from elegans_pyg.plots import save, scenario_circuit, voltage_map, voltage_traces

    out.parent.mkdir(parents=True, exist_ok=True)
    recorded = [worm.neuron_name[row] for row in rows]
    with tempfile.TemporaryDirectory(dir=out.parent) as partial:
        folder = Path(partial) / "run"
        folder.mkdir()
        columns = {"time_ms": times.numpy(), **{f"I_{name}_pA": stimulus[:, i].numpy() for i, name in enumerate(inputs)}}
        columns |= {f"V_{name}_mV": voltage[:, row].numpy() for name, row in zip(recorded, rows, strict=True)}
        pd.DataFrame(columns).to_csv(folder / "voltages.csv", index=False, float_format="%.6g")
        tensors = {"time_ms": times, "voltage_mV": voltage.contiguous(), "current_pA": stimulus.contiguous()}
        names = {"neuron_name": json.dumps(worm.neuron_name), "inputs": json.dumps(inputs), "membrane": worm.membrane.name}
        (folder / "voltages.safetensors").write_bytes(to_bytes(tensors, metadata=names))
        save(voltage_traces(times, voltage[:, rows], recorded, stimulus, inputs), folder / "traces")
        save(voltage_map(times, voltage, worm.data.neuron_type), folder / "map")
        save(scenario_circuit(worm.data, inputs, recorded), folder / "circuit")
        if out.is_dir():
            out.rmdir()
        os.replace(folder, out)
