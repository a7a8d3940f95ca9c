#!/usr/bin/env python3
"""Why the published M2 collapsed: train it without normalisation until it does, and look at what happens to its products.

    python scripts/m2_collapse.py                     # width 16, two seeds, with and without normalisation
    python scripts/m2_collapse.py --norms none --gain 1   # overflows at the first step

The released log of ElegansNet M2 falls from 0.998 pixel accuracy to 0.847 at epoch 809 and stays there. Whatever the decoder has lost, its
biases alone would give every pixel its commonest value; so two numbers are printed first: the pixel accuracy of that constant image, and
of no ink at all, which is also what NaN gives, since NaN > 0.5 is false. Then plain Adam runs, without the guard that
elegans_pyg.training has against losses that are not finite, and one line an evaluation tells the training loss, the accuracy, and the
largest values that went into the tensor network and came out of it.

A motor neuron's value is a product of dozens of values and of products, so it is next to nothing while all are below 1 and beyond any
number soon after some are not. With the LayerNorm before the network at its usual gain of 1 that is so from the first step; with a smaller
one the network learns, as the published one must have, until training has raised its values that far.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Batch

from elegans_pyg.datasets import Connectome, load_images
from elegans_pyg.models import ElegansM2
from elegans_pyg.nn import TensorNetwork
from elegans_pyg.training import Autoencoding, evaluate
from elegans_pyg.training.data_order import DataOrder


def watch(network: TensorNetwork) -> dict[str, torch.Tensor]:
    """A dictionary whose ``"input"`` and ``"motor"`` are always the last forward walk's largest magnitudes, ``(V,)`` each."""
    seen: dict[str, torch.Tensor] = {}

    def keep(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        x, motors, valid = inputs
        values = torch.where(valid[:, :, None, None], motors.detach(), 0.0)
        # amax hands NaN on, so that an overflow is seen and not skipped.
        seen["input"], seen["motor"] = (part.detach().abs().flatten(1).amax(dim=1) for part in (x, values))

    assert network.attention is not None
    network.attention.register_forward_pre_hook(keep)
    return seen


def study(norm: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train ``options.seeds`` autoencoders with one normalisation; one row an evaluation and seed."""
    images, objective = load_images(options.dataset, options.image_root, quiet=True), Autoencoding()
    graph = Connectome("varshney2011-hermaphrodite", synapses="both")[0]
    seeds = list(range(options.seeds))
    network = TensorNetwork(Batch.from_data_list([graph] * len(seeds)), options.width, norm=norm, seeds=seeds)
    seen = watch(network)
    model = ElegansM2(network, images.in_channels, images.image_size, seeds=seeds)
    gain = model.encoder.stacked[-1].weight if isinstance(model.encoder.stacked, torch.nn.Sequential) else None
    assert isinstance(gain, torch.nn.Parameter)
    with torch.no_grad():
        gain.fill_(options.gain)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.learning_rate)
    order = DataOrder(len(images.train_images), options.batch_size, 0, torch.device("cpu"))
    test, labels = images.test_images[: options.test_images], images.test_labels[: options.test_images]
    rows: list[dict[str, Any]] = []
    peak = {name: torch.zeros(len(seeds)) for name in ("input", "motor")}
    for iteration in range(1, options.iterations + 1):
        batch = order.next_batch()
        judged = objective.measure(model, images.train_images[batch], images.train_labels[batch], "float32")
        optimizer.zero_grad()
        losses = judged.losses.mean(dim=1)
        # nansum: a variant that has overflowed must not end the others, which have parameters of their own.
        losses.nansum().backward()
        optimizer.step()
        peak = {name: torch.maximum(value, seen[name]) for name, value in peak.items()}
        if iteration % options.every == 0 or iteration == options.iterations:
            evaluation = evaluate(model, test, labels, 250, objective=objective)
            assert evaluation is not None
            for seed in seeds:
                accuracy = float(evaluation.scores["pixel_accuracy"][seed])
                row = {"norm": norm, "seed": seed, "iteration": iteration, "loss": float(losses[seed].detach())}
                row |= {name: float(value[seed]) for name, value in peak.items()} | {"pixel_accuracy": accuracy}
                rows.append(row)
                shown = (
                    f"{norm:>6} {seed:4d} {iteration:9,d} {row['loss']:10.4f} {row['input']:14.4g} {row['motor']:14.4g} {accuracy:14.5f}"
                )
                print(shown, flush=True)
            peak = {name: torch.zeros_like(value) for name, value in peak.items()}
            if not losses.isfinite().any():
                break
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--norms", default="none,state", help="normalisations of the tensor network, in turn")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--gain", type=float, default=0.2, help="first gain of the LayerNorm before the tensor network")
    parser.add_argument("--iterations", type=int, default=3_000)
    parser.add_argument("--every", type=int, default=200, help="iterations between evaluations")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--image-root")
    parser.add_argument("--test-images", type=int, default=10_000, help="test images an evaluation looks at")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="JSON file for the rows")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    images = load_images(options.dataset, options.image_root, quiet=True)
    ink = Autoencoding().targets(images.train_images).mean(dim=0) > 0.5
    test = Autoencoding().targets(images.test_images[: options.test_images]) > 0.5
    blank, constant = (1 - test.double().mean()).item(), (test == ink).double().mean().item()
    print(f"{len(test):,} of {images.name}: no ink at all scores {blank:.5f}, each pixel's commonest value {constant:.5f}")
    print(f"{'norm':>6} {'seed':>4} {'iteration':>9} {'loss':>10} {'largest input':>14} {'largest motor':>14} {'pixel accuracy':>14}")
    started, rows = time.perf_counter(), []
    for norm in options.norms.split(","):
        rows += study(norm, options)
    print(f"{time.perf_counter() - started:.0f} s")
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
