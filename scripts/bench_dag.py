#!/usr/bin/env python3
"""Time DAGNet's executors against a per-node loop, in one run; print a table and write JSON.

    python scripts/bench_dag.py                       # the hermaphrodite, 78 channels, 14x14 maps, batch 16; then 1 to 8 variants
    python scripts/bench_dag.py --batch-size 100 --variants ''

The per-node loop is the one that the tests check every executor against (tests/nn/per_node_loop.py): one small module a node, as
RandWire-style code has it, which stacks a node's inputs. Times are medians over rounds in which the contenders take turns, so that
a slow moment of the machine hits all of them. `peak` is the growth of resident memory over one training step, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Batch, Data

sys.path.insert(0, str(Path(__file__).parent.parent))

from elegans_pyg.datasets import Connectome
from elegans_pyg.nn import DAGNet
from elegans_pyg.transforms import ConstrainedDAG
from tests.nn.per_node_loop import PerNodeLoop

LOOP = "per-node loop"


def build(contender: str, batch: Data, channels: int) -> torch.nn.Module:
    net = DAGNet(batch, channels, executor="levels" if contender == LOOP else contender)
    return PerNodeLoop(batch, channels).load_from(net) if contender == LOOP else net


def maps(variants: int, channels: int, options: argparse.Namespace) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (variants, options.batch_size, channels, options.size, options.size)
    return torch.randn(shape, generator=generator).to(options.device)


def seconds(run: Callable[[], object], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def time_contenders(nets: dict[str, torch.nn.Module], x: torch.Tensor, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median seconds of a forward pass without gradients kept, and of a training step's forward and backward pass."""

    def forward(net: torch.nn.Module) -> Callable[[], object]:
        def run() -> None:
            with torch.no_grad():
                net(x)

        return run

    def both(net: torch.nn.Module) -> Callable[[], object]:
        leaf = x.clone().requires_grad_()
        return lambda: net(leaf).square().mean().backward()

    times: dict[str, dict[str, list[float]]] = {name: {"forward": [], "forward+backward": []} for name in nets}
    for round_ in range(options.rounds + 1):
        for name, net in nets.items():
            for what, run in (("forward", forward(net)), ("forward+backward", both(net))):
                taken = seconds(run, options.device)
                if round_:  # The first round warms up.
                    times[name][what].append(taken)
    return {name: {what: statistics.median(values) for what, values in row.items()} for name, row in times.items()}


def peak_resident_bytes() -> int:
    """The kernel's high-water mark of this process alone; getrusage would carry over the parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def peak_growth(contender: str, batch: Data, channels: int, options: argparse.Namespace, results: Any) -> None:
    """Run in a fresh process: a step on one tiny image first, so that libraries and compiled kernels are not counted."""
    torch.set_num_threads(options.threads)
    net = build(contender, batch, channels)
    tiny = torch.randn(net.num_variants if isinstance(net, DAGNet) else len(net.graphs), 2, channels, 2, 2, requires_grad=True)
    net(tiny).sum().backward()
    before = peak_resident_bytes()
    x = maps(tiny.size(0), channels, options).requires_grad_()
    net(x).square().mean().backward()
    results.put((before, peak_resident_bytes()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connectome", default="cook2019-hermaphrodite")
    parser.add_argument("--channels", type=int, default=78)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--size", type=int, default=14, help="height and width of the maps")
    parser.add_argument("--variants", default="1,2,4,8", help="numbers of variants timed together, at 16 channels; '' for none")
    parser.add_argument("--executors", default="levels,fused")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dag = ConstrainedDAG()(Connectome(options.connectome)[0])
    contenders = [LOOP, *options.executors.split(",")]
    report: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "settings": {key: str(value) for key, value in vars(options).items()},
    }
    print(f"{options.connectome}: {dag.num_nodes} nodes, {dag.num_edges} edges; {options.channels} channels,")
    print(f"{options.size}x{options.size} maps, batch {options.batch_size}, {options.threads} threads, {options.device}, torch {torch.__version__}\n")

    nets = {name: build(name, dag, options.channels).to(options.device) for name in contenders}
    times = time_contenders(nets, maps(1, options.channels, options), options)
    one_map = options.batch_size * options.channels * options.size**2 * 4
    print(f"{'':16}{'forward':>10}{'x loop':>8}{'fwd+bwd':>10}{'x loop':>8}{'peak':>12}{'maps a node':>13}")
    for name, row in times.items():
        line = f"{name:16}"
        for what in ("forward", "forward+backward"):
            line += f"{row[what]:9.3f}s{times[LOOP][what] / row[what]:8.1f}"
        if options.device == "cpu":
            context = multiprocessing.get_context("spawn")
            results = context.SimpleQueue()
            process = context.Process(target=peak_growth, args=(name, dag, options.channels, options, results))
            process.start()
            before, after = results.get()
            process.join()
            row["resident_peak_bytes"], row["peak_growth_bytes"] = after, after - before
            line += f"{(after - before) / 2**20:8.0f} MiB{(after - before) / one_map / dag.num_nodes:13.2f}"
        print(line, flush=True)
    report["one variant"] = times

    counts = [int(count) for count in options.variants.split(",") if count]
    if counts:
        print(
            f"\nvariants together, 16 channels: seconds of forward+backward a variant\n{'variants':16}"
            + "".join(f"{n:>10}" for n in counts)
        )
        together: dict[str, dict[int, float]] = {name: {} for name in contenders}
        for count in counts:
            batch = Batch.from_data_list([dag] * count)
            nets = {name: build(name, batch, 16).to(options.device) for name in contenders}
            for name, row in time_contenders(nets, maps(count, 16, options), options).items():
                together[name][count] = row["forward+backward"] / count
        for name, values in together.items():
            print(f"{name:16}" + "".join(f"{values[n]:9.3f}s" for n in counts), flush=True)
        report["seconds a variant"] = together
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
        print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
