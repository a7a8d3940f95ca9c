"""The settings of a training run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from elegans_pyg.training.device import check_device_name

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
DATA_ORDERS = ("shared", "variant")
SCHEDULES = ("step", "cosine")
AUGMENTATIONS = ("none", "crop_flip_cutout")
SELECTIONS = ("last", "best")


@dataclass(frozen=True)
class FitConfig:
    r"""How :func:`~elegans_pyg.training.fit` trains; the defaults are the settings of Park & Kim (2023).

    Adam with learning rate :math:`\eta_t = \eta \, d^{\lfloor t / p \rfloor}` (``learning_rate`` :math:`\eta`, ``lr_decay`` :math:`d`,
    ``lr_decay_every`` :math:`p`), no augmentation, the weights of the last step.

    Args:
        iterations: Optimiser steps in all.
        batch_size: Images a step, for each variant. An epoch's last short batch is dropped (BatchNorm statistics of a few images would be
            noise); the images left out change with every shuffle.
        learning_rate: Adam's learning rate at the start.
        lr_decay: Factor on the learning rate, every ``lr_decay_every`` iterations.
        lr_decay_every: Iterations between two decays.
        schedule: ``"step"``: as above. ``"cosine"``: from ``learning_rate`` to 0 at the last iteration along half a cosine (Loshchilov &
            Hutter 2017, arXiv:1608.03983); a run with it cannot be extended.
        warmup: Share of the iterations in which the learning rate first rises from 0 in a straight line, with either schedule.
        weight_decay: Decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101) of matrices and kernels: every parameter of
            three dimensions or more, the first being the variants' (or nodes', or units').
        clip_norm: Largest norm of a variant's gradient, each variant's being its own; 0 clips none.
        augment: ``"none"``, or ``"crop_flip_cutout"``: a random crop of the image padded by an eighth, a left-right flip in half of the
            cases, and a grey square of a quarter of the image's size (DeVries & Taylor 2017, arXiv:1708.04552), in training alone.
        select: Weights that are tested: ``"last"``, those of the last step, or ``"best"``: of each variant those of its evaluation with
            the best validation score, the earliest of equals.
        eval_every: Iterations between two evaluations on the validation images. The last iteration is always evaluated.
        checkpoint_every: Iterations between two checkpoints. The first and the last iteration always have one.
        validation_fraction: Share of the training images, the same in every class, held out for validation: 1/12 is 5,000 of MNIST's
            60,000. 0 trains on all of them and leaves out validation.
        data_order: ``"shared"``: all variants see the same batch in a step. ``"variant"``: each has its own order, from its own seed.
        data_seed: Seed of the validation split and of the data order.
        precision: ``"float32"``, ``"bfloat16"`` (autocast; parameters and loss stay float32) or ``"float64"``.
        device: ``"auto"`` (CUDA if there is any), ``"cpu"``, ``"cuda"`` or ``"cuda:<number>"``.
        eval_batch_size: Images a batch in evaluation; ``None`` takes ``batch_size``, which fits wherever training fits.
        tensorboard: Also write TensorBoard event files (extra ``tensorboard``; needs a run folder).

    Raises:
        TypeError: if a field has the wrong type.
        ValueError: if a field is out of range or names an unknown choice.
    """

    iterations: int = 15_000
    batch_size: int = 100
    learning_rate: float = 0.004
    lr_decay: float = 0.1
    lr_decay_every: int = 10_000
    schedule: str = "step"
    warmup: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    augment: str = "none"
    select: str = "last"
    eval_every: int = 500
    checkpoint_every: int = 1_000
    validation_fraction: float = 1 / 12
    data_order: str = "shared"
    data_seed: int = 0
    precision: str = "float32"
    device: str = "auto"
    eval_batch_size: int | None = None
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("iterations", "batch_size", "lr_decay_every", "eval_every", "checkpoint_every"):
            _check_integer(name, getattr(self, name), at_least=1)
        if self.eval_batch_size is not None:
            _check_integer("eval_batch_size", self.eval_batch_size, at_least=1)
        _check_integer("data_seed", self.data_seed, at_least=0)
        _check_number("learning_rate", self.learning_rate, "above 0", lambda value: value > 0)
        _check_number("lr_decay", self.lr_decay, "above 0 and at most 1", lambda value: 0 < value <= 1)
        _check_number("validation_fraction", self.validation_fraction, "from 0 up to, not including, 1", lambda value: 0 <= value < 1)
        _check_number("warmup", self.warmup, "from 0 up to, not including, 1", lambda value: 0 <= value < 1)
        _check_number("weight_decay", self.weight_decay, "of at least 0", lambda value: value >= 0)
        _check_number("clip_norm", self.clip_norm, "of at least 0", lambda value: value >= 0)
        _check_choice("schedule", self.schedule, SCHEDULES)
        _check_choice("augment", self.augment, AUGMENTATIONS)
        _check_choice("select", self.select, SELECTIONS)
        if self.select == "best" and self.validation_fraction == 0:
            raise ValueError("select: 'best' chooses by the validation images, and validation_fraction is 0; raise it or select 'last'")
        _check_choice("data_order", self.data_order, DATA_ORDERS)
        _check_choice("precision", self.precision, tuple(PRECISIONS))
        check_device_name(self.device)
        if not isinstance(self.tensorboard, bool):
            raise TypeError(f"tensorboard: expected true or false, got {self.tensorboard!r} ({type(self.tensorboard).__name__}); give one")

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> FitConfig:
        """Build the configuration from a mapping, such as a section of a YAML file; fields left out keep their defaults.

        Raises:
            ValueError: if a key is no field; the message lists the fields.
        """
        names = [field.name for field in fields(cls)]
        unknown = [str(key) for key in settings if key not in names]
        if unknown:
            raise ValueError(f"training settings: unknown key {', '.join(map(repr, unknown))}; choose from {', '.join(names)}")
        return cls(**settings)

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


def _check_integer(name: str, value: Any, at_least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an integer, got {value!r} ({type(value).__name__}); give a whole number of at least {at_least}")
    if value < at_least:
        raise ValueError(f"{name}: expected at least {at_least}, got {value}; raise it")


def _check_number(name: str, value: Any, expected: str, holds: Callable[[float], bool]) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number {expected}, got {value!r} ({type(value).__name__}); write it in digits, such as 0.004")
    if not (math.isfinite(value) and holds(value)):
        raise ValueError(f"{name}: expected a number {expected}, got {value}; change it")


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: unknown choice {value!r}; choose from {', '.join(choices)}")
