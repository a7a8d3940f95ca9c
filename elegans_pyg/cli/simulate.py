"""Simulating the living worm."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from elegans_pyg.cli.app import app
from elegans_pyg.cli.options import QUIET, RUN, given_settings, parameter, settings_options, shape
from elegans_pyg.recipes.simulate import SimulateSettings

TEXT = """Simulate the worm's nervous system under one stimulus: voltages, and figures of them.

    With --out, the folder gets voltages.csv (the recorded neurons, a row a step), voltages.safetensors (all neurons) and three figures."""
OUT = Annotated[Path | None, Parameter(help="Folder for the results, new or empty (default: nothing is written).", group=RUN)]


def simulate(out: Path | None = None, quiet: bool = False, **values: Any) -> None:
    from elegans_pyg.recipes.simulate import simulate_worm
    from elegans_pyg.studies.tables import make_table, show

    settings = SimulateSettings(**given_settings(SimulateSettings, values))
    done = simulate_worm(settings, out, quiet=quiet)
    times, onset = done.time_ms, done.onset
    cells = []
    for name, trace in zip(done.recorded, done.voltage_mV[onset:, done.rows].T, strict=True):
        numbers = (trace[0], trace.min(), trace.max(), times[onset + int(trace.argmax())], trace[-1])
        cells.append((name, *(f"{float(number):.2f}" for number in numbers)))
    print(f"{done.worm}, {len(times) * settings.dt_ms:g} ms at {settings.dt_ms:g} ms")
    title = f"voltages from {onset * settings.dt_ms:g} ms on, in mV"
    show(make_table(title, ("neuron", "then", "lowest", "highest", "at ms", "last"), cells))
    if out is not None:
        print(f"written to {out}")


OPTIONS = settings_options(SimulateSettings, SimulateSettings())
shape(simulate, "simulate", TEXT, [*OPTIONS, parameter("out", OUT, None), parameter("quiet", QUIET, False)])
app.command(simulate)
