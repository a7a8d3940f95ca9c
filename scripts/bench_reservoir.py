#!/usr/bin/env python3
"""Time Reservoir against reservoirpy on the same weights and inputs, in one run; print a table and write JSON.

    python scripts/bench_reservoir.py                     # 100 variants of the hermaphrodite, one sequence of 2,000 steps
    python scripts/bench_reservoir.py --sequences 8

reservoirpy runs one reservoir at a time, in float64, each time from its own weights: as dense matrices, as SciPy sparse ones, and as sparse
ones with one process per core (joblib, whose workers are started before the clock). Times are medians over rounds in which the contenders
take turns, so that a slow moment of the machine hits all of them; the table also gives the largest difference from reservoirpy's states.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from reservoirpy.nodes import Reservoir as TheirReservoir
from scipy.sparse import block_diag, csr_array
from torch_geometric.data import Batch, Data

sys.path.insert(0, str(Path(__file__).parent.parent))

from elegans_pyg.datasets import Connectome
from elegans_pyg.models import Reservoir
from elegans_pyg.transforms import Rewired
from scripts.memory import refuse_if_too_large

LEAK = 0.5


def matrices(reservoir: Reservoir) -> list[tuple[csr_array, np.ndarray, np.ndarray]]:
    """Each variant's recurrent weights, input weights and bias, in float64."""
    packed = reservoir.weights()
    size = packed.bias.numel()
    whole = csr_array((packed.weight.double().numpy(), packed.source.numpy(), packed.row_ptr.numpy()), shape=(size, size))
    inputs = np.zeros((size, 1))
    inputs[packed.input_node.numpy()] = packed.input_weight.double().numpy()
    ends = packed.node_ptr.tolist()
    parts = [slice(low, high) for low, high in itertools.pairwise(ends)]
    assert abs(block_diag([whole[part, part] for part in parts]) - whole).max() == 0
    return [(csr_array(whole[part, part]), inputs[part], packed.bias[part].double().numpy()) for part in parts]


def their_states(weights: tuple[csr_array, np.ndarray, np.ndarray], dense: bool, inputs: np.ndarray, read: np.ndarray) -> np.ndarray:
    w, win, bias = weights
    states = []
    for sequence in inputs:
        reservoir = TheirReservoir(W=w.toarray() if dense else w, Win=win, bias=bias, lr=LEAK)
        states.append(reservoir.run(sequence)[:, read])
    return np.stack(states)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connectome", default="cook2019-hermaphrodite")
    parser.add_argument("--variants", type=int, default=100)
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    base = Connectome(options.connectome)[0]
    # At most: states of all neurons, those of reservoirpy, of another contender and their difference, and a copy.
    numbers_needed = 4 * options.variants * options.sequences * options.steps * base.num_nodes
    refuse_if_too_large("all states at once", 8 * numbers_needed, "use fewer --variants, --sequences or --steps")
    graphs: list[Data] = [base, *(Rewired(seed)(base) for seed in range(options.variants - 1))]
    batch = Batch.from_data_list(graphs)
    inputs = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (options.sequences, options.steps, 1)))
    double = Reservoir(batch, leak=LEAK, bias_scale=0.1, dtype=torch.float64)
    single, reference = copy.deepcopy(double).float(), copy.deepcopy(double)
    reference.backend = "reference"
    weights, numbers = matrices(double), inputs.numpy()
    read = double.readout_node[0].numpy()
    pool = Parallel(n_jobs=os.cpu_count())

    contenders: dict[str, Callable[[], np.ndarray]] = {
        "reservoirpy, dense": lambda: np.stack([their_states(part, True, numbers, read) for part in weights]),
        "reservoirpy, sparse": lambda: np.stack([their_states(part, False, numbers, read) for part in weights]),
        f"reservoirpy, sparse, {os.cpu_count()} processes": lambda: np.stack(
            pool(delayed(their_states)(part, False, numbers, read) for part in weights)
        ),
        "Reservoir, fused, float64": lambda: double(inputs).numpy(),
        "Reservoir, fused, float32": lambda: single(inputs).numpy(),
        "Reservoir, reference, float64": lambda: reference(inputs).numpy(),
    }
    print(f"{options.variants} variants of {base.num_nodes} neurons, {base.num_edges} synapses; {options.sequences} sequences of")
    print(f"{options.steps} steps; {options.threads} threads of {os.cpu_count()} cores; torch {torch.__version__}\n")
    pool(delayed(their_states)(part, False, numbers[:, :2], read) for part in weights[:4])
    double(inputs[:, :2]), single(inputs[:, :2])  # Kernels are compiled once, and kept on disk.

    times: dict[str, list[float]] = {name: [] for name in contenders}
    differences: dict[str, float] = {}
    for _ in range(options.rounds):
        expected = None
        for name, run in contenders.items():
            start = time.perf_counter()
            states = run()
            times[name].append(time.perf_counter() - start)
            expected = states if expected is None else expected
            differences[name] = float(np.abs(states - expected).max())

    medians = {name: statistics.median(values) for name, values in times.items()}
    best = min(seconds for name, seconds in medians.items() if name.startswith("reservoirpy"))
    steps = options.variants * options.sequences * options.steps
    print(f"{'':34}{'seconds':>9}{'µs/step':>11}{'x dense':>9}{'x best':>9}{'difference':>12}")
    for name, seconds in medians.items():
        line = f"{name:34}{seconds:9.2f}{1e6 * seconds / steps:11.2f}{medians['reservoirpy, dense'] / seconds:9.1f}{best / seconds:9.1f}"
        print(line + f"{differences[name]:12.1e}")
    if options.json:
        report = {
            "machine": platform.processor() or platform.machine(),
            "settings": {key: str(value) for key, value in vars(options).items()},
            "seconds": times,
            "difference": differences,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")
        print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
