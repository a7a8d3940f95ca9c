"""ElegansNet M1: CIFAR classifiers with connectomes, rewired wirings, dense layers or nothing between encoder and classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

import elegans_pyg as ep
from elegans_pyg._files import sha256
from elegans_pyg._settings import Counts, Name
from elegans_pyg.recipes import tensor_networks as networks
from elegans_pyg.recipes.ensemble import images_of, nothing_learned
from elegans_pyg.recipes.tensor_networks import ENCODER, TensorSettings, Width
from elegans_pyg.studies.settings import ImageSet, OptionalFile
from elegans_pyg.studies.study import Finished, Memory, Report, Shard, Study
from elegans_pyg.training.settings import FitSettings, Precision

if TYPE_CHECKING:
    import pandas as pd

    from elegans_pyg.models.variants import VariantNetwork

RESERVOIR, DENSE = "reservoir", "dense"
LABELS = {RESERVOIR: "connectome, frozen (reservoir)", DENSE: "dense head, equal parameters", ENCODER: "bare encoder"}
PUBLISHED = {"cifar10": 0.9999, "cifar100": 0.9999}
"""Top-1 accuracy in the abstract of Elegans-AI (2024); code, weights and logs of this model are not published."""

COMMON: dict[str, Any] = {"learning_rate": 0.004, "schedule": "cosine", "augment": "crop_flip_cutout", "validation_fraction": 0.02}
FULL: dict[str, Any] = {
    **{"iterations": 3_600, "batch_size": 512, "warmup": 0.2, "eval_every": 450, "checkpoint_every": 900},
    **{"weight_decay": 0.05, "eval_batch_size": 1_000},
}
QUICK: dict[str, Any] = {
    **{"iterations": 500, "batch_size": 64, "warmup": 0.1, "eval_every": 250, "checkpoint_every": 250},
    **{"weight_decay": 0.01, "eval_batch_size": 250},
}


def _small(channels: tuple[int, ...]) -> tuple[int, ...]:
    if max(channels) > 100_000:
        raise ValueError(f"expected at most 100,000 each, got {max(channels)}; lower it")
    return channels


class M1Settings(TensorSettings):
    """Settings of M1: those of all tensor networks, and of the encoder."""

    group: ClassVar[str] = "Network"

    dataset: ImageSet = Field("cifar10", description="Images by name (see info), or a folder of them.")
    width: Width = Field(128, description="Features per neuron.")
    encoder: Name = Field("resnet9", description="resnet9, or a timm model's name (extra timm).")
    encoder_channels: Annotated[Counts, Field(min_length=4, max_length=4), AfterValidator(_small)] = Field(
        (64, 128, 256, 512), description="The four widths of resnet9."
    )
    weights: OptionalFile = Field(None, description="Safetensors file with a timm encoder's parameters; nothing is downloaded.")
    training: FitSettings = FitSettings(**COMMON, **FULL)


def m1_settings(given: Mapping[str, Any], quick: bool = False) -> M1Settings:
    """Settings of the reproduction; bfloat16 on CUDA. ``quick`` takes minutes on two CPU cores: a small ResNet-9, width 32, and one run of
    the connectome, each baseline and each family."""
    device = str(given.get("device", "auto"))
    if device == "auto":
        from elegans_pyg.training import resolve_device

        device = resolve_device("auto").type
    precision: Precision = "bfloat16" if device.startswith("cuda") else "float32"
    training = FitSettings(**COMMON, **(QUICK if quick else FULL), precision=precision, data_seed=given.get("seed", 0))
    if quick:
        return M1Settings(width=32, seeds=1, variants=1, encoder_channels=(16, 32, 64, 64), training=training)
    return M1Settings(training=training)


def check_and_hash(settings: M1Settings) -> dict[str, str]:
    """Hash the images and weights; an unavailable encoder is refused before the images are loaded."""
    from elegans_pyg.models.encoders import check_encoder, make_encoders

    check_encoder(settings.encoder, settings.weights)
    hashes, images = networks.tensor_data(settings), images_of(settings)
    check_encoder(settings.encoder, settings.weights, images.image_size)
    if settings.weights is not None:
        make_encoders(settings.encoder, images.in_channels, [0], weights=settings.weights, image_size=images.image_size)
        hashes["weights"] = sha256(Path(settings.weights).expanduser().read_bytes())
    return hashes


def m1_memory(settings: M1Settings, units: ep.studies.Units) -> Memory:
    """See :func:`~elegans_pyg.recipes.tensor_networks.tensor_memory`; the encoder's numbers are counted on an encoder."""
    from elegans_pyg.models.encoders import ResNet9, make_encoders
    from elegans_pyg.models.variants import footprint

    images = images_of(settings)
    shape = (images.in_channels, *images.image_size)
    if settings.encoder == "resnet9":
        return networks.tensor_memory(settings, footprint(lambda: ResNet9(images.in_channels, settings.encoder_channels), *shape))
    encoder = make_encoders(settings.encoder, images.in_channels, [0], image_size=images.image_size)[0]
    return networks.tensor_memory(settings, footprint(lambda: encoder, 1, *shape, device="cpu"))


def network(settings: M1Settings, shard: Shard, weights: str | None = None) -> VariantNetwork:
    """The shard's classifiers, untrained, or with an encoder that has the pretrained ``weights``."""
    kind = ep.studies.image_kind(settings, shard)
    options: dict[str, Any] = {name: getattr(settings, name) for name in ("encoder", "encoder_channels")}
    options |= {"image_size": kind.size, "weights": weights}

    def build(middle: Any, seeds: list[int]) -> VariantNetwork:
        return ep.models.ElegansM1(middle, len(kind.classes), kind.channels, num_variants=len(seeds), seeds=seeds, **options)

    return networks.build_models(settings, shard, RESERVOIR, build)


def measure(settings: M1Settings, shard: Shard) -> pd.DataFrame:
    """Train the shard's classifiers side by side, and test them."""
    images = images_of(settings)
    model = network(settings, shard, settings.weights)
    return ep.studies.fitted_rows(shard, ep.studies.fit_shard(shard, model, images, settings.training), model)


def report(done: Finished[M1Settings]) -> Report:
    """Show accuracies beside the published one, and compare the families with the connectome."""
    settings, training, notes, published = done.settings, done.settings.training, [], []
    images, full = training.iterations * training.batch_size, FULL["iterations"] * FULL["batch_size"]
    if images < full:
        encoder = f"a {settings.encoder} of {', '.join(map(str, settings.encoder_channels))} channels, width {settings.width}"
        runs = f"{settings.seeds} run(s) and {settings.variants} wiring(s) per family"
        short = f"{images:,} images per run instead of {full:,}, {encoder}, {runs}"
        notes.append(f"Shortened: {short}; accuracies below those of the full length are to be expected.")
    if (name := Path(settings.dataset).name) in PUBLISHED:
        published.append(("published (unverified)", "1", "107 M", ep.studies.MISSING, f"{100 * PUBLISHED[name]:.2f}"))
        why = "cannot be reproduced: encoder, training and weights were never released"
        notes.append(f"The published 99.99 % {why}. The comparison here is between the same encoder with different heads.")
    title, scores = f"Test accuracy on {settings.dataset}", {"accuracy": ("accuracy %", 100, 2)}
    nothing = nothing_learned(done.rows, images_of(settings).test_labels)
    found = networks.report_networks(done, title, LABELS, scores, published, [*nothing, *notes], ("parameters", "trained"))
    return replace(found, answer=nothing)


ELEGANS_M1: Study[M1Settings] = Study(
    "reproduce elegans-m1",
    M1Settings,
    lambda settings: networks.tensor_units(settings, RESERVOIR, DENSE, ENCODER),
    measure,
    report,
    data=check_and_hash,
    memory=m1_memory,
    network=network,
    predicts="classes",
    base=m1_settings,
    shard_size=lambda settings: settings.at_once or None,
    text="""ElegansNet M1 (2023): CIFAR classifiers with the connectome between encoder and classes.

    Connectome, reservoir (frozen), rewired and generated wirings, and as baselines the bare encoder and a dense head of as many parameters.
    --dataset cifar10 (the default) or cifar100. The full form needs a GPU and computes in bfloat16; --quick is for two CPU cores.""",
    quick="A shortened form, for two CPU cores.",
)
