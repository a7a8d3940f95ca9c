"""Common properties of the images of a data set, for converting other images to match."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from elegans_pyg.datasets.images import ImageData

DARK, LIGHT = 64, 192
"""Brightness, of 255, below which a background is dark and from which it is light."""


@dataclass(frozen=True)
class ImageKind:
    """Properties of the images of a data set: channels, height and width in pixels, class names and background.

    The background is ``"dark"`` or ``"light"`` if at least three in four images have it, else ``"any"``.
    """

    channels: int
    size: tuple[int, int]
    classes: list[str]
    background: Literal["dark", "light", "any"]

    @classmethod
    def of(cls, images: ImageData) -> ImageKind:
        level = border_level(images.train_images[:: max(1, len(images.train_images) // 1_000)])
        shares = {"dark": (level < DARK).float().mean(), "light": (level >= LIGHT).float().mean()}
        background = next((name for name, share in shares.items() if share >= 0.75), "any")
        return cls(images.in_channels, images.image_size, list(images.classes), background)  # type: ignore[arg-type]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, content: bytes) -> ImageKind:
        """Read the output of :meth:`to_json`; raises ``ValueError`` for other content."""
        try:
            values = json.loads(content)
            return cls(**values | {"size": tuple(values["size"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"images: damaged description of a data set ({error!r}); train again") from error


def border_level(pixels: Tensor) -> Tensor:
    """Return the background brightness ``(n,)`` of images ``(n, C, H, W)``: the median of their outermost pixels."""
    grey = pixels.float().mean(dim=1)
    border = torch.ones(grey.shape[1:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    return grey[:, border].median(dim=1).values
