#!/usr/bin/env python3
"""Times simulating c302-D1, whose neurons have their shape, against NEURON and Jaxley on the same compartments, and prints the ratios.

    python scripts/bench_cable.py                               # one compartment per section, 40 stimuli and one, and NEURON on one
    python scripts/bench_cable.py --d-lambda 0.3 --stimuli 1
    python scripts/bench_cable.py --without-neuron --gradients  # ours alone, with a gradient of 50 ms
    python scripts/bench_cable.py --without-neuron --duration 100 --jaxley-python PYTHON     # extra jaxley

NEURON takes stimuli one after another, so that it is timed on one of every round and multiplied by their number, as in
scripts/bench_simulate.py: contenders take turns, medians over the rounds, neither building the network nor compiling the kernels counted.
NEURON runs on one core; with ``--neurons-cores 2`` its time is halved, as if stimuli were shared out without loss. So is Jaxley's,
which is then kept to one core; with ``--neurons-cores 1`` it takes the cores that it wants. Its compilation is not counted: its stimuli are
simulated together by ``jax.vmap``, in single precision, by implicit Euler steps with the solver
that it takes on a CPU by default. Its cells have our compartments, membrane, axial resistances, channels, calcium, synapses and gap
junctions. It is timed on the first ``--jaxley-ms`` and its time multiplied, since all steps take as long and its setup is not counted; what
ours takes besides its steps is counted. Before anything is timed, the potentials of its uncoupled cells, all 302 driven, must agree with
ours at small steps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_simulate import INPUTS, stimuli

sys.path.insert(0, str(Path(__file__).parent.parent))

from elegans_pyg._files import data_folder
from elegans_pyg.dynamics import Worm, simulate, simulate_neuron
from elegans_pyg.wirings import ELECTRICAL
from scripts.memory import refuse_if_too_large

CHECK_DT_MS, CHECK_MS = 0.005, 10.0
RMS_MV, LARGEST_MV = 0.05, 1.0
"""By how much Jaxley's potentials may differ from ours, over all somata and steps of the check."""


class Jaxley:
    """Jaxley in a process of its own with the cells and synapses of a worm, kept to one core if it is to share ``cores``."""

    def __init__(self, worm: Worm, currents: list[torch.Tensor], dt_ms: float, python: str, cores: int) -> None:
        self.steps = currents[0].size(1)
        levels = 20 * torch.rand(1, 4, len(worm.neuron_name), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        check = levels.repeat_interleave(round(CHECK_MS / CHECK_DT_MS) // 4, dim=1)
        with tempfile.TemporaryDirectory() as work:
            job, result = Path(work) / "job.npz", Path(work) / "result.npz"
            batches = {f"current_pA_{k}": current.numpy() for k, current in enumerate(currents)}
            inputs = [worm.neuron_name.index(name) for name in INPUTS]
            steps = {"dt_ms": dt_ms, "check_dt_ms": CHECK_DT_MS, "check_current_pA": check.numpy(), "batches": len(currents)}
            np.savez(job, **tables(worm), **batches, **steps, inputs=inputs)
            command = [python, Path(__file__).with_name("jaxley_worker.py"), data_folder("biophysics") / "c302-D1.json", job, result]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            if cores > 1:
                os.sched_setaffinity(self.process.pid, {min(os.sched_getaffinity(0))})
            self._answer()
            found = dict(np.load(result))
        setup = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in json.loads(str(found["setup"])).items())
        print(f"Jaxley's setup, not counted: {setup}")
        none, whole = torch.tensor(0.0), torch.tensor(1.0)
        alone = worm.scaled(none, none, none, whole)
        expected = simulate(alone, check, alone.neuron_name, CHECK_DT_MS, CHECK_MS).voltage_mV.numpy()
        largest, rms = self._differences("uncoupled cells", expected, found["uncoupled_mV"], CHECK_DT_MS)
        if not (largest <= LARGEST_MV and rms <= RMS_MV):
            raise SystemExit(f"expected at most {RMS_MV} mV in root mean square and {LARGEST_MV} mV; the ratios would mean nothing")
        expected = simulate(worm, currents[-1], INPUTS, dt_ms, currents[-1].size(1) * dt_ms).voltage_mV.numpy()
        self._differences("the network, not checked", expected, found["coupled_mV"], dt_ms)

    def _answer(self) -> str:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline().strip()):
            raise SystemExit(f"Jaxley's process ended with exit code {self.process.wait()}; its last lines say why")
        return line

    @staticmethod
    def _differences(what: str, ours: Any, theirs: Any, dt_ms: float) -> tuple[float, float]:
        error = np.abs(ours - theirs.astype(np.float64))
        largest, rms = float(error.max()), float(np.sqrt((error**2).mean()))
        print(f"Jaxley and ours, {what}, somata, steps of {dt_ms:g} ms: {rms:.4f} mV in root mean square, at most {largest:.3f} mV")
        return largest, rms

    def seconds_per_step(self, batch: int) -> float:
        """The time that Jaxley takes for a step of a batch of stimuli on its core."""
        print(batch, file=self.process.stdin, flush=True)
        return float(self._answer()) / self.steps

    def close(self) -> None:
        self.process.communicate()


def tables(worm: Worm) -> dict[str, Any]:
    """The worm's trees and synapses, as scripts/jaxley_worker.py reads them."""
    data, cables, membrane, number = worm.data, worm.cables, worm.membrane, len(worm.neuron_name)
    electrical = data.edge_type == ELECTRICAL

    def dense(edges: torch.Tensor) -> Any:
        """Conductances from row to column."""
        empty = torch.zeros(number, number, dtype=torch.float64)
        return empty.index_put(tuple(data.edge_index), torch.where(edges, data.conductance_nS, 0.0), accumulate=True).numpy()

    signs = [(s.threshold_mV, s.delta_mV, *s.rates_per_ms, s.reversal_mV) for s in (membrane.excitatory, membrane.inhibitory_synapse)]
    made = np.array(signs).T[:, data.inhibitory.long().numpy()]
    return {
        **{name: getattr(cables, name) for name in ("parent", "path_per_um", "area_um2")},
        **dict(zip(("threshold", "delta", "rise", "decay", "reversal"), made, strict=True)),
        "chemical_nS": dense(~electrical),
        "gap_nS": dense(electrical),
    }


def seconds(worm: Worm, current: torch.Tensor, options: argparse.Namespace, gradients: bool = False) -> float:
    steps = round(50 / options.dt) if gradients else current.size(1)
    current = current[:, :steps].clone().requires_grad_(gradients)
    start = time.perf_counter()
    _, voltage = simulate(worm, current, INPUTS, options.dt, steps * options.dt)
    if gradients:
        voltage.square().mean().backward()
    return time.perf_counter() - start


def report(options: argparse.Namespace, ours: dict[int, tuple[float, int]], jaxley: dict[int, list[float]], neuron: list[float]) -> None:
    """Print our seconds, given with the number of steps, and the ratios to NEURON's for a stimulus and Jaxley's for a step."""
    one = statistics.median(neuron) if neuron else None
    if one is not None:
        print(f"NEURON: {one:.2f} s per stimulus on one core")
    for count, (taken, steps) in ours.items():
        line = f"{count:6} stimuli{taken:9.3f} s{taken / count:9.3f} s per stimulus"
        cores = min(options.neurons_cores, count)
        if one is not None:
            line += f"{one * count / cores / taken:8.1f} x NEURON on {cores} cores"
        if jaxley[count]:
            together = statistics.median(jaxley[count]) * steps
            line += f"{together / cores / taken:8.1f} x Jaxley on {cores} cores ({together:.3f} s as timed)"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--d-lambda", type=float, help="longest compartment as a share of the length constant; one compartment per section by default"
    )
    parser.add_argument("--stimuli", default="40,1", help="numbers of stimuli simulated together")
    parser.add_argument("--dt", type=float, default=0.05, help="step in ms")
    parser.add_argument("--duration", type=float, default=500.0, help="ms")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--neurons-cores", type=int, default=2, help="cores that stimuli of NEURON and Jaxley are taken to share")
    parser.add_argument("--neuron-python", help="interpreter of the environment that has NEURON")
    parser.add_argument("--jaxley-python", help="interpreter of the environment that has Jaxley, which is timed only if this is given")
    parser.add_argument("--jaxley-ms", type=float, default=25.0, help="Jaxley is timed on so many ms, and its time multiplied")
    parser.add_argument("--without-neuron", action="store_true", help="time ours alone")
    parser.add_argument("--gradients", action="store_true", help="time the gradient of 50 ms in the currents, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    worm = Worm("c302-D1", compartments=options.d_lambda or "section")
    counts = [int(count) for count in options.stimuli.split(",")]
    # Numbers of each stimulus and step, measured: three of each neuron, and with gradients, of 50 ms, five of each compartment.
    numbers = max(3 * len(worm.neuron_name) * options.duration, 5 * len(worm.cables.parent) * 50 * options.gradients)
    needed = numbers * max(counts) / options.dt * (8 if options.dtype == "float64" else 4)
    refuse_if_too_large("the simulation", needed, "use fewer --stimuli or a shorter --duration")
    currents = {count: stimuli(count, options).to(getattr(torch, options.dtype)) for count in counts}
    print(f"{worm}; {options.duration:g} ms at {options.dt:g} ms, {options.dtype}")
    print(f"{options.threads} threads, {platform.processor() or platform.machine()}, torch {torch.__version__}\n")

    seconds(worm, currents[counts[0]][:, :2], options)  # compiles
    jaxley = None
    if options.jaxley_python:
        parts = [current[:, : round(options.jaxley_ms / options.dt)] for current in currents.values()]
        jaxley = Jaxley(worm, parts, options.dt, options.jaxley_python, options.neurons_cores)
    ours: dict[int, list[float]] = {count: [] for count in counts}
    theirs: dict[int, list[float]] = {count: [] for count in counts}
    neuron: list[float] = []
    for _ in range(options.rounds):
        for count, values in ours.items():
            values.append(seconds(worm, currents[count], options))
        for batch, values in enumerate(theirs.values() if jaxley else ()):
            values.append(jaxley.seconds_per_step(batch))
        if not options.without_neuron:
            given = {"parameters": "D1", "d_lambda": options.d_lambda, "python": options.neuron_python}
            run = simulate_neuron(currents[counts[0]][:1], INPUTS, options.dt, options.duration, **given)
            neuron.append(float(run.seconds[0]))
    report(options, {count: (statistics.median(values), currents[count].size(1)) for count, values in ours.items()}, theirs, neuron)
    if jaxley:
        jaxley.close()
    if options.gradients:
        for count in counts:
            print(f"{count:6} stimuli{seconds(worm, currents[count], options, gradients=True):9.3f} s for the gradient of 50 ms")


if __name__ == "__main__":
    main()
