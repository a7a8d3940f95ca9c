"""Predictions for the test images, compressed: confusion matrices, and the first images that each unit classified correctly and wrongly."""

from __future__ import annotations

import gzip
from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np

from elegans_pyg.studies.study import Classified

EACH, MOST, COLUMNS = 12, 1_500, 50
"""Most images of each kind (correct, wrong) per unit, most images in total, and images per row of the sheet."""


def packed(content: bytes) -> str:
    """Compress bytes with gzip, reproducibly, and encode them in base64."""
    return b64encode(gzip.compress(content, 6, mtime=0)).decode()


def confusions(found: Classified) -> dict[str, Any]:
    """Return every unit's counts by true and predicted class, ``(V, K, K)`` uint16, packed, and the first images of the test set that it
    classified correctly and wrongly, on one sheet."""
    labels, predictions, size = found.labels.numpy().astype(np.int64), found.predictions.numpy().astype(np.int64), len(found.classes)
    counts, shown = [], []
    for own in predictions:
        known = own >= 0
        cells = np.bincount(labels[known] * size + own[known], minlength=size * size)
        counts.append(np.minimum(cells, 65_535).astype("<u2"))
        shown.append([np.flatnonzero(known & ((own == labels) == right)) for right in (True, False)])
    each = next(number for number in range(EACH, 0, -1) if number == 1 or len(_union(shown, number)) <= MOST)
    union = _union(shown, each)
    place = {int(image): number for number, image in enumerate(union)}
    examples = [
        [[[place[int(i)], int(own[i])] for i in kind[:each]] for kind in kinds] for kinds, own in zip(shown, predictions, strict=True)
    ]
    return {
        "classes": list(found.classes),
        "counts": packed(b"".join(own.tobytes() for own in counts)),
        "examples": examples,
        "labels": labels[union].tolist(),
        "sheet": _sheet(found.images.numpy()[union]),
        "columns": COLUMNS,
        "side": list(found.images.shape[2:]),
    }


def _union(shown: list[list[np.ndarray]], each: int) -> np.ndarray:
    return np.unique(np.concatenate([kind[:each] for kinds in shown for kind in kinds]))


def _sheet(images: np.ndarray) -> str:
    """Arrange images ``(n, C, H, W)`` in rows, as the data URL of a PNG."""
    from PIL import Image

    number, channels, height, width = images.shape
    rows = -(-number // COLUMNS)
    padded = np.zeros((rows * COLUMNS, channels, height, width), np.uint8)
    padded[:number] = images
    sheet = (
        padded.reshape(rows, COLUMNS, channels, height, width).transpose(0, 3, 1, 4, 2).reshape(rows * height, COLUMNS * width, channels)
    )
    content = BytesIO()
    Image.fromarray(sheet[..., 0] if channels == 1 else sheet).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(content.getvalue()).decode()
