#!/usr/bin/env python3
"""Times simulating c302-D1, whose neurons have their shape, against NEURON on the same compartments, and prints the ratios.

    python scripts/bench_cable.py                               # one compartment per section, 40 stimuli and one, and NEURON on one
    python scripts/bench_cable.py --d-lambda 0.3 --stimuli 1
    python scripts/bench_cable.py --without-neuron --gradients  # ours alone, with a gradient of 50 ms

NEURON takes stimuli one after another, so that it is timed on one of every round and multiplied by their number, as in
scripts/bench_simulate.py: contenders take turns, medians over the rounds, neither building the network nor compiling the kernels counted.
NEURON runs on one core; with ``--neurons-cores 2`` its time is halved, as if stimuli were shared out without loss.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
from bench_simulate import INPUTS, stimuli

sys.path.insert(0, str(Path(__file__).parent.parent))

from elegans_pyg.dynamics import Worm, simulate, simulate_neuron


def seconds(worm: Worm, current: torch.Tensor, options: argparse.Namespace, gradients: bool = False) -> float:
    steps = round(50 / options.dt) if gradients else current.size(1)
    current = current[:, :steps].clone().requires_grad_(gradients)
    start = time.perf_counter()
    _, voltage = simulate(worm, current, INPUTS, options.dt, steps * options.dt)
    if gradients:
        voltage.square().mean().backward()
    return time.perf_counter() - start


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
    parser.add_argument("--neurons-cores", type=int, default=2, help="cores that NEURON's stimuli are taken to be shared among")
    parser.add_argument("--neuron-python", help="interpreter of the environment that has NEURON")
    parser.add_argument("--without-neuron", action="store_true", help="time ours alone")
    parser.add_argument("--gradients", action="store_true", help="time the gradient of 50 ms in the currents, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    worm = Worm("c302-D1", compartments=options.d_lambda or "section")
    counts = [int(count) for count in options.stimuli.split(",")]
    currents = {count: stimuli(count, options).to(getattr(torch, options.dtype)) for count in counts}
    print(f"{worm}; {options.duration:g} ms at {options.dt:g} ms, {options.dtype}")
    print(f"{options.threads} threads, {platform.processor() or platform.machine()}, torch {torch.__version__}\n")

    seconds(worm, currents[counts[0]][:, :2], options)  # compiles
    ours: dict[int, list[float]] = {count: [] for count in counts}
    neuron: list[float] = []
    for _ in range(options.rounds):
        for count, values in ours.items():
            values.append(seconds(worm, currents[count], options))
        if not options.without_neuron:
            given = {"parameters": "D1", "d_lambda": options.d_lambda, "python": options.neuron_python}
            run = simulate_neuron(currents[counts[0]][:1], INPUTS, options.dt, options.duration, **given)
            neuron.append(float(run.seconds[0]))
    one = statistics.median(neuron) if neuron else None
    if one is not None:
        print(f"NEURON: {one:.2f} s a stimulus on one core")
    for count, values in ours.items():
        taken = statistics.median(values)
        line = f"{count:6} stimuli{taken:9.3f} s{taken / count:9.3f} s a stimulus"
        cores = min(options.neurons_cores, count)
        print(line + (f"{one * count / cores / taken:8.1f} x NEURON on {cores} cores" if one is not None else ""))
    if options.gradients:
        for count in counts:
            print(f"{count:6} stimuli{seconds(worm, currents[count], options, gradients=True):9.3f} s for the gradient of 50 ms")


if __name__ == "__main__":
    main()
