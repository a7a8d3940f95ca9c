#!/usr/bin/env python3
"""Time DAGNet's executors and a per-node loop, those that are asked for, in one run; print a table and write JSON.

    python scripts/bench_dag.py                       # the hermaphrodite, 78 channels, 14x14 maps, batch 16; then 1 to 8 variants
    python scripts/bench_dag.py --batch-size 100 --executors levels,fused --variants ''

The per-node loop is the one that the tests check every executor against (tests/nn/dag/per_node_loop.py): one small module per node, as
RandWire-style code has it, which stacks a node's inputs. Each contender has a process of its own; times are medians over rounds in which
they take turns, so that a slow moment of the machine hits all of them. `peak` is the resident memory that a first training step adds. On a
GPU they come one after another, each with the whole memory to itself, and who does not fit is left out.
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
from elegans_pyg.recipes.ensemble import MAPS_PER_EDGE, MAPS_PER_NODE
from elegans_pyg.transforms import ConstrainedDAG
from scripts.memory import peak_resident_bytes, too_large
from tests.nn.dag.per_node_loop import PerNodeLoop

LOOP = "loop"


def build(contender: str, batch: Data, channels: int) -> torch.nn.Module:
    net = DAGNet(batch, channels, executor="levels" if contender == LOOP else contender)
    return PerNodeLoop(batch, channels).load_from(net) if contender == LOOP else net


def maps(variants: int, channels: int, options: argparse.Namespace) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (variants, options.batch_size, channels, options.size, options.size)
    return torch.randn(shape, generator=generator).to(options.device)


def contender(name: str, graphs: list[Data], channels: int, options: argparse.Namespace, pipe: Any) -> None:
    """One contender in a process of its own, so that no other's memory stands in its way; times what the pipe asks for."""
    torch.set_num_threads(options.threads)
    net = build(name, Batch.from_data_list(graphs), channels).to(options.device)
    x = maps(len(graphs), channels, options)
    leaf = x.clone().requires_grad_()
    half = torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bfloat16")

    def forward() -> None:
        with torch.no_grad(), half:
            net(x)

    def both() -> None:
        with half:
            out = net(leaf)
        out.float().square().mean().backward()

    def seconds(run: Callable[[], object]) -> float:
        if options.device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if options.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    # A step on tiny maps first, so that libraries and compiled kernels are not counted as memory of a step.
    net(leaf.detach()[:, :2, :, :2, :2].clone().requires_grad_()).sum().backward()
    peak = peak_resident_bytes if options.device == "cpu" else torch.cuda.max_memory_allocated
    before = peak()
    seconds(both)
    pipe.send(peak() - before)
    seconds(forward)
    while (what := pipe.recv()) is not None:
        run = forward if what == "forward" else both
        run()  # Untimed: memory given back while others had their turn is slow to come again, on virtual machines above all.
        pipe.send(seconds(run))


def copy_bandwidth(options: argparse.Namespace) -> float:
    """Bytes per second, read and written, of a copy too large for any cache."""
    source = torch.ones(2**26 if options.device == "cpu" else 2**28, device=options.device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        target.copy_(source)
        if options.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * source.numel() * source.element_size() / statistics.median(seconds[1:])


def multiplication_rate(options: argparse.Namespace) -> float:
    """Floating-point operations per second of a matrix product."""
    size = 2048 if options.device == "cpu" else 8192
    matrix = torch.ones(size, size, device=options.device)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        matrix @ matrix
        if options.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[1:])


def report_limits(dag: Data, one_map: int, row: dict[str, float], options: argparse.Namespace) -> dict[str, float]:
    """Print how near the fused walk comes to the machine's bounds, a copy's bytes and a matrix product's operations per second.

    A step multiplies and adds 27 times per node and number of its map (the taps, forward, backward and for their own gradients) and three
    times per edge (the sum, its gradient, the weight's own). The convolution that the fused walk computes once more is not counted.

    Must move: every node's map once each way. The walk moves, forward, a map read per edge and two written per node (the convolution
    and the rectified sum); backward, one read per edge (a successor's gradient) and per node one read and one written. What a cache
    serves again counts as moved.
    """
    nodes, edges = int((dag.level >= 0).sum()), int((dag.level[dag.edge_index[0]] >= 0).sum())
    bandwidth = copy_bandwidth(options)
    counts = {"must move": 2 * nodes, "the walk moves": 2 * edges + 4 * nodes}
    rate, done = multiplication_rate(options), 2 * (27 * nodes + 3 * edges) * one_map / number_bytes(options) / row["forward+backward"]
    report = {"copy_bandwidth": bandwidth, "multiplication_rate": rate, "operations per second": done}
    print(f"\na copy reaches {bandwidth / 1e9:.1f} GB/s; fused, forward + backward: {row['forward+backward']:.3f} s")
    print(f"a matrix product reaches {rate / 1e9:.1f} GFLOP/s; fused {done / 1e9:.1f}, {done / rate:.1%} of it")
    for what, maps_moved in counts.items():
        moved = maps_moved * one_map
        fraction = moved / row["forward+backward"] / bandwidth
        report |= {f"{what}: bytes": moved, f"{what}: fraction of bandwidth": fraction}
        bound = f"{moved / 1e9:9.2f} GB{moved / bandwidth:9.3f} s at that rate"
        print(f"{what:16}{maps_moved:6} maps{bound}, so it ran at {fraction * bandwidth / 1e9:.1f} GB/s, {fraction:.1%} of it")
    return report


def number_bytes(options: argparse.Namespace) -> int:
    """Of a map's numbers; on the CPU `fused` keeps them in float32 whatever the precision."""
    return 2 if options.precision == "bfloat16" and options.device != "cpu" else 4


def bytes_needed(names: list[str], graphs: list[Data], channels: int, options: argparse.Namespace) -> float:
    """What a step of all contenders takes side by side. The loop stacks a node's inputs, as ``scatter`` does."""
    nodes, edges = sum(dag.num_nodes for dag in graphs), sum(dag.num_edges for dag in graphs)
    kinds = ["scatter" if name == LOOP else name for name in names]
    count = sum(nodes * MAPS_PER_NODE[kind] + edges * MAPS_PER_EDGE.get(kind, 0) for kind in kinds)
    return count * options.batch_size * channels * options.size**2 * number_bytes(options)


def time_contenders(names: list[str], graphs: list[Data], channels: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median seconds of a forward pass and of a training step's forward and backward pass, and the memory that a step adds."""
    if options.device != "cpu" and len(names) > 1:
        return {own: row for name in names for own, row in time_contenders([name], graphs, channels, options).items()}
    needed, remedy = bytes_needed(names, graphs, channels, options), "use fewer --executors, a smaller --batch-size or fewer --variants"
    if problem := too_large(f"a step of {', '.join(names)}", needed, remedy, options.device):
        if options.device == "cpu":
            raise SystemExit(problem)
        print(f"left out: {problem}")
        return {}
    context = multiprocessing.get_context("spawn")
    pipes, processes, peaks = {}, {}, {}

    def answer(name: str) -> Any:
        try:
            return pipes[name].recv()
        except EOFError:
            processes[name].join()
            raise SystemExit(
                f"{name}: its process ended with exit code {processes[name].exitcode}; -9 is the out-of-memory killer"
            ) from None

    for name in names:
        pipes[name], end = context.Pipe()
        # A daemon ends with this process, whatever happens here.
        processes[name] = context.Process(target=contender, args=(name, graphs, channels, options, end), daemon=True)
        processes[name].start()
        end.close()  # Else a child that has died would leave its pipe open.
        peaks[name] = answer(name)
    times: dict[str, dict[str, list[float]]] = {name: {"forward": [], "forward+backward": []} for name in names}
    for _ in range(options.rounds):
        for name in names:
            for what, values in times[name].items():
                pipes[name].send(what)
                values.append(answer(name))
    for name in names:
        pipes[name].send(None)
        processes[name].join()
    return {
        name: {"peak_growth_bytes": peaks[name], **{what: statistics.median(values) for what, values in row.items()}}
        for name, row in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connectome", default="cook2019-hermaphrodite")
    parser.add_argument("--channels", type=int, default=78)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--size", type=int, default=14, help="height and width of the maps")
    parser.add_argument("--variants", default="1,2,4,8", help="numbers of variants timed together; '' for none")
    parser.add_argument("--channels-together", type=int, default=16, help="channels of the variants timed together")
    parser.add_argument("--executors", default=f"{LOOP},levels,fused", help=f"any of {LOOP}, {', '.join(MAPS_PER_NODE)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"], help="bfloat16 is autocast")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    contenders = options.executors.split(",")
    if unknown := set(contenders) - {LOOP, *MAPS_PER_NODE}:
        parser.error(f"--executors: expected {LOOP}, {', '.join(MAPS_PER_NODE)}, got {', '.join(sorted(unknown))}")
    torch.set_num_threads(options.threads)
    dag = ConstrainedDAG()(Connectome(options.connectome)[0])
    report: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "settings": {key: str(value) for key, value in vars(options).items()},
    }
    print(f"{options.connectome}: {dag.num_nodes} nodes, {dag.num_edges} edges, {options.channels} channels, {options.size}x{options.size}")
    print(
        f"maps, batch {options.batch_size}, {options.precision}; {options.threads} threads, {options.device}, torch {torch.__version__}\n"
    )

    times = time_contenders(contenders, [dag], options.channels, options)
    if not times:
        raise SystemExit("no contender fits into memory")
    one_map = options.batch_size * options.channels * options.size**2 * number_bytes(options)
    first = next(iter(times))
    faster = f"x {first}"
    print(f"{'':16}{'forward':>10}{faster:>10}{'fwd+bwd':>10}{faster:>10}{'peak':>12}{'maps per node':>15}")
    for name, row in times.items():
        line = f"{name:16}"
        for what in ("forward", "forward+backward"):
            line += f"{row[what]:9.4f}s{times[first][what] / row[what]:10.1f}"
        grown = row["peak_growth_bytes"]
        print(f"{line}{grown / 2**20:8.0f} MiB{grown / one_map / dag.num_nodes:15.2f}")
    report["one variant"] = times
    if "fused" in times:
        report["bytes"] = report_limits(dag, one_map, times["fused"], options)
    write(report, options)

    counts = [int(count) for count in options.variants.split(",") if count]
    if counts:
        print(
            f"\nvariants together, {options.channels_together} channels: seconds of forward+backward per variant\n{'variants':16}"
            + "".join(f"{n:>10}" for n in counts)
        )
        together: dict[str, dict[int, float]] = {name: {} for name in contenders}
        for count in counts:
            for name, row in time_contenders(contenders, [dag] * count, options.channels_together, options).items():
                together[name][count] = row["forward+backward"] / count
        for name, values in together.items():
            print(f"{name:16}" + "".join(f"{values[n]:9.4f}s" if n in values else f"{'-':>10}" for n in counts), flush=True)
        report["seconds per variant"] = together
        if most := max(together.get("fused", {}), default=0):
            one_map = most * options.batch_size * options.channels_together * options.size**2 * number_bytes(options)
            report["bytes together"] = report_limits(dag, one_map, {"forward+backward": most * together["fused"][most]}, options)
        write(report, options)


def write(report: dict[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
        print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
