"""Sources of labelled images: Parquet files, folders with one sub-folder per class, and the Hugging Face hub.

Each reader returns an :class:`EncodedSet`, whose splits :func:`decode` turns into uint8 tensors. Errors name the file and the row.
"""

import io
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from elegans_pyg._extras import require
from elegans_pyg._files import check_file
from elegans_pyg._progress import Progress

HUB_IDS = {
    "mnist": "ylecun/mnist", "fashion_mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100",
}  # fmt: skip
IMAGE_COLUMNS = ("image", "img", "images")
LABEL_COLUMNS = ("label", "labels", "fine_label")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
# Pillow's other readers (EPS, PDF, ...) run interpreters or plugins that no image data set needs.
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM")
CHANNELS = {"L": 1, "RGB": 3}

_SHARD_NAME = re.compile(r"(train|test)(?:-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?)?\.parquet")
_ROWS_PER_TASK, _LARGEST_FILE, _PATIENCE_S = 500, 2**40, 2.0


class EncodedImages(NamedTuple):
    """One split as stored: images or their files, int64 class numbers, and ``(place, first row)`` of every Parquet file, in order."""

    images: Sequence[bytes | Path]
    labels: np.ndarray
    shards: Sequence[tuple[str, int]]

    def place(self, row: int) -> str:
        """Return where ``row`` is stored, for error messages."""
        if isinstance(image := self.images[row], Path):
            return str(image)
        shard, first = next((shard, first) for shard, first in reversed(self.shards) if first <= row)
        return f"{shard}, row {row - first} (counted from 0)"


class EncodedSet(NamedTuple):
    """A data set before decoding; ``test`` is None if the source has no test split of its own."""

    train: EncodedImages
    test: EncodedImages | None
    classes: list[str]


class Layout(NamedTuple):
    """The size and mode shared by all images of a data set, and the image they were taken from."""

    mode: str
    width: int
    height: int
    place: str


def find_parquet(folder: Path) -> dict[str, list[Path]]:
    """Find the Parquet files of the splits ``train`` and ``test`` in ``folder`` or, as in a clone of a hub repository, in the only
    sub-folder with such files; an empty dict if there are none."""
    homes = [folder] if any(folder.glob("*.parquet")) else sorted({path.parent for path in folder.glob("*/*.parquet")})
    if not homes:
        return {}
    if len(homes) > 1:
        raise ValueError(f"{folder}: expected Parquet files in one sub-folder, got {_names(homes)}; give the one to read")
    files = sorted(homes[0].glob("*.parquet"))
    splits = {}
    for split in ("train", "test"):
        shards = [match for path in files if (match := _SHARD_NAME.fullmatch(path.name)) and match[1] == split]
        if not shards:
            wanted = f"{split}.parquet (or {split}-00000-of-00001.parquet)"
            raise FileNotFoundError(f"{homes[0]}: expected {wanted}, got only {_names(files)}; add it")
        splits[split] = [homes[0] / match[0] for match in shards]
        totals = {match[3] for match in shards}
        if len(totals) > 1 or len({match[2] for match in shards}) < len(shards):
            names = _names(splits[split])
            raise ValueError(f"{homes[0]}: expected one set of {split} files, got {names}; remove the others")
        expected = int(totals.pop() or 1)
        if len(shards) != expected:
            raise FileNotFoundError(f"{homes[0]}: expected {expected} {split} files, got {len(shards)}; add the missing ones")
    return splits


def read_parquet(splits: dict[str, list[Path]]) -> EncodedSet:
    """Read the files found by :func:`find_parquet`."""
    return _from_tables({split: [(str(path), _read_table(path)) for path in paths] for split, paths in splits.items()})


def read_hub(name: str) -> EncodedSet:
    """Fetch the data set ``name`` from the Hugging Face hub, or its local cache, with the package ``datasets``."""
    datasets = require("datasets", "images", f"fetching '{name}' from the Hugging Face hub")
    tables = {}
    for split in ("train", "test"):
        try:
            dataset = datasets.load_dataset(HUB_IDS[name], split=split)
        # `datasets` passes on the errors of its HTTP client, which depends on its version.
        except Exception as error:
            place, reason = f"FOLDER/{name} holds train.parquet and test.parquet", _first_line(error)
            remedy = f"without network, give root=FOLDER or set ELEGANS_PYG_IMAGES=FOLDER, where {place}"
            raise ConnectionError(f"{HUB_IDS[name]}: could not be fetched from the Hugging Face hub ({reason}); {remedy}") from error
        # In Arrow format the images stay encoded, and the schema is that of a Parquet file.
        tables[split] = [(f"{HUB_IDS[name]}[{split}]", dataset.with_format("arrow")[:])]
    return _from_tables(tables)


def list_class_folders(folder: Path) -> dict[str, list[Path]]:
    """List the files of class sub-folders by split, sorted by path, without hidden ones: ``train`` and ``test`` if ``folder`` has a
    sub-folder of either name, otherwise ``all``, ``folder/<class>/<image>``."""
    homes = {split: folder / split for split in ("train", "test") if (folder / split).is_dir()}
    if len(homes) == 1:
        present, absent = ("train", "test") if "train" in homes else ("test", "train")
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
    """Number the classes of the files found by :func:`list_class_folders`; a class has the name of its folder."""
    classes = sorted({path.parent.name for path in files.get("train") or files["all"]})
    number = {name: label for label, name in enumerate(classes)}
    splits = {}
    for split, paths in files.items():
        for path in paths:
            if path.parent.name not in number:
                raise ValueError(f"{path.parent}: expected one of the training classes ({', '.join(classes)}); rename or remove the folder")
        splits[split] = EncodedImages(paths, np.array([number[path.parent.name] for path in paths], dtype=np.int64), ())
    return EncodedSet(splits.get("train") or splits["all"], splits.get("test"), classes)


def decode(
    encoded: EncodedImages, layout: Layout | None = None, description: str = "decoding", quiet: bool = False
) -> tuple[Tensor, Layout]:
    """Decode one split to pixels ``(n, C, H, W)`` uint8.

    Also returns the layout of all images, by default that of the first. Raises ``ValueError``, naming the first such image, if one is
    damaged, neither 8-bit grey nor RGB, or of another layout.
    """
    if layout is None:
        first = _load(encoded, 0)
        layout = Layout(first.mode, first.width, first.height, encoded.place(0))
        if layout.mode not in CHANNELS:
            raise ValueError(f"{layout.place}: expected an 8-bit grey (L) or RGB image, got mode {layout.mode}; convert it")
    rows, wanted = len(encoded.images), layout
    pixels = np.empty((rows, CHANNELS[wanted.mode], wanted.height, wanted.width), dtype=np.uint8)

    def decode_rows(start: int) -> int:
        stop = min(start + _ROWS_PER_TASK, rows)
        for row in range(start, stop):
            pixels[row] = decode_image(encoded, row, wanted)
        return stop - start

    # Pillow releases the interpreter lock while it decompresses; for small images more threads do not help.
    quiet = quiet or not sys.stderr.isatty()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, Progress(description, rows, 0, quiet, _PATIENCE_S) as progress:
        for done in pool.map(decode_rows, range(0, rows, _ROWS_PER_TASK)):
            progress.advance(done)
    return torch.from_numpy(pixels), wanted


def decode_image(encoded: EncodedImages, row: int, layout: Layout) -> np.ndarray:
    """Decode one image to pixels ``(C, H, W)`` uint8."""
    image = _load(encoded, row)
    if (image.mode, *image.size) != (layout.mode, layout.width, layout.height):
        expected, got = (f"{each.width}x{each.height} {each.mode}" for each in (layout, image))
        raise ValueError(f"{encoded.place(row)}: expected a {expected} image like {layout.place}, got {got}; resize or convert it")
    return np.frombuffer(image.tobytes(), dtype=np.uint8).reshape(layout.height, layout.width, -1).transpose(2, 0, 1)


def _load(encoded: EncodedImages, row: int) -> Any:
    return open_image(encoded.images[row], encoded.place(row))


def open_image(stored: Path | bytes, place: str) -> Any:
    """Read a whole Pillow image from a file or its content; raises ``ValueError``, naming the ``place``, if it is damaged or not an
    image."""
    pillow = require("PIL.Image", "images", "decoding images")
    try:
        with pillow.open(stored if isinstance(stored, Path) else io.BytesIO(stored), formats=IMAGE_FORMATS) as image:
            image.load()
            return image
    # For damaged bytes Pillow's parsers raise many kinds of errors: SyntaxError, struct.error, OverflowError, ...
    except Exception as error:
        reason = "of no known format" if isinstance(error, pillow.UnidentifiedImageError) else _first_line(error)
        raise ValueError(f"{place}: expected an image, got damaged bytes ({reason}); replace the image") from error


def _read_table(path: Path) -> Any:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(check_file(path, "root", _LARGEST_FILE)) as file:
            return file.read(columns=[name for name in file.schema_arrow.names if name in IMAGE_COLUMNS + LABEL_COLUMNS])
    except (pyarrow.ArrowException, OSError) as error:
        reason = _first_line(error)
        raise ValueError(f"{path}: expected a Parquet file, got an unreadable one ({reason}); copy or fetch it again") from error


def _from_tables(tables: dict[str, list[tuple[str, Any]]]) -> EncodedSet:
    """Take images, labels and class names from Arrow tables, given by split with the place of each."""
    names: dict[str, list[str]] = {}
    splits = {}
    for split in ("train", "test"):
        images, labels, shards = list[bytes](), list[np.ndarray](), list[tuple[str, int]]()
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
    first_place, classes = next(iter(names.items())) if names else ("", _numbered_classes(splits["train"]))
    for place, other in names.items():
        if other != classes:
            raise ValueError(f"{place}: expected the class names of {first_place}, got others; use files of one data set")
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
    from pyarrow import compute, types

    column = _column(table, IMAGE_COLUMNS, place)
    kind = column.type
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        column = compute.struct_field(column, "bytes")
    if not (types.is_binary(column.type) or types.is_large_binary(column.type)):
        raise ValueError(f"{place}: expected image bytes, or a struct with the field 'bytes', got {kind}; store the encoded image files")
    return _without_nulls(column, place, "image bytes", "store the encoded image").to_pylist()


def _labels(table: Any, place: str) -> np.ndarray:
    from pyarrow import types

    column = _column(table, LABEL_COLUMNS, place)
    if not types.is_integer(column.type):
        raise ValueError(f"{place}: expected whole-number labels, got {column.type}; number the classes from 0")
    return _without_nulls(column, place, "a label", "label the image").to_numpy().astype(np.int64)


def _without_nulls(column: Any, place: str, expected: str, remedy: str) -> Any:
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise ValueError(f"{place}, row {row} (counted from 0): expected {expected}, got null; {remedy} or drop the row")
    return column


def _class_names(table: Any, place: str) -> list[str] | None:
    """Return the class names from the metadata that ``datasets`` writes into a Parquet file; None if there are none."""
    stored = (table.schema.metadata or {}).get(b"huggingface")
    if stored is None:
        return None
    label = next(name for name in LABEL_COLUMNS if name in table.column_names)
    try:
        names = json.loads(stored)["info"]["features"][label].get("names")
        return None if names is None else list(map(str, names))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{place}: expected 'huggingface' metadata that describes '{label}', got {stored[:40]!r}; drop it") from error


def _numbered_classes(train: EncodedImages) -> list[str]:
    """Return numbers as class names; raises unless the training labels include every number up to the largest."""
    present = np.unique(train.labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        row = int((train.labels == present[gaps[0]]).argmax())
        got = f"{present[gaps[0]]} but no {gaps[0]}"
        remedy = "correct it, or store the class names in the file's metadata as the package 'datasets' does"
        raise ValueError(f"{train.place(row)}: expected labels that run from 0 without a gap, got {got}; {remedy}")
    return [str(label) for label in present]


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(sorted(path.name for path in paths))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
