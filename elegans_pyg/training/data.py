"""Training data: tensors of inputs and targets from images, sequences or any PyTorch data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from elegans_pyg.datasets.images import ImageData

Pair = tuple[Tensor, Tensor]
"""Inputs and targets with one row per sample, such as images and labels."""


@dataclass(frozen=True)
class FitData:
    """Inputs ``(n, ...)`` and targets ``(n, ...)`` in memory, with a name for messages and checkpoints, and class names if there are any.

    The test pair is used once, at the end. Without a validation pair, ``validation_fraction`` of ``train`` is held out. Raises
    ``ValueError`` if inputs and targets differ in number, there are none, or a number is not finite.
    """

    name: str
    train: Pair
    test: Pair
    validation: Pair | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, pair in self.splits().items():
            shapes = " and ".join(str(tuple(part.shape)) for part in pair)
            if len(pair[0]) != len(pair[1]) or 0 in (pair[0].numel(), pair[1].numel()):
                raise ValueError(f"{name}: expected as many inputs as targets, at least 1, got {shapes}; give one row per sample")
            for kind, part in zip(("inputs", "targets"), pair, strict=True):
                if part.is_floating_point() and not bool(part.isfinite().all()):
                    raise ValueError(f"{name}: expected finite numbers, got NaN or infinity among the {kind}; leave those samples out")
            expected, got = (tuple(inputs.shape[1:]) for inputs in (self.train[0], pair[0]))
            if got != expected:
                kind = "sequences" if len(got) == 2 else "samples"
                raise ValueError(f"{name}: expected {kind} of {expected} like those of train, got {got}; give all the same shape")

    def splits(self) -> dict[str, Pair]:
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: pair for name, pair in found.items() if pair is not None}


def as_fit_data(data: FitData | ImageData | tuple[Dataset[Any], Dataset[Any]]) -> FitData:
    """Convert images, or a pair of (image, label) data sets for training and test, to :class:`FitData`."""
    if isinstance(data, FitData):
        return data
    if isinstance(data, tuple):
        train, test = (stack_dataset(dataset, name) for dataset, name in zip(data, ("train", "test"), strict=True))
        return FitData(type(data[0]).__name__, train, test)
    return FitData(data.name, (data.train_images, data.train_labels), (data.test_images, data.test_labels), classes=tuple(data.classes))


def stack_dataset(dataset: Dataset[Any], name: str = "dataset") -> Pair:
    """Stack all samples of an (image, label) data set in memory: ``(n, C, H, W)``, uint8 or floating-point, and ``(n,)`` int64.

    Raises ``ValueError`` if images differ in shape or dtype, or a label is not an integer.
    """
    images, labels = list[Tensor](), list[int]()
    for index in range(len(dataset)):  # type: ignore[arg-type]
        image, label = dataset[index]
        image, value = torch.as_tensor(image), torch.as_tensor(label)
        if image.dim() != 3 or (images and (image.shape, image.dtype) != (images[0].shape, images[0].dtype)):
            expected = f"{tuple(images[0].shape)} {images[0].dtype} like the first" if images else "(C, H, W)"
            raise ValueError(f"{name}: expected image {index} of shape {expected}, got {tuple(image.shape)} {image.dtype}; resize them all")
        if value.dim() or value.is_floating_point() or value.dtype == torch.bool:
            raise ValueError(f"{name}: expected a whole number as label of image {index}, got {label!r}; give the number of the class")
        images.append(image)
        labels.append(int(value))
    if not images:
        raise ValueError(f"{name}: expected at least one image, got none; give another data set")
    return torch.stack(images), torch.tensor(labels)
