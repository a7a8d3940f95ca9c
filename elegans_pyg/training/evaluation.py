"""Losses and scores of every variant over a set of samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elegans_pyg.training.objective import BatchResult, Classification, Objective, VariantModel


@dataclass(frozen=True)
class Evaluation:
    """One pass over a set of images or sequences.

    Args:
        loss: ``(V,)`` mean loss.
        scores: By name, ``(V,)`` each: ``accuracy`` (share of images right, from 0 to 1) where classes are told apart.
        predictions: ``(V, n)`` int64 predicted classes; ``None`` where there are no classes.
    """

    loss: np.ndarray
    scores: dict[str, np.ndarray]
    predictions: Tensor | None

    @classmethod
    def from_batches(cls, objective: Objective, batches: list[BatchResult]) -> Evaluation:
        """Put the results of all batches together."""
        count = sum(batch.samples for batch in batches)
        loss = torch.stack([batch.losses.detach().mean(dim=1, dtype=torch.float64) * batch.samples for batch in batches]).sum(dim=0) / count
        scores = objective.scores(torch.stack([batch.counts for batch in batches]).sum(dim=0), count).cpu().numpy()
        predictions = [batch.predictions for batch in batches if batch.predictions is not None]
        together = torch.cat(predictions, dim=1).cpu().clone() if predictions else None
        return cls(objective.total(loss).cpu().numpy(), dict(zip(objective.score_names, scores.T.copy(), strict=True)), together)


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
        images: ``(n, C, H, W)`` uint8, or what else the objective takes, on the model's device.
        labels: ``(n,)`` int64, or what else the objective takes, on the model's device.
        batch_size: Images a batch.
        precision: As in :class:`~elegans_pyg.training.FitSettings`.
        objective: Loss and scores; by default those of :class:`~elegans_pyg.training.Classification`.
        stop: Asked before every batch; once it says ``True`` the evaluation is given up.
        progress: Told, after every batch, how many images of how many are done.

    Returns:
        The evaluation, or ``None`` if it was given up.
    """
    objective = objective or Classification()
    was_training = model.training
    model.eval()
    batches = []
    try:
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                if stop is not None and stop():
                    return None
                batch = slice(start, start + batch_size)
                batches.append(objective.measure(model, images[batch], labels[batch], precision))
                if progress is not None:
                    progress(min(start + batch_size, len(images)), len(images))
            return Evaluation.from_batches(objective, batches)
    finally:
        model.train(was_training)
