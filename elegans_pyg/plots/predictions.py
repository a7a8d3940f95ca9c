"""Images that a classifier got right and wrong, and its confusion matrix."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from elegans_pyg.analysis.simple_graph import Ints
from elegans_pyg.plots.style import INK, MUTED, RED, RULE, TYPE_COLOURS, Array, canvas, colour_bar, numbers


def examples(
    images: Array, labels: Array, predictions: Array, classes: Sequence[str], correct: bool | None = None, columns: int = 10, rows: int = 2
) -> Figure:
    """Images classified correctly and wrongly, the true class above each and the predicted one below, as in figure 3 of Park & Kim 2023.
    The first ones in the order given are shown, not chosen ones.

    Args:
        images: shape ``(n, C, H, W)``, uint8, ``C`` 1 or 3.
        labels, predictions: true and predicted classes, shape ``(n,)``.
        classes: name of each class.
        correct: only right (``True``) or only wrong (``False``) examples; both by default.
        columns, rows: images in a row, and rows of either kind.
    """
    pictures = numbers(images)
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3) or pictures.dtype != np.uint8:
        got = f"{pictures.dtype} {pictures.shape}"
        raise ValueError(f"images must be uint8 of shape (n, 1 or 3, H, W), got {got}; give them as load_images does")
    truth, guess = _check_labels(labels, predictions, classes)
    if len(pictures) != len(truth):
        raise ValueError(f"images and labels must have the same length, got {len(pictures)} and {len(truth)}; give one label per image")
    right = truth == guess
    kinds = [(True, "right"), (False, "wrong")] if correct is None else [(correct, "right" if correct else "wrong")]
    shown = [np.flatnonzero(right == kind)[: rows * columns] for kind, _ in kinds]
    down = [max(1, -(-len(indices) // columns)) for indices in shown]
    heights = [1.5 * count + 0.35 for count in down]
    figure = Figure(figsize=(1.05 * columns, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(kinds), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (kind, word), indices, height in zip(parts, kinds, shown, down, strict=True):
        total = int((right == kind).sum())
        part.suptitle(f"{word}: {total:,} of {len(truth):,}", x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
        grid = part.subplots(height, columns, squeeze=False).ravel()
        for axes in grid[len(indices) :]:
            axes.axis("off")
        for axes, index in zip(grid, indices, strict=False):
            picture = pictures[index].transpose(1, 2, 0)
            axes.imshow(picture[..., 0] if picture.shape[2] == 1 else picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            size, mark, colour = 9 if max(map(len, classes)) < 9 else 7, "✓" if kind else "✗", TYPE_COLOURS["inter"] if kind else RED
            axes.spines[:].set(color=colour, linewidth=1.2)
            axes.set_title(classes[truth[index]], fontsize=size, color=INK, pad=3)
            axes.set_xlabel(f"{mark} {classes[guess[index]]}", fontsize=size, color=colour, labelpad=3)
    return figure


def confusion_matrix(labels: Array, predictions: Array, classes: Sequence[str]) -> Figure:
    """Share of each true class (rows) that was predicted as each class (columns), with the counts; beyond 20 classes the counts give way to
    a list of the commonest confusions. Colours follow the square root of the share, so that rare confusions show.

    Args:
        labels, predictions, classes: as for :func:`examples`.
    """
    truth, guess = _check_labels(labels, predictions, classes)
    size = len(classes)
    counts = np.bincount(truth * size + guess, minlength=size * size).reshape(size, size)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    small = size <= 20
    if small:
        figure, axes = canvas(2.6 + 0.62 * size, 1.9 + 0.58 * size)
    else:
        figure, (axes, side) = canvas(17, 12.5, 1, 2, width_ratios=[4.2, 1])
        _commonest_confusions(side, counts, totals, classes)
    picture = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="nearest")
    font = 9 if small else min(8.0, 540 / size)
    axes.set_xticks(range(size), classes, rotation=90 if not small or max(map(len, classes)) > 3 else 0, fontsize=font)
    axes.set_yticks(range(size), classes, fontsize=font)
    axes.set(xlabel="predicted", ylabel="true")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=RULE, lw=0.6 if small else 0.25)
    axes.tick_params(which="both", length=0, pad=2)
    axes.spines[:].set_color(RULE)
    for row, column in np.argwhere(counts) if small else ():
        share = shares[row, column]
        text = f"{counts[row, column]:,}\n{100 * share:.1f} %"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, linespacing=1.15, color="white" if share > 0.35 else INK)
    ticks = {share: f"{share:.0%}".replace("%", " %") for share in (0, 0.01, 0.05, 0.2, 0.5, 1)}
    colour_bar(figure, picture, axes, "share of the true class", ticks, size=9, shrink=0.7, pad=0.015)
    accuracy = counts.trace() / counts.sum()
    axes.set_title(f"{100 * accuracy:.2f} % of {counts.sum():,} right", loc="left", fontsize=11, color=INK)
    figure.draw_without_rendering()  # square cells and long names: the layout needs a second pass, the caller's drawing, to settle
    return figure


def _commonest_confusions(axes: Axes, counts: Ints, totals: Ints, classes: Sequence[str], top: int = 20) -> None:
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    order = [index for index in np.argsort(-wrong, axis=None, kind="stable")[:top] if wrong.flat[index]]
    rows, columns = np.unravel_index(np.array(order, dtype=np.int64), wrong.shape)
    values = wrong[rows, columns]
    axes.barh(range(len(order)), values, color=RED, alpha=0.3, height=0.82)
    for place, (row, column) in enumerate(zip(rows, columns, strict=True)):
        text = f"{classes[row]} → {classes[column]}   {values[place]} of {totals[row, 0]}"
        axes.text(0, place, f" {text}", va="center", fontsize=9, color=INK)
    axes.set_ylim(max(len(order), top) - 0.4, -0.6)
    axes.set_title("commonest confusions: true → predicted", loc="left", fontsize=10, color=MUTED)
    axes.axis("off")


def _check_labels(labels: Array, predictions: Array, classes: Sequence[str]) -> tuple[Ints, Ints]:
    truth, guess = numbers(labels), numbers(predictions)
    if truth.ndim != 1 or truth.shape != guess.shape:
        got = f"{truth.shape} and {guess.shape}"
        raise ValueError(f"labels and predictions must have the same shape (n,), got {got}; give one of each an image")
    if not len(truth):
        raise ValueError("labels must hold at least one label, got none; give the evaluated images")
    for name, values in (("labels", truth), ("predictions", guess)):
        if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() >= len(classes):
            got = f"{values.dtype} from {values.min()} to {values.max()}"
            raise ValueError(f"{name} must be integers from 0 to {len(classes) - 1}, got {got}; name every class in classes")
    return truth.astype(np.int64), guess.astype(np.int64)
