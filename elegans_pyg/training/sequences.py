"""Reduced-order models: root mean squared error over sequences, with the published settings."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import pandas as pd
import torch
from torch import Tensor

from elegans_pyg.training.data import Pair
from elegans_pyg.training.objective import BatchResult, Objective, VariantModel


@dataclass(frozen=True)
class SequenceRegression(Objective):
    r"""The root of the mean squared difference over the sequences of a batch, their steps and outputs:
    :math:`\sqrt{\frac{1}{S T O} \sum (\hat y - y)^2}`, for models that map ``(S, T, I)`` to ``(V, S, T, O)``.

    Gradients run back through every step of a sequence, however long. Validation sequences go through the network beside the next
    step's, which costs less than a pass of their own: kernels walk many sequences at once.
    """

    score_names: ClassVar[tuple[str, ...]] = ("rmse",)
    count_names: ClassVar[tuple[str, ...]] = ("squared_error",)
    lowest_is_best: ClassVar[bool] = True
    beside: ClassVar[bool] = True
    fused_adam: ClassVar[bool] = False

    def measure(self, model: VariantModel, inputs: Tensor, targets: Tensor, precision: str) -> BatchResult:
        """See :meth:`Objective.measure`; raises ``ValueError`` if the outputs have another shape than ``(V,)`` and the targets'."""
        return _squared_errors(model(inputs), targets)

    def measure_both(self, model: VariantModel, batch: Pair, other: Pair, precision: str) -> tuple[BatchResult, BatchResult]:
        count = len(batch[0])
        outputs = cast(Any, model)(torch.cat([batch[0], other[0]]), trained=count)
        return _squared_errors(outputs[:, :count], batch[1]), _squared_errors(outputs[:, count:].detach(), other[1])

    def total(self, mean: Tensor) -> Tensor:
        # Where a fit is perfect, the root has no slope.
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).sqrt()

    def scores(self, counts: Tensor, images: int) -> Tensor:
        return (counts / images).sqrt()


def _squared_errors(outputs: Tensor, targets: Tensor) -> BatchResult:
    if outputs.shape[1:] != targets.shape:
        shapes = f"(V, {', '.join(map(str, targets.shape))}) like the targets, got {tuple(outputs.shape)}"
        raise ValueError(f"model: expected outputs of shape {shapes}; give one row a step and one column an output")
    # With the sequences innermost in memory, as the kernels have them: otherwise the loss takes as long as they do.
    laid_out = targets.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    # In one sum over all of a variant's numbers, whose order does not depend on the variants beside it.
    error = (outputs - laid_out).square().mean(dim=(1, 2, 3)).unsqueeze(1)
    return BatchResult(error, error.detach().double() * len(targets), None, len(targets))


def replica_rmse(predicted: Tensor, target: Tensor) -> Tensor:
    """Root of the mean squared difference over sequences, steps and outputs: ``(R, S, T, O)`` and ``(S, T, O)`` to ``(R,)``."""
    return SequenceRegression().total((predicted - target).square().mean((1, 2, 3)))


def epoch_table(metrics: pd.DataFrame, steps: int) -> pd.DataFrame:
    """The ``metrics`` of a :class:`~elegans_pyg.training.FitResult`, of so many ``steps`` an epoch, with one row an epoch and replica:
    ``epoch`` (from 1), ``replica``, ``seed``, ``train`` (mean RMSE of the epoch's batches, each before its update) and ``validation`` (RMSE
    after the epoch)."""
    rows = metrics[metrics["split"] != "test"]
    table = rows.pivot(index=["iteration", "variant", "seed"], columns="split", values="loss").rename_axis(columns=None).reset_index()
    table.insert(0, "epoch", table.pop("iteration") // steps)
    return table.rename(columns={"variant": "replica"}).reindex(columns=["epoch", "replica", "seed", "train", "validation"])
