#!/usr/bin/env python3
"""Time the simulator against NEURON on the same network, in one run; print a table and write JSON.

    python scripts/bench_simulate.py --neuron-python .venv-neuron/bin/python      # 40 stimuli x 500 ms at 0.05 ms; then 1 and 1,000
    python scripts/bench_simulate.py --without-neuron --stimuli 40
    python scripts/bench_simulate.py --without-neuron --gradients --stimuli 1,16 --duration 50 --backends reference,fused

NEURON is timed on one stimulus of every round and multiplied by their number, since it takes them one after another; building the network
is left out of its time, and compiling the kernel of ours. Contenders take turns, and times are medians over the rounds, so that a slow
moment of the machine hits all of them. All 302 voltages are recorded at every step, except where more than 100 stimuli would fill the
memory with them: then the four outputs of forward crawling.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from elegans_pyg.dynamics import Worm, simulate, simulate_neuron
from scripts.memory import refuse_if_too_large

INPUTS = ["PLML", "PLMR", "AVBL", "AVBR"]
OUTPUTS = ["DB1", "LUAL", "PVR", "VB1"]
NUMBERS = {("fused", False): 3, ("reference", False): 5, ("fused", True): 7, ("reference", True): 16}
"""Of each stimulus, step and voltage kept, about, without and with gradients: measured with 16 to 90 stimuli and 100 to 2,000 steps."""


def stimuli(count: int, options: argparse.Namespace) -> Tensor:
    """Random levels, each held for 20 ms, within 5 pA: NEURON's export follows them without diverging."""
    generator = torch.Generator().manual_seed(0)
    steps = round(options.duration / options.dt)
    held = round(20 / options.dt)
    levels = 5 * torch.rand(count, -(-steps // held), len(INPUTS), generator=generator)
    return levels.repeat_interleave(held, dim=1)[:, :steps].contiguous()


def bytes_needed(count: int, backends: list[str], neurons: int, options: argparse.Namespace) -> float:
    kept = neurons if options.gradients or count <= 100 else len(OUTPUTS)
    numbers = 2 * len(INPUTS) + kept * max(NUMBERS[backend, options.gradients] for backend in backends)
    return numbers * count * options.duration / options.dt * (8 if options.dtype == "float64" else 4)


def seconds(worm: Worm, current: Tensor, backend: str, options: argparse.Namespace) -> float:
    record = OUTPUTS if current.size(0) > 100 else None
    synchronise = torch.cuda.synchronize if current.is_cuda else lambda: None
    synchronise()
    current = current.clone().requires_grad_(options.gradients)
    worm.data.conductance_nS.requires_grad_(options.gradients).grad = None
    start = time.perf_counter()
    _, voltage = simulate(
        worm, current, INPUTS, options.dt, options.duration, record=record, backend=backend, estimate=not options.gradients
    )
    if options.gradients:
        voltage.square().mean().backward()
    synchronise()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stimuli", default="40,1,1000", help="numbers of stimuli simulated together; the first is compared with NEURON")
    parser.add_argument("--dt", type=float, default=0.05, help="step in ms")
    parser.add_argument("--duration", type=float, default=500.0, help="ms")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--backends", default="fused", help="such as reference,fused")
    parser.add_argument("--gradients", action="store_true", help="time forward and backward, by currents and conductances")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="cuda needs --backends reference")
    parser.add_argument("--neuron-python", help="interpreter of the environment that has NEURON")
    parser.add_argument("--without-neuron", action="store_true", help="time ours alone")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    if options.gradients and not options.without_neuron:
        parser.error("--gradients needs --without-neuron, since NEURON computes none")
    torch.set_num_threads(options.threads)
    worm = Worm("c302-C1")
    counts = [int(count) for count in options.stimuli.split(",")]
    backends = options.backends.split(",")
    if unknown := {backend for backend in backends if (backend, False) not in NUMBERS}:
        parser.error(f"--backends: expected reference, fused or both, got {', '.join(sorted(unknown))}")
    needed = max(bytes_needed(count, backends, len(worm.neuron_name), options) for count in counts)
    refuse_if_too_large("the simulation", needed, "use fewer --stimuli or a shorter --duration", options.device)
    currents = {count: stimuli(count, options).to(options.device, getattr(torch, options.dtype)) for count in counts}
    print(f"{worm}; {options.duration:g} ms at {options.dt:g} ms, {options.dtype}")
    print(f"{options.threads} threads, {options.device}, {platform.processor() or platform.machine()}, torch {torch.__version__}\n")

    first = counts[0]
    for backend in backends:
        seconds(worm, currents[counts[-1]][:1, :], backend, options)  # compiles
    times: dict[tuple[str, int], list[float]] = {(backend, count): [] for backend in backends for count in counts}
    neuron: list[float] = []
    for _ in range(options.rounds):
        for key, values in times.items():
            values.append(seconds(worm, currents[key[1]], key[0], options))
        if not options.without_neuron:
            current = currents[first][:1].cpu()
            run = simulate_neuron(current, INPUTS, options.dt, options.duration, python=options.neuron_python)
            neuron.append(float(run.seconds[0]))

    report: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "settings": {key: str(value) for key, value in vars(options).items()},
        "seconds": {f"{backend} {count}": statistics.median(values) for (backend, count), values in times.items()},
    }
    one = statistics.median(neuron) if neuron else None
    if one is not None:
        report["NEURON, seconds of one stimulus"] = one
        print(f"NEURON: {one:.2f} s per stimulus, {one * first:.0f} s for {first} one after another")
    for (backend, count), values in times.items():
        taken = statistics.median(values)
        line = f"{backend:6}{count:6} stimuli{taken:9.3f} s{1e3 * taken / count:10.2f} ms per stimulus"
        print(line + (f"{one * count / taken:8.0f} x NEURON" if one is not None else ""))
        if one is not None:
            report[f"times NEURON, {backend} {count}"] = one * count / taken
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
        print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
