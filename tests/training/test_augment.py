"""Augmented images are crops, flips and cutouts of the originals, and repeat with their step."""

from __future__ import annotations

import numpy as np
import torch

from elegans_pyg.training.augment import GREY, Augmentation

IMAGES = torch.randint(1, 120, (6, 3, 16, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def by_hand(image: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Pad, crop, flip and cut out, one image at a time."""
    top, left, flip, cut_top, cut_left = draw
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (height // 8,) * 2, (width // 8,) * 2), constant_values=GREY)
    crop = padded[:, top : top + height, left : left + width].copy()
    if flip:
        crop = crop[:, :, ::-1].copy()
    crop[:, cut_top : cut_top + height // 4, cut_left : cut_left + width // 4] = GREY
    return crop


def test_agrees_with_numpy_image_by_image() -> None:
    augmentation = Augmentation(3)
    before = IMAGES.clone()
    for iteration in range(1, 8):
        draws = augmentation._draw((iteration,), 6, 16, 24)
        expected = np.stack([by_hand(image, draw) for image, draw in zip(IMAGES.numpy(), draws, strict=True)])
        assert (augmentation(IMAGES, iteration).numpy() == expected).all()
    assert torch.equal(IMAGES, before)


def test_every_place_is_drawn_and_none_beyond() -> None:
    draws = np.concatenate([Augmentation(0)._draw((step,), 50, 16, 24) for step in range(60)])
    assert draws.min(axis=0).tolist() == [0] * 5
    assert draws.max(axis=0).tolist() == [4, 6, 1, 12, 18]
    assert abs(draws[:, 2].mean() - 0.5) < 0.05


def test_a_step_repeats_and_steps_and_seeds_differ() -> None:
    first = Augmentation(1)(IMAGES, 4)
    assert torch.equal(first, Augmentation(1)(IMAGES, 4))
    assert not torch.equal(first, Augmentation(1)(IMAGES, 5))
    assert not torch.equal(first, Augmentation(2)(IMAGES, 4))


def test_variants_draw_from_their_own_seeds() -> None:
    together = Augmentation(1, [7, 9, 7])(torch.stack([IMAGES] * 3), 4)
    assert torch.equal(together[0], together[2])
    assert not torch.equal(together[0], together[1])
    assert torch.equal(together[1:2], Augmentation(1, [9])(IMAGES.unsqueeze(0), 4))
