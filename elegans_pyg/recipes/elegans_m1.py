"""ElegansNet M1: CIFAR classifiers with connectomes, rewired variants, dense layers or nothing between encoder and classes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich import box
from rich.table import Table

from elegans_pyg.datasets.images import ImageData
from elegans_pyg.models import DenseNetwork, ElegansM1
from elegans_pyg.models.encoders import RESNET9_CHANNELS
from elegans_pyg.models.variants import VariantNetwork
from elegans_pyg.recipes.config import absolute
from elegans_pyg.recipes.elegans import (
    Arm,
    ElegansConfig,
    ElegansResult,
    draw_arms,
    network_parameters,
    run_arms,
    tensor_network,
    together,
    wired_or_not,
)
from elegans_pyg.training import Classification, FitConfig, resolve_device

RESERVOIR, DENSE, ENCODER = "reservoir", "dense", "encoder"
LABELS = {
    "connectome": "connectome",
    RESERVOIR: "connectome, frozen (reservoir)",
    DENSE: "dense head, equal parameters",
    ENCODER: "bare encoder",
}
PUBLISHED = {"cifar10": 0.9999, "cifar100": 0.9999}
"""Top-1 accuracy in the abstract of Elegans-AI (2024), with neither code nor weights nor logs for this model."""


@dataclass(frozen=True)
class ElegansM1Config(ElegansConfig):
    """The settings of M1: those of :class:`~elegans_pyg.recipes.elegans.ElegansConfig`, and the encoder's.

    Args:
        encoder, encoder_channels, weights: of :class:`~elegans_pyg.models.ElegansM1`.
    """

    dataset: str = "cifar10"
    width: int = 128
    encoder: str = "resnet9"
    encoder_channels: tuple[int, ...] = RESNET9_CHANNELS
    weights: str | None = None
    training: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "encoder_channels", tuple(self.encoder_channels))

    def with_absolute_paths(self) -> ElegansM1Config:
        return replace(super().with_absolute_paths(), weights=None if self.weights is None else absolute(self.weights))


@dataclass(frozen=True)
class ReproductionM1:
    """Published numbers beside measured ones.

    Attributes:
        run: the run.
        accuracy: one row a network: ``network``, ``runs``, ``parameters``, ``trained``, ``mean`` and ``sd`` of the test accuracy.
        notes: what a reader has to know to compare the two.
    """

    run: ElegansResult
    accuracy: pd.DataFrame
    notes: list[str]

    def table(self) -> Table:
        """The accuracies, for the terminal."""
        config = self.run.config
        table = Table(title=f"Test accuracy on {config.dataset}", title_justify="left", box=box.SIMPLE_HEAD)
        for heading in ("network", "runs", "parameters", "trained", "accuracy %"):
            table.add_column(heading, justify="left" if heading == "network" else "right")
        published = PUBLISHED.get(config.dataset)
        if published is not None:
            table.add_row("published (unverified)", "1", "107 M", "–", f"{100 * published:.2f}")
        for row in self.accuracy.itertuples():
            spread = "" if pd.isna(row.sd) else f" ± {100 * row.sd:.2f}"
            table.add_row(row.network, str(row.runs), f"{row.parameters:,.0f}", f"{row.trained:,.0f}", f"{100 * row.mean:.2f}{spread}")
        return table


def elegans_m1_config(quick: bool = False, device: str = "auto") -> ElegansM1Config:
    """The settings of the reproduction, and of its shortened form.

    Args:
        quick: minutes on two CPU cores: a ResNet-9 of 16, 32, 64 and 64 channels, width 32, one run of the connectome and each control and
            one wiring of each family, 500 iterations.
        device: where to train; on CUDA in bfloat16.
    """
    precision = "bfloat16" if resolve_device(device).type == "cuda" else "float32"
    common: dict[str, Any] = {"schedule": "cosine", "augment": "crop_flip_cutout", "device": device, "precision": precision}
    if quick:
        training = FitConfig(
            iterations=500, batch_size=64, learning_rate=0.004, warmup=0.1, eval_every=250, checkpoint_every=250, **common,
            weight_decay=0.01, validation_fraction=0.02, eval_batch_size=250,
        )  # fmt: skip
        return ElegansM1Config(width=32, seeds=1, variants=1, encoder_channels=(16, 32, 64, 64), training=training)
    training = FitConfig(
        iterations=3_600, batch_size=512, learning_rate=0.004, warmup=0.2, eval_every=450, checkpoint_every=900, **common,
        weight_decay=0.05, validation_fraction=0.02, eval_batch_size=1_000,
    )  # fmt: skip
    return ElegansM1Config(training=training)


def reproduce(config: ElegansM1Config, out: str | Path | None = None, *, resume: bool = False, quiet: bool = False) -> ReproductionM1:
    """Train connectome, reservoir, families and controls, and set them against the paper.

    Arguments and errors are those of :func:`~elegans_pyg.recipes.elegans.run_arms`.
    """
    parameters = network_parameters(config)

    def build(arms: list[Arm], images: ImageData) -> VariantNetwork:
        models: list[VariantNetwork] = []
        for kind, group in wired_or_not(arms, RESERVOIR):
            seeds = [arm.seed for arm in group]
            network: torch.nn.Module | None = None
            if kind == DENSE:
                network = DenseNetwork(config.width, parameters, len(group), seeds)
            elif kind != ENCODER:
                network = tensor_network(group, config, freeze=kind == "frozen")
            model = ElegansM1(
                network,
                images.num_classes,
                images.in_channels,
                encoder=config.encoder,
                encoder_channels=config.encoder_channels,
                weights=config.weights,
                image_size=images.image_size,
                num_variants=len(group),
                seeds=seeds,
            )
            models.append(model)
        return together(models)

    arms = draw_arms(config, RESERVOIR, (DENSE, ENCODER))
    nothing = [None] * len(arms)
    done = run_arms(
        config,
        arms,
        build,
        Classification(),
        lambda model, images: ({}, nothing[: model.num_variants]),
        lambda samples, images: {},
        "reproduce elegans-m1 --resume --out <this folder>",
        out,
        resume=resume,
        quiet=quiet,
    )
    return ReproductionM1(done, _accuracy(done.results) if not done.interrupted else pd.DataFrame(), _notes(config))


def _accuracy(results: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for family, group in results.groupby("family", sort=False):
        finished = group["accuracy"].dropna()
        network = LABELS.get(str(family), str(family))
        rows.append((network, family, len(finished), group["parameters"].mean(), group["trained"].mean(), finished.mean(), finished.std()))
    return pd.DataFrame(rows, columns=["network", "family", "runs", "parameters", "trained", "mean", "sd"])


def _notes(config: ElegansM1Config) -> list[str]:
    full, notes = elegans_m1_config(device="cpu"), []
    if config.training.iterations * config.training.batch_size < full.training.iterations * full.training.batch_size:
        images = config.training.iterations * config.training.batch_size
        notes.append(
            f"Shortened: {images:,} images a run instead of {full.training.iterations * full.training.batch_size:,}, a {config.encoder} of"
            f" {', '.join(map(str, config.encoder_channels))} channels, width {config.width}, {config.seeds} run(s) and {config.variants}"
            " wiring(s) a family; accuracies below those of the full length are to be expected."
        )
    if config.dataset in PUBLISHED:
        notes.append(
            "The published 99.99 % cannot be reproduced: encoder, training and weights were never released. What can be compared is the"
            " same encoder with different heads."
        )
    return notes
