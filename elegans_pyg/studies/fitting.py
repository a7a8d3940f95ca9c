"""Training the units of a shard as one ensemble."""

from typing import Any

import pandas as pd
import torch

from elegans_pyg._extras import require
from elegans_pyg.datasets.image_kind import ImageKind
from elegans_pyg.datasets.images import ImageData, load_images
from elegans_pyg.studies.settings import ImageSettings
from elegans_pyg.studies.study import Interrupted, Shard
from elegans_pyg.training import FitResult, FitSettings, Objective, fit, resolve_device
from elegans_pyg.training.checkpoint import has_checkpoint
from elegans_pyg.training.data import FitData
from elegans_pyg.training.data_order import DataOrder, validation_split

_IMAGES = "images.json"


def fit_shard(shard: Shard, model: Any, data: ImageData | FitData, training: FitSettings, objective: Objective | None = None) -> FitResult:
    """Train and test the units of a shard, or resume from its checkpoint; see :func:`~elegans_pyg.training.fit`.

    A unit whose loss becomes non-finite is stopped, whether or not others of the shard go on.

    Raises:
        Interrupted: if a signal arrived; a checkpoint was written, of the finished training if it came too late to stop it.
    """
    if isinstance(data, ImageData):
        shard.write(_IMAGES, ImageKind.of(data).to_json())
    fitted = fit(
        model,
        data,
        training,
        objective=objective,
        variants=shard.variants(),
        out=shard.folder,
        resume=has_checkpoint(shard.folder),
        quiet=shard.quiet,
        allow_all_stopped=True,
    )
    if fitted.signal is not None:
        raise Interrupted(fitted.signal)
    return fitted


def image_kind(settings: ImageSettings, shard: Shard) -> ImageKind:
    """Return size, channels and classes of a shard's training images. They are saved with the weights, so that these can be used without
    the images."""
    file = shard.folder / _IMAGES
    if file.is_file():
        return ImageKind.from_json(file.read_bytes())
    return ImageKind.of(load_images(settings.dataset, settings.image_root, train_images=settings.train_images, quiet=True))


def precision_of(network: Any) -> str:
    """Return the precision of a network's parameters, as in :class:`~elegans_pyg.training.FitSettings`."""
    return "float64" if next(network.parameters()).dtype == torch.float64 else "float32"


def check_fit(training: FitSettings, images: ImageData) -> None:
    """Check what :func:`~elegans_pyg.training.fit` would refuse, before anything is written.

    Raises:
        ValueError: if the device is not available, a batch is larger than the training set, or there are no validation images to select by.
        ImportError: if the extra ``tensorboard`` is missing.
    """
    resolve_device(training.device)
    if training.tensorboard:
        require("torch.utils.tensorboard", "tensorboard", "writing TensorBoard files")
    chosen, _ = validation_split(images.train_labels, training)
    if training.last_batch == "drop":
        DataOrder(len(chosen), training.batch_size, training.data_seed, torch.device("cpu"))


def fitted_rows(shard: Shard, fitted: FitResult, model: Any) -> pd.DataFrame:
    """Add to the shard's rows the test scores, the iteration of the tested weights, the numbers of parameters, and the reason why a unit
    was stopped (empty if it was not)."""
    scores = fitted.results.drop(columns=["variant", "family", "wiring_seed", "seed"])
    rows = pd.concat([shard.units, scores.reset_index(drop=True)], axis=1)
    rows["tested_at"] = fitted.tested_at
    rows["parameters"] = model.parameters_per_variant()
    rows["trained"] = model.parameters_per_variant(trainable=True)
    rows["stopped"] = [fitted.stopped.get(variant, "") for variant in range(len(rows))]
    return rows
