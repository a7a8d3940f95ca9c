"""The settings of a training run, and its device. PyTorch is imported on use: the command line reads the settings for its help."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import AfterValidator, Field, model_validator

from elegans_pyg._settings import LARGEST, Count, Free, Settings, Whole

if TYPE_CHECKING:
    import torch

LEARNING_RATES = {"rnn": 0.001, "lstm": 0.05, "gru": 0.05}
"""Adam's for reduced-order models by cell, the published ones (Barbulescu et al. 2023)."""
Precision = Literal["float32", "bfloat16", "float64"]


def check_device_name(name: str) -> str:
    """Refuse what is no device's name, whether or not the device is there."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"expected 'auto', 'cpu', 'cuda' or 'cuda:<number>', got {name!r}; give one of these")
    return name


def resolve_device(name: str = "auto") -> torch.device:
    """The device that ``"auto"`` (CUDA if there is any, else the CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:<number>"`` stands for; raises
    ``ValueError`` if ``name`` is none of these, or names a CUDA device that is not there."""
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
            raise ValueError(f"device: {name!r} needs a CUDA GPU and a CUDA build of torch, and neither was found; use 'cpu' or 'auto'")
        if device.index is not None and device.index >= torch.cuda.device_count():
            last = torch.cuda.device_count() - 1
            raise ValueError(f"device: {name!r} is not there, the last CUDA device is 'cuda:{last}'; give a number up to {last}")
    return device


class FitSettings(Settings):
    r"""How :func:`~elegans_pyg.training.fit` trains; the defaults are the settings of Park & Kim (2023).

    Adam with learning rate :math:`\eta_t = \eta \, d^{\lfloor t / p \rfloor}` (``learning_rate`` :math:`\eta`, ``lr_decay`` :math:`d`,
    ``lr_decay_every`` :math:`p`) or, with ``schedule="cosine"``, half a cosine from :math:`\eta` to 0 (Loshchilov & Hutter 2017,
    arXiv:1608.03983); weight decay as in Loshchilov & Hutter (2019, arXiv:1711.05101); cutouts as in DeVries & Taylor (2017,
    arXiv:1708.04552).

    Raises:
        ValueError: if a setting has the wrong type, is out of range or names an unknown choice.
    """

    iterations: Count = Field(15_000, description="Optimiser steps in all.")
    batch_size: Count = Field(100, description="Images a step, for each variant.")
    learning_rate: float = Field(0.004, gt=0, description="Adam's learning rate at the start.")
    last_batch: Literal["drop", "keep"] = Field(
        "drop",
        description="An epoch's last short batch: drop it (the images left out change with every shuffle, and batch norm sees no few"
        " images), or keep it; keep takes images in their own order where a batch holds all of them.",
    )
    lr_decay: float = Field(0.1, gt=0, le=1, description="Factor on the learning rate, every lr_decay_every iterations.")
    lr_decay_every: Count = Field(10_000, description="Iterations between two decays of the learning rate.")
    schedule: Literal["step", "cosine"] = Field(
        "step",
        description="step: decay by lr_decay; cosine: from learning_rate to 0 at the last iteration along half a cosine, in a run that"
        " cannot be extended.",
    )
    warmup: float = Field(
        0.0, ge=0, lt=1, description="Share of the iterations in which the learning rate first rises from 0 in a straight line."
    )
    weight_decay: float = Field(
        0.0,
        ge=0,
        description="Decoupled weight decay of matrices and kernels, parameters of three dimensions or more, one being the variants'.",
    )
    clip_norm: float = Field(0.0, ge=0, description="Largest norm of a variant's gradient, each variant's being its own; 0 clips none.")
    adam_eps: float = Field(1e-8, gt=0, description="Adam's epsilon, added to the root of the second moment; Keras's is 1e-7.")
    augment: Literal["none", "crop_flip_cutout"] = Field(
        "none",
        description="Change of training images. crop_flip_cutout: a random crop of the image padded by an eighth, a left-right flip in half"
        " of the cases, and a grey square of a quarter of the image's size.",
    )
    select: Literal["last", "best"] = Field(
        "last",
        description="Weights that are tested: those of the last step, or of each variant those of its evaluation (on eval_images) with the"
        " best validation score, the earliest of equals.",
    )
    eval_every: Count = Field(500, description="Iterations between two evaluations on validation images; the last is always evaluated.")
    eval_images: Count | None = Field(
        None,
        description="Validation images at each evaluation before the last, a fixed random part, also with select 'best'; by default as many"
        " as keep evaluations at about a tenth of the training time. The last evaluation uses all.",
    )
    checkpoint_every: Annotated[Count, Free()] = Field(
        1_000, description="Iterations between two checkpoints; the first and the last iteration always have one."
    )
    validation_fraction: float = Field(
        1 / 12, ge=0, lt=1, description="Share of the training images, the same in every class, held out for validation; 0 leaves it out."
    )
    data_order: Literal["shared", "variant"] = Field(
        "shared", description="shared: all variants see the same batch in a step; variant: each has its own order, from its own seed."
    )
    data_seed: Whole = Field(0, description="Seed of the validation split and of the order of the data.")
    precision: Precision = Field("float32", description="Of the computation; bfloat16 is autocast, with parameters and loss in float32.")
    device: Annotated[str, AfterValidator(check_device_name), Free()] = Field(
        "auto", description="auto (CUDA if there is any), cpu, cuda or cuda:<number>."
    )
    eval_batch_size: Count | None = Field(
        None, description="Images a batch in evaluation; by default batch_size, which fits wherever training fits."
    )
    tensorboard: Annotated[bool, Free()] = Field(False, description="Also write TensorBoard event files (extra tensorboard).")

    @model_validator(mode="after")
    def _agree(self) -> FitSettings:
        if self.select == "best" and self.validation_fraction == 0:
            raise ValueError("select: 'best' chooses by the validation images, and validation_fraction is 0; raise it or select 'last'")
        if self.last_batch == "keep" and self.data_order == "variant":
            raise ValueError("last_batch: 'keep' has one order for all variants, and data_order is 'variant'; make it 'shared'")
        return self

    def learning_rate_at(self, iteration: int) -> float:
        """Learning rate of the step that follows ``iteration`` finished ones."""
        if self.schedule == "step":
            rate = self.learning_rate * self.lr_decay ** (iteration // self.lr_decay_every)
        else:
            rate = self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(iteration / self.iterations, 1.0)))
        rising = math.ceil(self.warmup * self.iterations)
        return rate if iteration >= rising else rate * (iteration + 1) / (rising + 1)

    @property
    def extensible(self) -> bool:
        """Whether a longer run begins as this one does."""
        return self.schedule == "step" and self.warmup == 0


class SequenceSettings(Settings):
    """How reduced-order models are fitted; the defaults are those of Barbulescu et al. (2023), and Keras's where the paper names none."""

    epochs: Count = Field(1_000, description="Passes over the training sequences.")
    batch_size: Count = Field(32, description="Sequences a step; a larger training set is shuffled anew each epoch.")
    learning_rate: float | None = Field(None, gt=0, description="Of Adam; by default 0.001 for an RNN, 0.05 for an LSTM or GRU.")
    clip_norm: float | None = Field(None, gt=0, description="Largest norm of each model's gradient; by default there is none.")
    data_seed: Whole = Field(0, description="Of the order of sequences, which all models share.")
    checkpoint_every: Annotated[Count, Free()] = Field(100, description="Epochs between two checkpoints.")

    def steps(self, sequences: int) -> int:
        """Steps in an epoch of so many sequences."""
        return math.ceil(sequences / self.batch_size)

    def fit_settings(self, cell: str, sequences: int, precision: str = "float32") -> FitSettings:
        """The same for :func:`~elegans_pyg.training.fit`, in steps: constant learning rate, every epoch evaluated, the best one kept."""
        steps = self.steps(sequences)
        return FitSettings(
            iterations=self.epochs * steps, batch_size=self.batch_size, last_batch="keep",
            learning_rate=self.learning_rate or LEARNING_RATES[cell], lr_decay=1.0, clip_norm=self.clip_norm or 0.0, adam_eps=1e-7,
            select="best", eval_every=steps, eval_images=LARGEST, eval_batch_size=LARGEST, checkpoint_every=self.checkpoint_every * steps,
            data_seed=self.data_seed, precision=cast(Any, precision), device="cpu",
        )  # fmt: skip
