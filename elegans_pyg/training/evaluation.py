"""Losses and accuracies of every variant over a set of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from elegans_pyg.training.config import PRECISIONS

if TYPE_CHECKING:
    from elegans_pyg.models import ConnectomeClassifier


@dataclass(frozen=True)
class Evaluation:
    """One pass over a set of images.

    Args:
        loss: ``(V,)`` mean cross entropy.
        accuracy: ``(V,)`` share of images right, from 0 to 1.
        predictions: ``(V, n)`` int64 predicted classes.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    predictions: Tensor


def scale_pixels(images: Tensor, precision: str) -> Tensor:
    """uint8 pixels to :math:`p / 255 - 0.5`, in float64 for that precision and float32 for the others."""
    return images.to(torch.float64 if precision == "float64" else torch.float32).div_(255).sub_(0.5)


def image_losses(model: ConnectomeClassifier, images: Tensor, labels: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Cross entropy and prediction of every variant for every image.

    Args:
        model: ``V`` variants.
        images: ``(B, C, H, W)`` or ``(V, B, C, H, W)`` uint8.
        labels: ``(B,)`` or ``(V, B)`` int64.
        precision: As in :class:`~elegans_pyg.training.FitConfig`.

    Returns:
        Losses ``(V, B)`` and predicted classes ``(V, B)``.

    Raises:
        ValueError: if the model's logits have another shape than ``(V, B, K)``.
    """
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=PRECISIONS[precision] == torch.bfloat16):
        logits = model(scale_pixels(images, precision))
    if logits.dim() != 3 or logits.shape[:2] != (model.num_variants, labels.shape[-1]):
        expected = f"({model.num_variants}, {labels.shape[-1]}, classes)"
        raise ValueError(
            f"model: expected logits of shape {expected}, got {tuple(logits.shape)}; return one row of logits a variant and image"
        )
    logits = logits.float() if logits.dtype == torch.bfloat16 else logits
    labels = labels.expand(logits.shape[:2])
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
    return losses, logits.detach().argmax(dim=-1)


def evaluate(
    model: ConnectomeClassifier,
    images: Tensor,
    labels: Tensor,
    batch_size: int = 100,
    precision: str = "float32",
    *,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation | None:
    """Run every variant over ``images``, in evaluation mode and without gradients; the model's mode is put back.

    Args:
        model: ``V`` variants.
        images: ``(n, C, H, W)`` uint8, on the model's device.
        labels: ``(n,)`` int64, on the model's device.
        batch_size: Images a batch.
        precision: As in :class:`~elegans_pyg.training.FitConfig`.
        stop: Asked before every batch; once it says ``True`` the evaluation is given up.
        progress: Told, after every batch, how many images of how many are done.

    Returns:
        The evaluation, or ``None`` if it was given up.
    """
    was_training = model.training
    model.eval()
    loss_sum = torch.zeros(model.num_variants, dtype=torch.float64, device=images.device)
    predictions = []
    try:
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                if stop is not None and stop():
                    return None
                batch = slice(start, start + batch_size)
                losses, predicted = image_losses(model, images[batch], labels[batch], precision)
                loss_sum += losses.sum(dim=1, dtype=torch.float64)
                predictions.append(predicted)
                if progress is not None:
                    progress(min(start + batch_size, len(images)), len(images))
            together = torch.cat(predictions, dim=1)
            accuracy = (together == labels).double().mean(dim=1)
    finally:
        model.train(was_training)
    return Evaluation((loss_sum / len(images)).cpu().numpy(), accuracy.cpu().numpy(), together.cpu().clone())
