"""Settings of a training run, and its device. PyTorch is imported on use, because the command line reads the settings for its help."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import AfterValidator, Field, model_validator

from elegans_pyg._settings import LARGEST, Count, Free, Settings, Whole

if TYPE_CHECKING:
    import torch

LEARNING_RATES = {"rnn": 0.001, "lstm": 0.05, "gru": 0.05}
"""Published learning rates of Adam for reduced-order models, by cell (Barbulescu et al. 2023)."""
Precision = Literal["float32", "bfloat16", "float64"]


def check_device_name(name: str) -> str:
    """Return ``name`` if it is a valid device name, whether or not the device exists; else raise ``ValueError``."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"expected 'auto', 'cpu', 'cuda' or 'cuda:<number>', got {name!r}; give one of these")
    return name


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device for ``"auto"`` (CUDA if available, else the CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:<number>"``.

    Raises ``ValueError`` for another name, or a CUDA device that does not exist.
    """
    import torch

    try:
        check_device_name(name)
    except ValueError as error:
        raise ValueError(f"device: {error}") from None
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device: {name!r} needs a CUDA GPU and a CUDA build of torch, got none; use 'cpu' or 'auto'")
        if device.index is not None and device.index >= torch.cuda.device_count():
            last = torch.cuda.device_count() - 1
            raise ValueError(f"device: {name!r} does not exist, the last CUDA device is 'cuda:{last}'; give a number up to {last}")
    return device


class FitSettings(Settings):
    r"""Settings of :func:`~elegans_pyg.training.fit`; the defaults are those of Park & Kim (2023).

    Adam with learning rate :math:`\eta_t = \eta \, d^{\lfloor t / p \rfloor}` (``learning_rate`` :math:`\eta`, ``lr_decay`` :math:`d`,
    ``lr_decay_every`` :math:`p`) or, with ``schedule="cosine"``, half a cosine from :math:`\eta` to 0 (Loshchilov & Hutter 2017,
    arXiv:1608.03983); weight decay as in Loshchilov & Hutter (2019, arXiv:1711.05101); cutouts as in DeVries & Taylor (2017,
    arXiv:1708.04552).

    Raises:
        ValueError: if a setting has the wrong type, is out of range or names an unknown choice.
    """

    iterations: Count = Field(15_000, description="Number of optimiser steps.")
    batch_size: Count = Field(100, description="Images per step, for each variant.")
    learning_rate: float = Field(0.004, gt=0, description="Initial learning rate of Adam.")
    last_batch: Literal["drop", "keep"] = Field(
        "drop",
        description="Short last batch of an epoch: drop it (the images left out change with every shuffle, and batch norm never sees only a"
        " few images), or keep it. With keep, images are not shuffled if one batch holds all of them.",
    )
    lr_decay: float = Field(0.1, gt=0, le=1, description="Factor applied to the learning rate every lr_decay_every iterations.")
    lr_decay_every: Count = Field(10_000, description="Iterations between two decays of the learning rate.")
    schedule: Literal["step", "cosine"] = Field(
        "step",
        description="step: decay by lr_decay; cosine: half a cosine from learning_rate to 0 at the last iteration, in a run that cannot be"
        " extended.",
    )
    warmup: float = Field(0.0, ge=0, lt=1, description="Share of the iterations in which the learning rate first rises linearly from 0.")
    weight_decay: float = Field(
        0.0,
        ge=0,
        description="Decoupled weight decay of matrices and kernels: parameters of three dimensions or more, including the variants'.",
    )
    clip_norm: float = Field(0.0, ge=0, description="Largest norm of the gradient, computed separately for each variant; 0: no clipping.")
    adam_eps: float = Field(1e-8, gt=0, description="Adam's epsilon, added to the root of the second moment; Keras's is 1e-7.")
    augment: Literal["none", "crop_flip_cutout"] = Field(
        "none",
        description="Augmentation of training images. crop_flip_cutout: a random crop of the image padded by an eighth, a left-right flip"
        " with probability one half, and a grey square with sides of a quarter of the image's.",
    )
    select: Literal["last", "best"] = Field(
        "last",
        description="Weights to test. last: those of the last step; best: for each variant, those of the evaluation (on eval_images) with"
        " the best validation score, the earliest of equals.",
    )
    eval_every: Count = Field(
        500, description="Iterations between evaluations on validation images; the last iteration is always evaluated."
    )
    eval_images: Count | None = Field(
        None,
        description="Validation images in each evaluation before the last, a fixed random part, also with select 'best'; by default as many"
        " as take about a tenth of the training time. The last evaluation uses all.",
    )
    checkpoint_every: Annotated[Count, Free()] = Field(
        1_000, description="Iterations between checkpoints; one is always written before the first and after the last iteration."
    )
    validation_fraction: float = Field(
        1 / 12, ge=0, lt=1, description="Share of the training images, the same in every class, held out for validation; 0: no validation."
    )
    data_order: Literal["shared", "variant"] = Field(
        "shared", description="shared: all variants see the same batch in each step; variant: each has its own order, from its own seed."
    )
    data_seed: Whole = Field(0, description="Seed of the validation split and of the order of the data.")
    precision: Precision = Field(
        "float32", description="Precision of the computation; bfloat16 is autocast, with parameters and loss in float32."
    )
    device: Annotated[str, AfterValidator(check_device_name), Free()] = Field(
        "auto", description="auto (CUDA if available), cpu, cuda or cuda:<number>."
    )
    eval_batch_size: Count | None = Field(
        None, description="Images per batch in evaluation; by default batch_size, which fits wherever training fits."
    )
    tensorboard: Annotated[bool, Free()] = Field(False, description="Also write TensorBoard event files (extra tensorboard).")

    @model_validator(mode="after")
    def _agree(self) -> FitSettings:
        if self.select == "best" and self.validation_fraction == 0:
            raise ValueError("select: 'best' needs validation images, and validation_fraction is 0; raise it or select 'last'")
        if self.last_batch == "keep" and self.data_order == "variant":
            raise ValueError("last_batch: 'keep' has one order for all variants, and data_order is 'variant'; make it 'shared'")
        return self

    def learning_rate_at(self, iteration: int) -> float:
        """Return the learning rate of the step after ``iteration`` finished steps."""
        if self.schedule == "step":
            rate = self.learning_rate * self.lr_decay ** (iteration // self.lr_decay_every)
        else:
            rate = self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(iteration / self.iterations, 1.0)))
        rising = math.ceil(self.warmup * self.iterations)
        return rate if iteration >= rising else rate * (iteration + 1) / (rising + 1)

    @property
    def extensible(self) -> bool:
        """Whether a longer run would begin with the same steps."""
        return self.schedule == "step" and self.warmup == 0


class SequenceSettings(Settings):
    """Settings of fits of reduced-order models; the defaults are those of Barbulescu et al. (2023), or Keras's if the paper gives none."""

    epochs: Count = Field(1_000, description="Passes over the training sequences.")
    batch_size: Count = Field(32, description="Sequences per step; a larger training set is reshuffled each epoch.")
    learning_rate: float | None = Field(
        None, gt=0, description="Learning rate of Adam; by default 0.001 for an RNN, 0.05 for an LSTM or GRU."
    )
    clip_norm: float | None = Field(None, gt=0, description="Largest norm of each model's gradient; by default no clipping.")
    data_seed: Whole = Field(0, description="Seed of the order of sequences, which all models share.")
    checkpoint_every: Annotated[Count, Free()] = Field(100, description="Epochs between checkpoints.")

    def steps(self, sequences: int) -> int:
        """Return the number of steps in an epoch of ``sequences`` sequences."""
        return math.ceil(sequences / self.batch_size)

    def fit_settings(self, cell: str, sequences: int, precision: str = "float32") -> FitSettings:
        """Convert to :class:`FitSettings`, in steps: constant learning rate, evaluation after every epoch, best weights kept."""
        steps = self.steps(sequences)
        return FitSettings(
            iterations=self.epochs * steps, batch_size=self.batch_size, last_batch="keep",
            learning_rate=self.learning_rate or LEARNING_RATES[cell], lr_decay=1.0, clip_norm=self.clip_norm or 0.0, adam_eps=1e-7,
            select="best", eval_every=steps, eval_images=LARGEST, eval_batch_size=LARGEST, checkpoint_every=self.checkpoint_every * steps,
            data_seed=self.data_seed, precision=cast(Any, precision), device="cpu",
        )  # fmt: skip
