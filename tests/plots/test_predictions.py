from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix as counted

from elegans_pyg.plots import confusion_matrix, examples

CLASSES = ["zero", "one", "two"]
LABELS = torch.tensor([0, 1, 2, 2, 1, 0])
PREDICTIONS = torch.tensor([0, 1, 1, 2, 0, 0])
IMAGES = (torch.arange(6 * 4 * 4, dtype=torch.int64) % 251).to(torch.uint8).reshape(6, 1, 4, 4)


def shown(part) -> list[tuple[str, str]]:
    return [(axes.get_title(), axes.get_xlabel()) for axes in part.axes if axes.images]


def test_right_and_wrong_examples_in_the_order_given():
    right, wrong = examples(IMAGES, LABELS, PREDICTIONS, CLASSES, columns=4).subfigs
    assert shown(right) == [("zero", "✓ zero"), ("one", "✓ one"), ("two", "✓ two"), ("zero", "✓ zero")]
    assert shown(wrong) == [("two", "✗ one"), ("one", "✗ zero")]
    assert right._suptitle.get_text() == "right: 4 of 6"
    assert wrong._suptitle.get_text() == "wrong: 2 of 6"
    np.testing.assert_array_equal(wrong.axes[0].images[0].get_array(), IMAGES[2, 0])


def test_one_kind_only_and_no_more_than_fit():
    (part,) = examples(IMAGES, LABELS, PREDICTIONS, CLASSES, correct=True, columns=3, rows=1).subfigs
    assert [title for title, _ in shown(part)] == ["zero", "one", "two"]
    (part,) = examples(IMAGES, LABELS, LABELS, CLASSES, correct=False).subfigs
    assert shown(part) == []
    assert part._suptitle.get_text() == "wrong: 0 of 6"


def test_colour_images_keep_their_channels():
    images = IMAGES.repeat(1, 3, 1, 1).numpy()
    (part,) = examples(images, LABELS.numpy(), PREDICTIONS.numpy(), CLASSES, correct=True).subfigs
    np.testing.assert_array_equal(part.axes[0].images[0].get_array(), images[0].transpose(1, 2, 0))


def test_confusions_are_shares_of_the_true_class_with_counts():
    axes = confusion_matrix(LABELS, PREDICTIONS, CLASSES).axes[0]
    expected = counted(LABELS, PREDICTIONS)
    np.testing.assert_allclose(axes.images[0].get_array(), expected / expected.sum(axis=1, keepdims=True))
    cells = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in axes.texts}
    assert cells == {(r, c): f"{expected[r, c]}\n{100 * expected[r, c] / expected[r].sum():.1f} %" for r, c in np.argwhere(expected)}
    assert axes.get_title(loc="left") == "66.67 % of 6 right"
    assert [text.get_text() for text in axes.get_yticklabels()] == CLASSES


def test_a_class_without_images_has_an_empty_row():
    axes = confusion_matrix(torch.tensor([0, 0]), torch.tensor([0, 2]), CLASSES).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.5, 0, 0.5], [0, 0, 0], [0, 0, 0]])


def test_many_classes_list_the_commonest_confusions():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 100, 3000)
    predictions = np.where(generator.random(3000) < 0.7, labels, generator.integers(0, 100, 3000))
    predictions[labels == 7] = 9
    figure = confusion_matrix(labels, predictions, [f"c{index}" for index in range(100)])
    matrix, side = figure.axes[:2]
    assert not matrix.texts
    assert len(matrix.get_yticklabels()) == 100
    assert side.texts[0].get_text().split() == ["c7", "→", "c9", str((labels == 7).sum()), "of", str((labels == 7).sum())]
    assert len(side.texts) == 20
    figure.draw_without_rendering()
    assert matrix.get_tightbbox().y0 >= 0  # the lowest label is inside the figure


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES.float(), "images must be uint8 of shape .* got float32"),
        (IMAGES[:, 0], r"got uint8 \(6, 4, 4\)"),
        (IMAGES.repeat(1, 2, 1, 1), r"got uint8 \(6, 2, 4, 4\)"),
        (IMAGES[:4], "same length, got 4 and 6"),
    ],
)
def test_bad_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        examples(images, LABELS, PREDICTIONS, CLASSES)


@pytest.mark.parametrize(
    ("labels", "predictions", "classes", "message"),
    [
        (LABELS, PREDICTIONS[:5], CLASSES, r"same shape \(n,\), got \(6,\) and \(5,\)"),
        (LABELS[:0], PREDICTIONS[:0], CLASSES, "at least one label, got none"),
        (LABELS, PREDICTIONS, CLASSES[:2], "labels must be integers from 0 to 1, got int64 from 0 to 2"),
        (LABELS, PREDICTIONS.float(), CLASSES, "predictions must be integers from 0 to 2, got float32"),
    ],
)
def test_bad_labels_are_refused(labels, predictions, classes, message):
    with pytest.raises(ValueError, match=message):
        examples(IMAGES[: len(labels)], labels, predictions, classes)
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels, predictions, classes)


def test_matplotlib_is_not_imported_with_the_package():
    code = "import sys, elegans_pyg, elegans_pyg.analysis; assert 'matplotlib' not in sys.modules; "
    code += "import elegans_pyg.plots; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
