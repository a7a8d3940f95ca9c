"""Random crops, flips and cutouts of training images, reproducible for every step."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from elegans_pyg.training.data_order import AUGMENT

GREY = 128
"""Fill value of padding and cutouts: 0 after pixels are scaled to ``p / 255 - 0.5``; for floating-point images it is 0."""


class Augmentation:
    """Crops, flips and cutouts, drawn from the data seed and the number of the step, so that there is no state to save.

    If each variant has its own images, ``variant_seeds`` also enter the draws.
    """

    def __init__(self, seed: int, variant_seeds: Sequence[int] | None = None) -> None:
        self.seed, self.variant_seeds = seed, variant_seeds

    def __call__(self, images: Tensor, iteration: int) -> Tensor:
        """Augment a step's images, ``(B, C, H, W)`` or ``(V, B, C, H, W)``, on their device; the input is not changed."""
        keys = [()] if self.variant_seeds is None else [(own,) for own in self.variant_seeds]
        drawn = np.concatenate([self._draw((iteration, *key), images.shape[-4], *images.shape[-2:]) for key in keys])
        offsets = torch.from_numpy(drawn).to(images.device, non_blocking=True)
        return _crop_flip_cutout(images.reshape(-1, *images.shape[-3:]), offsets).view(images.shape)

    def _draw(self, key: tuple[int, ...], count: int, height: int, width: int) -> np.ndarray:
        """Draw ``(count, 5)``: the corner of the crop, whether to flip, and the corner of the cutout."""
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=(AUGMENT, *key))))
        limits = [height // 8 * 2, width // 8 * 2, 1, height - height // 4, width - width // 4]
        return generator.integers(0, np.array(limits) + 1, (count, 5))


def _crop_flip_cutout(images: Tensor, offsets: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    rows, columns = (torch.arange(size, device=images.device) for size in (height, width))
    top, left, flip, cut_top, cut_left = (part.unsqueeze(1) for part in offsets.unbind(dim=1))
    row = rows + top - height // 8
    column = torch.where(flip > 0, width - 1 - columns, columns) + left - width // 8
    inside = ((row >= 0) & (row < height)).unsqueeze(2) & ((column >= 0) & (column < width)).unsqueeze(1)
    cut = ((rows >= cut_top) & (rows < cut_top + height // 4)).unsqueeze(2)
    cut = cut & ((columns >= cut_left) & (columns < cut_left + width // 4)).unsqueeze(1)
    image = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    # Indexing around the channels puts them last: (B, H, W, C).
    moved = images[image, :, row.clamp(0, height - 1).unsqueeze(2), column.clamp(0, width - 1).unsqueeze(1)].movedim(-1, 1)
    return torch.where((inside & ~cut).unsqueeze(1), moved, GREY if images.dtype == torch.uint8 else 0.0)
