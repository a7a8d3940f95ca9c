"""Labelled images as uint8 tensors: the digits of scikit-learn, MNIST and similar sets, or your own folder."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from elegans_pyg._arguments import check_whole
from elegans_pyg._files import cache_folder
from elegans_pyg._tensor_files import checksum, read_tensors, write_tensors
from elegans_pyg.datasets import image_sources as sources

IMAGE_SETS = ("digits", *sources.HUB_IDS)
TEST_FRACTION, SPLIT_SEED, CACHE_FORMAT = 0.2, 2023, 2

_TENSORS = ("train_images", "train_labels", "test_images", "test_labels")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A decoded, labelled image data set.

    Images are ``(n, C, H, W)`` uint8, 0 to 255, with the same C, H and W in both splits; labels are class numbers ``(n,)`` int64;
    ``classes`` holds the class names by number. Raises ``ValueError`` for other shapes or types, an empty split, or a label out of range.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: list[str]

    def __post_init__(self) -> None:
        for split, images, labels in (("train", self.train_images, self.train_labels), ("test", self.test_images, self.test_labels)):
            if images.dim() != 4 or images.dtype != torch.uint8 or images.numel() == 0:
                got = f"{tuple(images.shape)} {images.dtype}"
                raise ValueError(f"{split}_images: expected (n, C, H, W) uint8 pixels, got {got}; convert them")
            if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
                got = f"{tuple(labels.shape)} {labels.dtype}"
                raise ValueError(f"{split}_labels: expected ({len(images)},) int64, one for each image, got {got}; convert them")
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= len(self.classes):
                known, wrong = f"0 to {len(self.classes) - 1}", low if low < 0 else high
                raise ValueError(f"{split}_labels: expected labels from {known}, got {wrong}; correct them or 'classes'")
        expected, other = tuple(self.train_images.shape[1:]), tuple(self.test_images.shape[1:])
        if other != expected:
            raise ValueError(f"test_images: expected images of {expected} like train_images, got {other}; resize them")

    @property
    def in_channels(self) -> int:
        """1 for grey images, 3 for RGB."""
        return self.train_images.shape[1]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.train_images.shape[2], self.train_images.shape[3]

    def to(self, device: torch.device | str) -> ImageData:
        """Return the same data on ``device``."""
        return replace(self, **{key: getattr(self, key).to(device) for key in _TENSORS})

    def digest(self) -> str:
        """Return the SHA-256 of images, labels and class names."""
        return checksum({name: getattr(self, name).cpu().contiguous() for name in _TENSORS}, json.dumps(self.classes))

    def __repr__(self) -> str:
        size = "x".join(map(str, self.train_images.shape[1:]))
        return f"ImageData({self.name}: {len(self.train_images)} train, {len(self.test_images)} test, {size}, {self.num_classes} classes)"


def load_images(
    name: str | Path = "digits",
    root: str | Path | None = None,
    cache: str | Path | None = None,
    quiet: bool = False,
    train_images: int | None = None,
) -> ImageData:
    """Load a labelled image data set by name or folder; it is decoded only on first use.

    ============= ====== ====== ======= ======= ============================================================================================
    name          train  test   image   classes source
    ============= ====== ====== ======= ======= ============================================================================================
    digits        1,438  359    1x8x8   10      scikit-learn (UCI Optical Recognition of Handwritten Digits, CC BY 4.0), doi:10.24432/C50P49
    mnist         60,000 10,000 1x28x28 10      LeCun et al. 1998, doi:10.1109/5.726791; hub ylecun/mnist
    fashion_mnist 60,000 10,000 1x28x28 10      Xiao et al. 2017, arXiv:1708.07747 (MIT licence); hub zalando-datasets/fashion_mnist
    cifar10       50,000 10,000 3x32x32 10      Krizhevsky 2009; hub uoft-cs/cifar10
    cifar100      50,000 10,000 3x32x32 100     Krizhevsky 2009, fine labels; hub uoft-cs/cifar100
    ============= ====== ====== ======= ======= ============================================================================================

    ``digits`` comes with scikit-learn; its intensities 0 to 16 become ``round(x * 255 / 16)``. The others are read from ``root/<name>`` if
    that folder exists, without network access, and otherwise fetched from the Hugging Face hub (extra ``images``).

    A folder holds either Parquet files in the hub's layout (``train.parquet`` and ``test.parquet``, or ``train-00000-of-00001.parquet``
    shards; a column ``image``, ``img`` or ``images`` of encoded bytes, bare or in a struct ``{bytes, path}``; a whole-number column
    ``label``, ``labels`` or ``fine_label``; class names from the ``huggingface`` metadata, or else the numbers), or images in class
    sub-folders (``train/<class>/*.png`` and ``test/<class>/*.png``, or ``<class>/*.png``; classes numbered in the order of their names).

    ``digits`` and ``<class>/*.png`` folders are split by :func:`stratified_split`, with the row number or ``<class>/<image>`` as key: the
    same on every machine and with every library version.

    Decoded tensors are cached under a key of the source files' names, sizes and modification times (for the hub: its id); a damaged cache
    file is rebuilt. If the cache cannot be written, a warning is logged.

    Args:
        name: a name in the table, or the path of a folder.
        root: folder with one sub-folder per data set (default: ``$ELEGANS_PYG_IMAGES``, if set).
        cache: cache folder (default: ``$ELEGANS_PYG_CACHE``, or else ``elegans_pyg`` in the user's cache folder).
        quiet: show no progress bar.
        train_images: number of training images, always the same ones, with the class shares of the whole set (default: all).

    Raises:
        ValueError: for an unknown name, invalid content (the message names file and row), or ``train_images`` below the number of classes
            or above the number of training images.
        FileNotFoundError: for a missing folder, split or shard.
        ImportError: if the extra ``images`` is needed and missing.
        ConnectionError: if the hub is needed and cannot be reached.
    """
    data = _digits() if name == "digits" else _loaded(name, root, cache, quiet)
    if train_images is None:
        return data
    present = len(data.train_labels.unique())
    if not present <= check_whole("train_images", train_images, 1) <= len(data.train_labels):
        raise ValueError(f"train_images: expected {present:,} to {len(data.train_labels):,} of {data.name}, got {train_images}; change it")
    rows = torch.from_numpy(stratified_part(data.train_labels.numpy(), train_images))
    return replace(data, train_images=data.train_images[rows], train_labels=data.train_labels[rows])


def stratified_split(labels: np.ndarray, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return row numbers of the training and the test part; a fixed fifth of every class (rounded, at least one row) is for testing.

    The test rows of a class are those with the smallest SHA-256 of ``"2023/<key>"``; ``keys`` has a distinct text for each row. Raises
    ``ValueError`` if a class has fewer than two rows.
    """
    test: list[int] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label).tolist()
        if len(rows) < 2:
            raise ValueError(f"expected at least 2 images of each class to split into train and test, got 1, {keys[rows[0]]}; add images")
        rows.sort(key=lambda row: sha256(f"{SPLIT_SEED}/{keys[row]}".encode()).digest())
        test += rows[: max(1, round(TEST_FRACTION * len(rows)))]
    return np.setdiff1d(np.arange(len(labels)), test), np.sort(np.array(test, dtype=np.int64))


def stratified_part(labels: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` row numbers with the class shares of all rows; a smaller part is contained in every larger one.

    The rows of a class are ordered by the SHA-256 of ``"2023/<row number>"``, and classes are merged by relative position, so that the
    first row of every class comes first. ``count`` must be at least the number of classes.
    """
    ranks = np.argsort([sha256(f"{SPLIT_SEED}/{row}".encode()).digest() for row in range(len(labels))]).argsort()
    share = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        share[rows] = ranks[rows].argsort().argsort() / len(rows)
    return np.sort(np.lexsort((ranks, share))[:count])


def _loaded(name: str | Path, root: str | Path | None, cache: str | Path | None, quiet: bool) -> ImageData:
    """Load a data set of the hub or a folder from the cache, or else read, decode and cache it."""
    folder, shown_name = _folder(name, root), str(name)
    key: list[str | int]
    if folder is None:
        key, read = ["hub", sources.HUB_IDS[shown_name]], partial(sources.read_hub, shown_name)
    else:
        shown_name = shown_name if isinstance(name, str) and name in sources.HUB_IDS else folder.resolve().name
        parquet = sources.find_parquet(folder)
        files = parquet or sources.list_class_folders(folder)
        key, read = [str(folder.resolve())], partial(sources.read_parquet if parquet else sources.read_class_folders, files)
        for split in sorted(files):
            for path in files[split]:
                status = path.stat()
                key += [split, str(path.relative_to(folder)), status.st_size, status.st_mtime_ns]
    digest = sha256(json.dumps([CACHE_FORMAT, SPLIT_SEED, *key]).encode()).hexdigest()
    file = f"{re.sub(r'[^A-Za-z0-9._-]', '_', shown_name)}-{digest[:20]}.safetensors"
    stored = (cache_folder() if cache is None else Path(cache).expanduser()) / "images" / file
    if os.path.exists(stored):
        try:
            tensors, classes = read_tensors(stored)
            return ImageData(shown_name, **tensors, classes=classes)
        except (OSError, ValueError, TypeError) as error:
            _log.warning("%s: unusable image cache is rebuilt (%s)", stored, str(error).partition("\n")[0])
    data = _decoded(shown_name, read(), quiet)
    try:
        write_tensors(stored, {key: getattr(data, key).contiguous() for key in _TENSORS}, data.classes)
    except OSError as error:
        _log.warning("%s: images are not cached (%s); set ELEGANS_PYG_CACHE to another folder", stored, error.strerror)
    return data


def _folder(name: str | Path, root: str | Path | None) -> Path | None:
    """Return the local folder that ``name`` stands for; None for a data set of the hub."""
    given, argument = (root, "root") if root is not None else (os.environ.get("ELEGANS_PYG_IMAGES") or None, "ELEGANS_PYG_IMAGES")
    if given is not None and isinstance(name, str):
        home, wanted = Path(given).expanduser(), "a folder of image data sets"
        if not home.is_dir():
            raise FileNotFoundError(f"{argument}: expected {wanted}, got {str(given)!r}, which is not a folder; correct the path")
        if re.fullmatch(r"\w[\w.-]*", name) and (home / name).is_dir():
            return home / name
    if isinstance(name, str) and name in sources.HUB_IDS:
        return None
    folder, known = Path(name).expanduser(), ", ".join(IMAGE_SETS)
    if name != "" and folder.is_dir():
        return folder
    if folder.is_file():
        raise ValueError(f"name: expected a folder of images, got the file {str(name)!r}; give the folder it is in")
    if isinstance(name, Path) or os.sep in name:
        raise FileNotFoundError(f"name: expected an existing folder, got {str(name)!r}; correct the path or use one of {known}")
    raise ValueError(f"name: expected one of {known} or a folder, got {name!r}; correct the name")


def _digits() -> ImageData:
    # Imported here because scikit-learn takes longer to import than this package.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None])
    keys = list(map(str, range(len(pixels))))
    return _split("digits", pixels, bunch.target.astype(np.int64), keys, list(map(str, bunch.target_names)))


def _split(name: str, pixels: Tensor, labels: np.ndarray, keys: Sequence[str], classes: list[str]) -> ImageData:
    train, test = map(torch.from_numpy, stratified_split(labels, keys))
    numbers = torch.from_numpy(labels)
    return ImageData(name, pixels[train], numbers[train], pixels[test], numbers[test], classes)


def _decoded(name: str, source: sources.EncodedSet, quiet: bool) -> ImageData:
    pixels, layout = sources.decode(source.train, None, f"{name}: decoding", quiet)
    if source.test is None:
        keys = ["/".join(path.parts[-2:]) for path in source.train.images if isinstance(path, Path)]
        return _split(name, pixels, source.train.labels, keys, source.classes)
    labels, test_labels = (torch.from_numpy(split.labels) for split in (source.train, source.test))
    test_pixels, _ = sources.decode(source.test, layout, f"{name}: decoding test images", quiet)
    return ImageData(name, pixels, labels, test_pixels, test_labels, source.classes)
