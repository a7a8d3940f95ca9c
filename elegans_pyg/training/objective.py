"""Training objectives: losses and scores, and their evaluation over a set of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from elegans_pyg._arguments import check_whole
from elegans_pyg.training.data import FitData, Pair


class VariantModel(Protocol):
    """Interface of a trainable model: a :class:`torch.nn.Module` that knows its variants.

    ``variant_ptr()`` returns, for every parameter and buffer, the offsets of the variants' parts; buffers that it omits are constants
    shared by all variants.
    """

    training: bool

    @property
    def num_variants(self) -> int: ...
    def variant_ptr(self) -> dict[str, list[int]]: ...
    def __call__(self, images: Tensor) -> Tensor: ...
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...
    def to(self, *args: Any, **kwargs: Any) -> Any: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...
    def named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...
    def named_buffers(self, *, remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]: ...
    def modules(self) -> Iterator[Any]: ...


class BatchResult(NamedTuple):
    """Result of one batch of ``B`` samples.

    Attributes:
        losses: ``(V, B)`` of every variant for every image, or ``(V, 1)``, their mean.
        counts: ``(V, K)`` float64 sums from which :meth:`Objective.scores` are computed.
        predictions: ``(V, B)`` int64 classes; ``None`` if there are no classes.
        samples: ``B``.
    """

    losses: Tensor
    counts: Tensor
    predictions: Tensor | None
    samples: int


class Objective(ABC):
    """A loss for each variant and image, and scores over many images.

    Scores are computed from sums, which add up over batches and are saved in checkpoints.

    Attributes:
        score_names, count_names: columns beside ``loss``, the first of which selects the best evaluation; and names of the sums.
        fused_adam: whether Adam's fused kernels may be used. They are the fastest, but on a CPU they round the end of a tensor differently
            from its middle, so that the last bits of a variant depend on its position.
        lowest_is_best: whether a lower first score is better.
        beside: whether evaluations before the last share a forward pass with the next step's batch, by :meth:`measure_both`.
    """

    score_names: ClassVar[tuple[str, ...]]
    count_names: ClassVar[tuple[str, ...]]
    fused_adam: ClassVar[bool] = True
    lowest_is_best: ClassVar[bool] = False
    beside: ClassVar[bool] = False

    def check(self, data: FitData, precision: str) -> None:  # noqa: B027
        """Raise ``ValueError`` for data, or a ``precision`` as in ``FitSettings``, that the objective cannot be computed for; called before
        a run begins."""

    @abstractmethod
    def measure(self, model: VariantModel, images: Tensor, labels: Tensor, precision: str) -> BatchResult:
        """Compute loss and counts of ``V`` variants for a batch of images, ``(B, C, H, W)`` or ``(V, B, C, H, W)`` uint8 (or other inputs
        of the model), and labels, ``(B,)`` or ``(V, B)`` int64 (or other targets); ``precision`` as in ``FitSettings``."""

    def measure_both(self, model: VariantModel, batch: Pair, other: Pair, precision: str) -> tuple[BatchResult, BatchResult]:
        """As :meth:`measure`, for a training batch and, without gradients, for other samples, in one forward pass."""
        raise NotImplementedError

    def total(self, mean: Tensor) -> Tensor:
        """Compute the loss ``(V,)`` to minimise from the mean loss ``(V,)`` of a batch; by default the mean itself."""
        return mean

    @abstractmethod
    def scores(self, counts: Tensor, images: int) -> Tensor:
        """Compute scores ``(V, len(score_names))`` from the summed counts ``(V, K)`` of ``images`` images."""


@dataclass(frozen=True)
class Classification(Objective):
    """Cross entropy over classes, for models that give logits ``(V, B, K)``; pixels are scaled to :math:`p / 255 - 0.5`."""

    score_names: ClassVar[tuple[str, ...]] = ("accuracy",)
    count_names: ClassVar[tuple[str, ...]] = ("correct",)

    def check(self, data: FitData, precision: str) -> None:
        """Raise ``ValueError`` for a negative label, or one without a class name if there are names."""
        last = len(data.classes) - 1
        for name, (_, labels) in data.splits().items():
            low, high = (int(end) for end in labels.aminmax())
            if low < 0 or 0 <= last < high:
                expected, got = f"labels from 0{f' to {last}' if data.classes else ''}", low if low < 0 else high
                raise ValueError(f"{name}: expected {expected}, got {got}; number the classes from 0, and leave out what has none")

    def measure(self, model: VariantModel, images: Tensor, labels: Tensor, precision: str) -> BatchResult:
        """See :meth:`Objective.measure`; raises ``ValueError`` if the logits have another shape than ``(V, B, K)``, or, on the CPU, fewer
        classes than a label needs."""
        logits = _forward(model, scale_pixels(images, precision), precision)
        if logits.dim() != 3 or logits.shape[:2] != (model.num_variants, labels.shape[-1]):
            expected, got = f"({model.num_variants}, {labels.shape[-1]}, classes)", tuple(logits.shape)
            raise ValueError(f"model: expected logits of shape {expected}, got {got}; return one row of logits per variant and image")
        # Not on a GPU, whose steps would then wait for each other.
        if labels.device.type == "cpu" and int(labels.max()) >= (classes := logits.size(2)):
            raise ValueError(f"labels: expected 0 to {classes - 1}, got {int(labels.max())}; build the model with more classes")
        labels = labels.expand(logits.shape[:2])
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
        predicted = logits.detach().argmax(dim=-1)
        return BatchResult(losses, (predicted == labels).sum(dim=1, keepdim=True).double(), predicted, labels.size(1))

    def scores(self, counts: Tensor, images: int) -> Tensor:
        return counts / images


@dataclass(frozen=True)
class Autoencoding(Objective):
    r"""Reconstruction of binarised images, for models that return one logit per pixel, ``(V, B, C, H, W)``.

    The images, binarised at ``threshold`` (a share of full brightness), are both input (0 and 1) and target; the default thresholds are the
    published ones. The loss is the binary cross entropy, averaged over pixels. The scores, for the predicted ink probability :math:`\hat p
    = \sigma(\text{logit})` and the target :math:`t`:

    - ``pixel_accuracy``: share of pixels with :math:`[\hat p > 0.5] = t`, called top-1 accuracy by ElegansNet (2023).
    - ``pixel_f1``: :math:`2TP / (2TP + FP + FN)` for ink, :math:`\hat p >` ``ink_threshold``, over the pixels of all images ("micro").
    - ``mse``: mean of :math:`(\hat p - t)^2`.
    - ``ssim``: mean structural similarity of :math:`\hat p` and :math:`t` (Wang et al. 2004, doi:10.1109/TIP.2003.819861), with the 7x7
      uniform window, data range 1 and unbiased covariances of scikit-image's ``structural_similarity``. Computed only in evaluation: NaN
      for the training split.

    Raises ``ValueError`` if a threshold is not between 0 and 1.
    """

    threshold: float = 0.3
    ink_threshold: float = 0.25
    score_names: ClassVar[tuple[str, ...]] = ("pixel_accuracy", "pixel_f1", "mse", "ssim")
    count_names: ClassVar[tuple[str, ...]] = ("right", "true_ink", "false_ink", "missed_ink", "squared_error", "similarity")

    def __post_init__(self) -> None:
        for name in ("threshold", "ink_threshold"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a number between 0 and 1, got {getattr(self, name)}; give a share such as 0.3")

    def targets(self, images: Tensor, precision: str = "float32") -> Tensor:
        """Binarise images to 0 and 1; for floating-point images, 1 is full brightness."""
        return (images > self.threshold * (255 if images.dtype == torch.uint8 else 1)).to(float_dtype(precision))

    def measure(self, model: VariantModel, images: Tensor, labels: Tensor, precision: str) -> BatchResult:
        """See :meth:`Objective.measure`; raises ``ValueError`` if the logits have another shape than ``(V,)`` and the images'."""
        target = self.targets(images, precision)
        logits = _forward(model, target, precision)
        expected = (model.num_variants, *target.shape[-4:])
        if logits.shape != expected:
            raise ValueError(
                f"model: expected logits of shape {expected}, got {tuple(logits.shape)}; return one logit per variant and pixel"
            )
        target = target.expand(logits.shape)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(2, 3, 4))
        with torch.no_grad():
            shares, ink = logits.sigmoid(), target > 0.5
            seen = shares > self.ink_threshold
            counts = [
                ((shares > 0.5) == ink).double().mean(dim=(2, 3, 4)),
                (seen & ink).sum(dim=(2, 3, 4)).double(),
                (seen & ~ink).sum(dim=(2, 3, 4)).double(),
                (~seen & ink).sum(dim=(2, 3, 4)).double(),
                (shares - target).square().mean(dim=(2, 3, 4)).double(),
                torch.full_like(losses, torch.nan, dtype=torch.float64) if model.training else structural_similarity(shares, target),
            ]
        return BatchResult(losses, torch.stack(counts, dim=2).sum(dim=1), None, losses.size(1))

    def scores(self, counts: Tensor, images: int) -> Tensor:
        right, true_ink, false_ink, missed_ink, squared_error, similarity = counts.unbind(dim=1)
        f1 = 2 * true_ink / (2 * true_ink + false_ink + missed_ink)
        return torch.stack([right / images, f1, squared_error / images, similarity / images], dim=1)


@dataclass(frozen=True)
class SequenceRegression(Objective):
    r"""Root mean squared error over the sequences of a batch, their steps and outputs, for models ``(S, T, I)`` to ``(V, S, T, O)``.

    .. math:: \sqrt{\frac{1}{S T O} \sum (\hat y - y)^2}

    Backpropagation through time covers all steps of a sequence. Validation sequences share a forward pass with the next training batch,
    which costs less than a separate pass. The first ``washout`` steps do not count, because a network that starts at rest does not know the
    past.

    Raises ``ValueError`` if ``washout`` is negative.
    """

    washout: int = 0

    score_names: ClassVar[tuple[str, ...]] = ("rmse",)
    count_names: ClassVar[tuple[str, ...]] = ("squared_error",)
    lowest_is_best: ClassVar[bool] = True
    beside: ClassVar[bool] = True
    fused_adam: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_whole("washout", self.washout)

    def check(self, data: FitData, precision: str) -> None:
        """Raise ``ValueError`` for bfloat16, in which no recurrent layer computes."""
        if precision == "bfloat16":
            raise ValueError("precision: expected float32 or float64 for sequences, got bfloat16; choose one of these")

    def measure(self, model: VariantModel, inputs: Tensor, targets: Tensor, precision: str) -> BatchResult:
        """See :meth:`Objective.measure`; raises ``ValueError`` if the outputs have another shape than ``(V,)`` and the targets', or no more
        steps than the washout."""
        return self._squared_errors(model(inputs), targets)

    def measure_both(self, model: VariantModel, batch: Pair, other: Pair, precision: str) -> tuple[BatchResult, BatchResult]:
        count = len(batch[0])
        outputs = cast(Any, model)(torch.cat([batch[0], other[0]]), trained=count)
        return self._squared_errors(outputs[:, :count], batch[1]), self._squared_errors(outputs[:, count:].detach(), other[1])

    def total(self, mean: Tensor) -> Tensor:
        # The root has no derivative at a perfect fit.
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).sqrt()

    def scores(self, counts: Tensor, images: int) -> Tensor:
        return (counts / images).sqrt()

    def _squared_errors(self, outputs: Tensor, targets: Tensor) -> BatchResult:
        if outputs.shape[1:] != targets.shape:
            shapes = f"(V, {', '.join(map(str, targets.shape))}) like the targets, got {tuple(outputs.shape)}"
            raise ValueError(f"model: expected outputs of shape {shapes}; give one row per step and one column per output")
        if targets.size(1) <= self.washout:
            raise ValueError(f"washout: expected fewer than the {targets.size(1)} steps of a sequence, got {self.washout}; lower it")
        outputs, targets = outputs[:, :, self.washout :], targets[:, self.washout :]
        # With the sequences innermost in memory, as in the kernels: otherwise the loss takes as long as the network.
        laid_out = targets.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        # One sum per variant, whose order does not depend on the other variants.
        error = (outputs - laid_out).square().mean(dim=(1, 2, 3)).unsqueeze(1)
        return BatchResult(error, error.detach().double() * len(targets), None, len(targets))


@dataclass(frozen=True)
class Evaluation:
    """Result of one pass over ``n`` images or sequences.

    Attributes:
        loss: ``(V,)`` mean loss.
        scores: by name, ``(V,)`` each, such as ``accuracy`` (0 to 1).
        predictions: ``(V, n)`` int64 classes; ``None`` if there are no classes.
    """

    loss: np.ndarray
    scores: dict[str, np.ndarray]
    predictions: Tensor | None

    @classmethod
    def from_batches(cls, objective: Objective, batches: list[BatchResult]) -> Evaluation:
        """Combine the results of all batches."""
        count = sum(batch.samples for batch in batches)
        losses = [batch.losses.detach().mean(dim=1, dtype=torch.float64) * batch.samples for batch in batches]
        loss = objective.total(torch.stack(losses).sum(dim=0) / count).cpu().numpy()
        scores = objective.scores(torch.stack([batch.counts for batch in batches]).sum(dim=0), count).cpu().numpy()
        predictions = [batch.predictions for batch in batches if batch.predictions is not None]
        joined = torch.cat(predictions, dim=1).cpu() if predictions else None
        return cls(loss, dict(zip(objective.score_names, scores.T.copy(), strict=True)), joined)


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
    """Evaluate every variant on ``images``, in evaluation mode and without gradients; the model's mode is restored.

    Args:
        model: the variants.
        images, labels: ``(n, C, H, W)`` uint8 and ``(n,)`` int64, or other data of the objective, on the model's device.
        batch_size: images per batch.
        precision: as in :class:`~elegans_pyg.training.FitSettings`.
        objective: loss and scores; by default :class:`~elegans_pyg.training.Classification`.
        stop: called before every batch; if it returns ``True``, the evaluation ends and ``None`` is returned.
        progress: called after every batch with the number of images done and the total.
    """
    objective, was_training, batches = objective or Classification(), model.training, []
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                if stop is not None and stop():
                    return None
                batch = slice(start, start + batch_size)
                batches.append(objective.measure(model, images[batch], labels[batch], precision))
                if progress is not None:
                    progress(min(start + batch_size, len(images)), len(images))
    finally:
        model.train(was_training)
    # Outside, because tensors made in inference mode cannot be changed.
    return Evaluation.from_batches(objective, batches)


def replica_rmse(predicted: Tensor, target: Tensor) -> Tensor:
    """Compute the root mean squared error over sequences, steps and outputs: ``(R, S, T, O)`` and ``(S, T, O)`` to ``(R,)``."""
    return SequenceRegression().total((predicted - target).square().mean((1, 2, 3)))


def epoch_table(metrics: pd.DataFrame, steps: int) -> pd.DataFrame:
    """Convert the ``metrics`` of a :class:`~elegans_pyg.training.FitResult` to one row per epoch of ``steps`` steps and replica.

    Columns: ``epoch`` (from 1), ``replica``, ``seed``, ``train`` (mean RMSE of the epoch's batches, each before its update) and
    ``validation`` (RMSE after the epoch).
    """
    rows = metrics[metrics["split"] != "test"]
    table = rows.pivot(index=["iteration", "variant", "seed"], columns="split", values="loss").rename_axis(columns=None).reset_index()
    table.insert(0, "epoch", table.pop("iteration") // steps)
    return table.rename(columns={"variant": "replica"}).reindex(columns=["epoch", "replica", "seed", "train", "validation"])


def structural_similarity(one: Tensor, other: Tensor, window: int = 7) -> Tensor:
    """Compute the mean structural similarity ``(V, B)``, float64, of two sets of images ``(V, B, C, H, W)`` from 0 to 1.

    See :class:`Autoencoding`. Raises ``ValueError`` if the images are smaller than the window.
    """
    if min(one.shape[-2:]) < window:
        raise ValueError(f"images: expected at least {window}x{window} pixels for structural similarity, got {tuple(one.shape[-2:])}")
    shape, unbias = one.shape[:2], window**2 / (window**2 - 1)
    one, other = (images.flatten(0, 1).double() for images in (one, other))
    local = partial(F.avg_pool2d, kernel_size=window, stride=1)
    mean_one, mean_other = local(one), local(other)
    variance_one = unbias * (local(one * one) - mean_one**2)
    variance_other = unbias * (local(other * other) - mean_other**2)
    covariance = unbias * (local(one * other) - mean_one * mean_other)
    luminance, contrast = 0.01**2, 0.03**2
    above = (2 * mean_one * mean_other + luminance) * (2 * covariance + contrast)
    below = (mean_one**2 + mean_other**2 + luminance) * (variance_one + variance_other + contrast)
    return (above / below).mean(dim=(1, 2, 3)).view(shape)


def scale_pixels(images: Tensor, precision: str) -> Tensor:
    """Scale uint8 pixels to :math:`p / 255 - 0.5`, in the dtype of :func:`float_dtype`; other images are only converted to that dtype."""
    scaled = images.to(float_dtype(precision))
    return scaled.div_(255).sub_(0.5) if images.dtype == torch.uint8 else scaled


def float_dtype(precision: str) -> torch.dtype:
    """Return the dtype of parameters and losses."""
    return torch.float64 if precision == "float64" else torch.float32


def _forward(model: VariantModel, inputs: Tensor, precision: str) -> Tensor:
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        logits = model(inputs)
    return logits.float() if logits.dtype == torch.bfloat16 else logits
