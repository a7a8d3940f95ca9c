#!/usr/bin/env python3
"""Time whole training steps of a classifier, images per second, and say what a step's time goes to.

    python scripts/bench_training.py                                       # images like MNIST's, batch 100, 16 and 78 channels
    python scripts/bench_training.py --size 8 --batch-size 50 --channels 24 --variants 15    # the quickstart's step

The images are random numbers: a step's time does not depend on what they show.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch_geometric.data import Batch

sys.path.insert(0, str(Path(__file__).parent.parent))

from elegans_pyg.datasets import Connectome
from elegans_pyg.models import ConnectomeClassifier
from elegans_pyg.recipes.ensemble import MAPS_PER_EDGE, MAPS_PER_NODE
from elegans_pyg.training import Classification, FitSettings
from elegans_pyg.training.trainer import Trainer
from elegans_pyg.transforms import ConstrainedDAG
from scripts.memory import refuse_if_too_large

PARTS = {
    "walk of the DAGs": "walk",
    "other convolutions": "convolution",
    "optimiser": "adam",
    "copies and gathers": ("copy", "index", "cat"),
}


def part_of(operation: str) -> str:
    name = operation.lower()
    return next((part for part, keys in PARTS.items() if any(key in name for key in ([keys] if isinstance(keys, str) else keys))), "rest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", default="16,78")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--size", type=int, default=28, help="height and width of the images")
    parser.add_argument("--variants", type=int, default=1, help="copies of the hermaphrodite trained side by side")
    parser.add_argument("--executor", default="auto")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    batch = Batch.from_data_list([ConstrainedDAG()(Connectome()[0])] * options.variants)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (10 * options.batch_size, 1, options.size, options.size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (len(images),), generator=generator)
    print(
        f"{options.variants} variants, {options.size}x{options.size} images, batch {options.batch_size}; {torch.get_num_threads()} threads"
    )
    for channels in (int(text) for text in options.channels.split(",")):
        model = ConnectomeClassifier(batch, 1, 10, channels, executor=options.executor).to(options.device)
        executor = model.dag.executor_in_use()
        count = batch.num_nodes * MAPS_PER_NODE[executor] + batch.num_edges * MAPS_PER_EDGE.get(executor, 0)
        # The convolutions before the DAG make maps of half the images' height and width.
        needed = 4 * count * options.batch_size * channels * (options.size // 2) ** 2
        refuse_if_too_large("a step", needed, "use fewer --channels or --variants, or a smaller --batch-size", options.device)
        data = (images.to(options.device), labels.to(options.device))
        trainer = Trainer(model, data, FitSettings(batch_size=options.batch_size), Classification())
        seconds = []
        for _ in range(3 + options.steps):
            start = time.perf_counter()
            trainer.step()
            if options.device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        step = statistics.median(seconds[3:])
        rate = options.variants * options.batch_size / step
        print(f"\n{channels} channels, {model.dag.executor_in_use()}: a step takes {step:.3f} s, {rate:.1f} images per second")
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if options.device == "cuda" else [])]
        with profile(activities=activities) as profiler:
            for _ in range(3):
                trainer.step()
        shares: dict[str, float] = {}
        for event in profiler.key_averages():
            spent = event.self_device_time_total if options.device == "cuda" else event.self_cpu_time_total
            shares[part_of(event.key)] = shares.get(part_of(event.key), 0.0) + spent
        whole = sum(shares.values())
        print("; ".join(f"{part} {value / whole:.1%}" for part, value in sorted(shares.items(), key=lambda item: -item[1])))


if __name__ == "__main__":
    main()
