"""Losses and scores of every variant over a set of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elegans_pyg.training.objective import Classification, Objective, VariantModel


@dataclass(frozen=True)
class Evaluation:
    """One pass over a set of images.

    Args:
        loss: ``(V,)`` mean loss.
        scores: By name, ``(V,)`` each: ``accuracy`` (share of images right, from 0 to 1) where classes are told apart.
        predictions: ``(V, n)`` int64 predicted classes; ``None`` where there are no classes.
    """

    loss: np.ndarray
    scores: dict[str, np.ndarray]
    predictions: Tensor | None


def evaluate(
    model: VariantModel,
    images: Tensor,
    labels: Tensor,
    batch_size: int = 100,
    precision: str = "float32",
    *,
    objective: Objective | None = None,
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
        objective: Loss and scores; by default those of :class:`~elegans_pyg.training.Classification`.
        stop: Asked before every batch; once it says ``True`` the evaluation is given up.
        progress: Told, after every batch, how many images of how many are done.

    Returns:
        The evaluation, or ``None`` if it was given up.
    """
    objective = objective or Classification()
    was_training = model.training
    model.eval()
    loss_sum = torch.zeros(model.num_variants, dtype=torch.float64, device=images.device)
    counts = torch.zeros(len(loss_sum), len(objective.count_names), dtype=torch.float64, device=images.device)
    predictions = []
    try:
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                if stop is not None and stop():
                    return None
                batch = slice(start, start + batch_size)
                judged = objective.judge(model, images[batch], labels[batch], precision)
                loss_sum += judged.losses.sum(dim=1, dtype=torch.float64)
                counts += judged.counts
                if judged.predictions is not None:
                    predictions.append(judged.predictions)
                if progress is not None:
                    progress(min(start + batch_size, len(images)), len(images))
            together = torch.cat(predictions, dim=1) if predictions else None
            scores = objective.scores(counts, len(images)).cpu().numpy()
    finally:
        model.train(was_training)
    by_name = dict(zip(objective.score_names, scores.T.copy(), strict=True))
    return Evaluation((loss_sum / len(images)).cpu().numpy(), by_name, None if together is None else together.cpu().clone())
