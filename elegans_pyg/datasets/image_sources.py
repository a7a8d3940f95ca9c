"""Where labelled images come from: Parquet files, folders of class sub-folders, the Hugging Face hub.

Each reader returns an :class:`EncodedSet`, whose splits :func:`decode` turns into uint8 tensors. Whatever is wrong with a source is refused
here, in one line that names the file and the row.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elegans_pyg._extras import require
from elegans_pyg._files import check_file
from elegans_pyg._progress import Progress

HUB_IDS = {
    "mnist": "ylecun/mnist",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
}
IMAGE_COLUMNS = ("image", "img", "images")
LABEL_COLUMNS = ("label", "labels", "fine_label")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
# Pillow's other readers (EPS, PDF, ...) run interpreters or plugins that no image data set needs.
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM")
CHANNELS = {"L": 1, "RGB": 3}

_SHARD_NAME = re.compile(r"(train|test)(?:-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?)?\.parquet")
_ROWS_PER_TASK = 500
_LARGEST_FILE = 2**40
_PATIENCE_S = 2.0


@dataclass(frozen=True)
class EncodedImages:
    """One split as it is stored.

    Attributes:
        images: Encoded bytes of each image, or the file that holds them.
        labels: Class number of each image, int64.
        shards: ``(place, first row)`` of every file the rows come from, in row order.
    """

    images: Sequence[bytes | Path]
    labels: np.ndarray
    shards: Sequence[tuple[str, int]]

    def place(self, row: int) -> str:
        """Where ``row`` is stored, for error messages."""
        image = self.images[row]
        if isinstance(image, Path):
            return str(image)
        shard, first = next((shard, first) for shard, first in reversed(self.shards) if first <= row)
        return f"{shard}, row {row - first} (counted from 0)"


@dataclass(frozen=True)
class EncodedSet:
    """A data set before decoding; ``test`` is None where the source leaves the splitting to the reader."""

    train: EncodedImages
    test: EncodedImages | None
    classes: list[str]


@dataclass(frozen=True)
class Layout:
    """The size and mode all images of a data set share, and the image that set them."""

    mode: str
    width: int
    height: int
    place: str

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.mode}"


def find_parquet(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files of each split in ``folder``, or an empty dict where it holds none.

    Read are ``train.parquet`` and ``test.parquet``, or shards named as on the hub (``train-00000-of-00002.parquet``), in ``folder`` itself
    or, as in a clone of a hub repository, in its only sub-folder that has any. Splits of other names are left alone.

    Raises:
        FileNotFoundError: if a split or a shard is missing.
        ValueError: if two sub-folders, or two sets of files, could be meant.
    """
    homes = [folder] if any(folder.glob("*.parquet")) else sorted({path.parent for path in folder.glob("*/*.parquet")})
    if not homes:
        return {}
    if len(homes) > 1:
        raise ValueError(f"{folder}: expected Parquet files in one sub-folder, got {_names(homes)}; give the one to read")
    found: dict[str, list[tuple[Path, re.Match[str]]]] = {}
    for path in sorted(homes[0].glob("*.parquet")):
        if match := _SHARD_NAME.fullmatch(path.name):
            found.setdefault(match[1], []).append((path, match))
    for split in ("train", "test"):
        if split not in found:
            files = _names(homes[0].glob("*.parquet"))
            raise FileNotFoundError(f"{homes[0]}: expected {split}.parquet (or {split}-00000-of-00001.parquet), got only {files}; add it")
    splits: dict[str, list[Path]] = {}
    for split, shards in found.items():
        totals = {match[3] for _, match in shards}
        if len(totals) > 1 or len({match[2] for _, match in shards}) < len(shards):
            names = _names(path for path, _ in shards)
            raise ValueError(f"{homes[0]}: expected one set of {split} files, got {names}; remove those that are not meant")
        expected = int(next(iter(totals)) or 1)
        if len(shards) != expected:
            raise FileNotFoundError(f"{homes[0]}: expected {expected} {split} files, got {len(shards)}; add the missing ones")
        splits[split] = [path for path, _ in shards]
    return splits


def read_parquet(splits: dict[str, list[Path]]) -> EncodedSet:
    """Read the files :func:`find_parquet` found, with pyarrow alone."""
    return _from_tables({split: [(str(path), _read_table(path)) for path in paths] for split, paths in splits.items()})


def read_hub(name: str) -> EncodedSet:
    """Fetch the data set ``name`` from the Hugging Face hub, or from its local cache, with the ``datasets`` package.

    Raises:
        ConnectionError: if the hub cannot be reached or does not have it.
    """
    datasets = require("datasets", "images", f"fetching '{name}' from the Hugging Face hub")
    tables = {}
    for split in ("train", "test"):
        try:
            dataset = datasets.load_dataset(HUB_IDS[name], split=split)
        # `datasets` lets through whatever its HTTP client raises, and which client that is depends on its version.
        except Exception as error:
            raise ConnectionError(
                f"{HUB_IDS[name]}: could not be fetched from the Hugging Face hub ({_first_line(error)}); without network, "
                f"give root=FOLDER or set ELEGANS_PYG_IMAGES=FOLDER, where FOLDER/{name} holds train.parquet and test.parquet"
            ) from error
        # In Arrow format the images stay encoded, and the schema says what a Parquet file's would.
        tables[split] = [(f"{HUB_IDS[name]}[{split}]", dataset.with_format("arrow")[:])]
    return _from_tables(tables)


def list_class_folders(folder: Path) -> dict[str, list[Path]]:
    """The files of a folder of class sub-folders, by split, sorted by path; hidden files are left out.

    The splits are ``train`` and ``test`` if ``folder`` has a sub-folder of either name, and otherwise ``all``, ``folder/<class>/<image>``.

    Raises:
        FileNotFoundError: if there is a train folder without a test folder or the reverse, or no class folder.
        ValueError: if a class folder is empty or holds anything that is not an image file.
    """
    homes = {split: folder / split for split in ("train", "test") if (folder / split).is_dir()}
    if len(homes) == 1:
        present, absent = (*homes, "test") if "train" in homes else (*homes, "train")
        raise FileNotFoundError(f"{folder}: expected the sub-folders train and test, got {present} without {absent}; add {absent}")
    files: dict[str, list[Path]] = {}
    for split, home in (homes or {"all": folder}).items():
        files[split] = []
        for class_folder in sorted(path for path in home.iterdir() if path.is_dir() and not path.name.startswith(".")):
            members = sorted(path for path in class_folder.iterdir() if not path.name.startswith("."))
            if not members:
                raise ValueError(f"{class_folder}: expected images, got an empty class folder; fill or remove it")
            for path in members:
                if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
                    raise ValueError(f"{path}: expected an image file ({' '.join(IMAGE_SUFFIXES)}); convert or remove it")
            files[split] += members
        if not files[split]:
            raise FileNotFoundError(f"{home}: expected Parquet files or class sub-folders of images, got neither; give another folder")
    return files


def read_class_folders(files: dict[str, list[Path]]) -> EncodedSet:
    """Number the classes of the files :func:`list_class_folders` found; a class's name is its folder's."""
    train_files = files["train"] if "train" in files else files["all"]
    classes = sorted({path.parent.name for path in train_files})
    number = {name: label for label, name in enumerate(classes)}
    splits = {}
    for split, paths in files.items():
        for path in paths:
            if path.parent.name not in number:
                raise ValueError(f"{path.parent}: expected one of the training classes ({', '.join(classes)}); rename or remove the folder")
        splits[split] = EncodedImages(paths, np.array([number[path.parent.name] for path in paths], dtype=np.int64), ())
    return EncodedSet(splits["train"] if "train" in splits else splits["all"], splits.get("test"), classes)


def decode(
    encoded: EncodedImages, layout: Layout | None = None, description: str = "decoding", quiet: bool = False
) -> tuple[Tensor, Layout]:
    """Decode one split.

    Args:
        encoded: The images.
        layout: Size and mode every image must have; by default those of the first.
        description: Shown beside the progress bar.
        quiet: Show no progress bar, even where decoding takes more than two seconds and standard error is a terminal.

    Returns:
        The pixels, ``(n, C, H, W)`` uint8, and their layout.

    Raises:
        ValueError: if an image is damaged, neither 8-bit grey nor RGB, or unlike the first; of several, the first is named.
    """
    wanted = layout if layout is not None else _layout_of_first(encoded)
    rows = len(encoded.images)
    pixels = np.empty((rows, CHANNELS[wanted.mode], wanted.height, wanted.width), dtype=np.uint8)

    def decode_rows(start: int) -> int:
        stop = min(start + _ROWS_PER_TASK, rows)
        for row in range(start, stop):
            pixels[row] = decode_image(encoded, row, wanted)
        return stop - start

    # Pillow lets go of the interpreter lock while it decompresses; for tiny images a few threads are all that helps.
    quiet = quiet or not sys.stderr.isatty()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, Progress(description, rows, 0, quiet, _PATIENCE_S) as progress:
        for done in pool.map(decode_rows, range(0, rows, _ROWS_PER_TASK)):
            progress.advance(done)
    return torch.from_numpy(pixels), wanted


def decode_image(encoded: EncodedImages, row: int, layout: Layout) -> np.ndarray:
    """Pixels of one image, ``(C, H, W)`` uint8."""
    image = _load(encoded, row)
    if (image.mode, *image.size) != (layout.mode, layout.width, layout.height):
        got = f"{image.width}x{image.height} {image.mode}"
        raise ValueError(f"{encoded.place(row)}: expected a {layout} image like {layout.place}, got {got}; resize or convert it")
    return np.frombuffer(image.tobytes(), dtype=np.uint8).reshape(layout.height, layout.width, -1).transpose(2, 0, 1)


def _layout_of_first(encoded: EncodedImages) -> Layout:
    image = _load(encoded, 0)
    if image.mode not in CHANNELS:
        raise ValueError(f"{encoded.place(0)}: expected an 8-bit grey (L) or RGB image, got mode {image.mode}; convert it")
    return Layout(image.mode, image.width, image.height, encoded.place(0))


def _load(encoded: EncodedImages, row: int) -> Any:
    pillow = require("PIL.Image", "images", "decoding images")
    stored = encoded.images[row]
    try:
        with pillow.open(stored if isinstance(stored, Path) else io.BytesIO(stored), formats=IMAGE_FORMATS) as image:
            image.load()
            return image
    # On damaged bytes Pillow's readers raise what their parsers happen to raise: SyntaxError, struct.error, OverflowError, ...
    except Exception as error:
        reason = "of no known format" if isinstance(error, pillow.UnidentifiedImageError) else _first_line(error)
        raise ValueError(f"{encoded.place(row)}: expected an image, got damaged bytes ({reason}); replace the image") from error


def _read_table(path: Path) -> Any:
    pq = require("pyarrow.parquet", "images", "reading Parquet images")
    pyarrow = require("pyarrow", "images", "reading Parquet images")
    try:
        with pq.ParquetFile(check_file(path, "root", _LARGEST_FILE)) as file:
            return file.read(columns=[name for name in file.schema_arrow.names if name in IMAGE_COLUMNS + LABEL_COLUMNS])
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"{path}: expected a Parquet file, got an unreadable one ({_first_line(error)}); copy or fetch it again"
        ) from error


def _from_tables(tables: dict[str, list[tuple[str, Any]]]) -> EncodedSet:
    """Take images, labels and class names from Arrow tables, given by split with the place each comes from."""
    names: dict[str, list[str]] = {}
    splits = {}
    for split in ("train", "test"):
        images: list[bytes] = []
        labels: list[np.ndarray] = []
        shards: list[tuple[str, int]] = []
        for place, table in tables[split]:
            shards.append((place, len(images)))
            labels.append(_labels(table, place))
            images += _image_bytes(table, place)
            if (found := _class_names(table, place)) is not None:
                names[place] = found
        if not images:
            raise ValueError(f"{tables[split][0][0]}: expected at least one row, got an empty file; copy or fetch it again")
        splits[split] = EncodedImages(images, np.concatenate(labels), shards)
        _refuse_label(splits[split], splits[split].labels < 0, "of 0 or more")
    if names:
        first_place, classes = next(iter(names.items()))
        for place, other in names.items():
            if other != classes:
                raise ValueError(f"{place}: expected the class names of {first_place}, got others; use files of one data set")
    else:
        classes = _numbered_classes(splits["train"])
    for encoded in splits.values():
        _refuse_label(encoded, encoded.labels >= len(classes), f"from 0 to {len(classes) - 1}")
    return EncodedSet(splits["train"], splits["test"], classes)


def _refuse_label(encoded: EncodedImages, wrong: np.ndarray, expected: str) -> None:
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"{encoded.place(row)}: expected a label {expected}, got {encoded.labels[row]}; correct it")


def _column(table: Any, names: Sequence[str], place: str) -> Any:
    found = [name for name in names if name in table.column_names]
    if not found:
        raise ValueError(f"{place}: expected a column named {' or '.join(names)}, got none; rename the column")
    return table.column(found[0])


def _image_bytes(table: Any, place: str) -> list[bytes]:
    types = require("pyarrow.types", "images", "reading Parquet images")
    column = _column(table, IMAGE_COLUMNS, place)
    kind = column.type
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        compute = require("pyarrow.compute", "images", "reading Parquet images")
        column = compute.struct_field(column, "bytes")
    if not (types.is_binary(column.type) or types.is_large_binary(column.type)):
        raise ValueError(f"{place}: expected image bytes, or a struct with the field 'bytes', got {kind}; store the encoded image files")
    _refuse_null(column, place, "image bytes", "store the encoded image")
    return column.to_pylist()


def _labels(table: Any, place: str) -> np.ndarray:
    types = require("pyarrow.types", "images", "reading Parquet images")
    column = _column(table, LABEL_COLUMNS, place)
    if not types.is_integer(column.type):
        raise ValueError(f"{place}: expected whole-number labels, got {column.type}; number the classes from 0")
    _refuse_null(column, place, "a label", "label the image")
    return column.to_numpy().astype(np.int64)


def _refuse_null(column: Any, place: str, expected: str, remedy: str) -> None:
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise ValueError(f"{place}, row {row} (counted from 0): expected {expected}, got null; {remedy} or drop the row")


def _class_names(table: Any, place: str) -> list[str] | None:
    """Class names from the metadata `datasets` writes into a Parquet file; None where there are none."""
    stored = (table.schema.metadata or {}).get(b"huggingface")
    if stored is None:
        return None
    label = next(name for name in LABEL_COLUMNS if name in table.column_names)
    try:
        names = json.loads(stored)["info"]["features"][label].get("names")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{place}: expected 'huggingface' metadata that describes '{label}', got {stored[:40]!r}; drop it") from error
    return None if names is None else [str(name) for name in names]


def _numbered_classes(train: EncodedImages) -> list[str]:
    """Numbers as class names, provided that the training labels show every number up to the largest."""
    present = np.unique(train.labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        row = int((train.labels == present[gaps[0]]).argmax())
        raise ValueError(
            f"{train.place(row)}: expected labels that run from 0 without a gap, got {present[gaps[0]]} but no {gaps[0]}; correct it, "
            "or store the class names in the file's metadata as the package 'datasets' does"
        )
    return [str(label) for label in present]


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(sorted(path.name for path in paths))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
