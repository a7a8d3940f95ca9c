from __future__ import annotations

import numpy as np
import pytest
import torch

from elegans_pyg.plots import reconstructions

ORIGINALS = (torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def test_originals_above_what_each_family_made_of_them():
    inverted = 1 - ORIGINALS
    figure = reconstructions(ORIGINALS, {"connectome": ORIGINALS, "plain": inverted})
    pictures = [axes.images[0].get_array() for axes in figure.axes]
    assert len(pictures) == 9
    for row, expected in enumerate((ORIGINALS, ORIGINALS, inverted)):
        np.testing.assert_array_equal(np.stack(pictures[3 * row : 3 * row + 3]), expected[:, 0])
    assert [figure.axes[3 * row].get_ylabel() for row in range(3)] == ["original", "connectome\n100.00 %", "plain\n0.00 %"]


def test_networks_that_overflowed_are_drawn_as_no_ink():
    figure = reconstructions(ORIGINALS, {"connectome": torch.full_like(ORIGINALS, torch.nan)})
    assert (figure.axes[3].images[0].get_array() == 0).all()


def test_refusals():
    with pytest.raises(ValueError, match=r"originals: expected \(n, C, H, W\) and at least one family, got \(3, 1, 8, 8\) and 0"):
        reconstructions(ORIGINALS, {})
    with pytest.raises(ValueError, match=r"reconstructed: expected \(3, 1, 8, 8\) like originals, got \(2, 1, 8, 8\) for 'er'"):
        reconstructions(ORIGINALS, {"er": ORIGINALS[:2]})
