"""What the images of a data set have in common, so that other images can be made like them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from elegans_pyg.datasets.images import ImageData

DARK, LIGHT = 64, 192
"""Of 255: a background is dark below the one and light from the other on."""


@dataclass(frozen=True)
class ImageKind:
    """Of a data set: channels, height and width in pixels, the classes' names, and the background: ``"dark"`` or ``"light"`` if three of
    four images have that one, else ``"any"``."""

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
        """Raises ``ValueError`` if the content is not what :meth:`to_json` gives."""
        try:
            values = json.loads(content)
            return cls(**values | {"size": tuple(values["size"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"images: damaged description of a data set ({error!r}); train anew") from error


def border_level(pixels: Tensor) -> Tensor:
    """The median brightness ``(n,)`` of the outermost pixels of images ``(n, C, H, W)``: that of their background."""
    grey = pixels.float().mean(dim=1)
    border = torch.ones(grey.shape[1:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    return grey[:, border].median(dim=1).values
