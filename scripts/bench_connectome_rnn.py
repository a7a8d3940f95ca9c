#!/usr/bin/env python3
"""Time ConnectomeRNN's fused kernels against the definition in PyTorch, forward and back through time; print a table.

    python scripts/bench_connectome_rnn.py                    # 100 variants of the hermaphrodite, 1,000 steps, 1 and 8 sequences

Both take the same model and sequences in turns, so that a slow moment of the machine hits both; the ratio is of medians over rounds. The
largest difference of gradients is in units of the largest gradient.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from elegans_pyg.datasets import Connectome
from elegans_pyg.models import ConnectomeRNN
from elegans_pyg.transforms import Rewired
from scripts.memory import refuse_if_too_large

BACKENDS = ("reference", "fused")
NUMBERS_KEPT = 17
"""Of each neuron, sequence and step, by the reference for its way back: measured with 20 variants, 8 sequences and 400 steps."""


def train_once(net: ConnectomeRNN, x: Tensor, y: Tensor) -> tuple[float, float, float, Tensor]:
    """Seconds forward and backward, CPU seconds of both, and all gradients."""
    net.zero_grad()
    start, cpu = time.perf_counter(), time.process_time()
    loss = (net(x) - y).square().mean((1, 2, 3)).sum()
    middle = time.perf_counter()
    loss.backward()
    end = time.perf_counter()
    gradients = torch.cat([parameter.grad.flatten() for parameter in net.parameters() if parameter.grad is not None])
    return middle - start, end - middle, time.process_time() - cpu, gradients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connectome", default="cook2019-hermaphrodite")
    parser.add_argument("--synapses", default="chemical", choices=("chemical", "both"))
    parser.add_argument("--variants", type=int, default=100)
    parser.add_argument("--sequences", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = Connectome(options.connectome, synapses=options.synapses)[0]
    needed = 4 * NUMBERS_KEPT * options.variants * base.num_nodes * max(options.sequences) * options.steps
    refuse_if_too_large("the reference", needed, "use fewer --variants, --sequences or --steps")
    net = ConnectomeRNN([base, *(Rewired(seed)(base) for seed in range(options.variants - 1))])
    print(f"{net}, {options.steps} steps, {options.threads} threads")
    for sequences in options.sequences:
        x, y = torch.rand(2, sequences, options.steps, 1, generator=torch.Generator().manual_seed(0)).unbind()
        found: dict[str, list[tuple[float, float, float, Tensor]]] = {backend: [] for backend in BACKENDS}
        for number in range(options.rounds + 1):
            for backend in BACKENDS:
                net.walk.backend = backend
                result = train_once(net, x, y)
                # The first round compiles.
                if number:
                    found[backend].append(result)
        medians = {name: [statistics.median(column) for column in list(zip(*runs, strict=True))[:3]] for name, runs in found.items()}
        for backend, (forward, backward, cpu) in medians.items():
            print(f"{sequences} sequences, {backend}: forward {forward:.3f} s, backward {backward:.3f} s, both {cpu:.3f} CPU s")
        slow, fast = medians["reference"], medians["fused"]
        exact, own = found["reference"][0][3], found["fused"][0][3]
        off = float((own - exact).abs().max() / exact.abs().max())
        ratio, by_cpu = sum(slow[:2]) / sum(fast[:2]), slow[2] / fast[2]
        print(f"{sequences} sequences: {ratio:.1f} times as fast ({by_cpu:.1f} by CPU time), gradients off by {off:.1e}")


if __name__ == "__main__":
    main()
