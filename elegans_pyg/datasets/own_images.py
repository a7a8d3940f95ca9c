"""Your own image files, converted to match the images of a data set in size, channels and background."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elegans_pyg._arguments import shown
from elegans_pyg._extras import require
from elegans_pyg._files import check_file
from elegans_pyg.datasets.image_kind import ImageKind, border_level
from elegans_pyg.datasets.image_sources import IMAGE_SUFFIXES, open_image

SUFFIXES = (*IMAGE_SUFFIXES, ".npy")
_LARGEST = 512 * 2**20


@dataclass(frozen=True)
class OwnImages:
    """Images converted by :func:`read_images`.

    Attributes:
        pixels: ``(n, C, H, W)`` uint8.
        names: name of each image.
        changed: what was changed, such as ``"28x28 from 480x640, inverted"`` (width by height).
        truth: class of each image if its folder has a class's name, else ``""``.
    """

    pixels: Tensor
    names: list[str]
    changed: list[str]
    truth: list[str]


def read_images(paths: Sequence[str | Path], kind: ImageKind) -> OwnImages:
    """Read images and convert them to match those of a data set.

    Each image is converted to grey or RGB, with transparent parts white; inverted if its background (the median of its outermost pixels) is
    light and the data set's is dark, or vice versa; padded with its background to the data set's aspect ratio; and scaled.

    Args:
        paths: files that Pillow reads (PNG, JPEG, BMP, WebP, TIFF, PPM); ``.npy`` arrays ``(H, W)``, ``(n, H, W)``, ``(H, W, 1 or 3)`` or
            ``(n, H, W, 1 or 3)`` with values from 0 to 255, or fractions from 0 to 1; folders of these, or of one sub-folder per class.
        kind: properties of the data set's images.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if there is no image, a file is not an image, or a sub-folder does not have the name of a class; the message names it.
        ImportError: if the extra ``images`` is missing.
    """
    names, pixels, changed, truth = list[str](), list[np.ndarray](), list[str](), list[str]()
    found = [each for given in paths for each in _files(Path(given).expanduser(), kind)]
    short = len({path.name for path, _ in found}) == len(found)
    for path, label in found:
        pictures = _arrays(path) if path.suffix.lower() == ".npy" else [_picture(path)]
        for number, picture in enumerate(pictures):
            own, text = _adapted(picture, kind)
            pixels.append(own)
            changed.append(text)
            name = path.name if short else "/".join(path.parts[-2:])
            names.append(name if len(pictures) == 1 else f"{name}[{number}]")
            truth.append(label)
    if not names:
        raise ValueError("image: expected at least one, got none; name image files or a folder of them")
    return OwnImages(torch.from_numpy(np.stack(pixels)), names, changed, truth)


def _files(path: Path, kind: ImageKind) -> Iterator[tuple[Path, str]]:
    """Yield the image files of a path, and their classes."""
    if not path.is_dir():
        yield check_file(path, "image", _LARGEST), ""
        return
    own, below = _images_in(path), {folder: _images_in(folder) for folder in sorted(path.iterdir()) if folder.is_dir()}
    below = {} if own else {folder: files for folder, files in below.items() if files}
    if not own and not below:
        raise ValueError(f"image: {path} holds no image ({', '.join(SUFFIXES)}); give image files or a folder of them")
    yield from ((file, "") for file in own)
    for folder, files in below.items():
        if folder.name not in kind.classes:
            few = ", ".join(kind.classes[:20]) + (", ..." if len(kind.classes) > 20 else "")
            raise ValueError(f"image: {folder} does not have the name of a class; choose from {few}, or give the folder itself")
        yield from ((file, folder.name) for file in files)


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _picture(path: Path) -> Any:
    """Read the image of a file, upright, as 8-bit grey or RGB."""
    image = require("PIL.ImageOps", "images", "reading images").exif_transpose(open_image(path, str(path)))
    if image.mode.startswith(("I", "F")):
        # Pillow would clip values above 255.
        values = np.asarray(image).astype(np.float64)
        _check_values(values, path, "finite numbers of 0 or more")
        return _from_array(values / max(65_535 if image.mode.startswith("I") else 1.0, values.max()))
    if image.mode in ("L", "RGB"):
        return image
    pillow, clear = require("PIL.Image", "images", "reading images"), image.convert("RGBA")
    return pillow.alpha_composite(pillow.new("RGBA", clear.size, "white"), clear).convert("L" if image.mode in ("1", "LA") else "RGB")


def _arrays(path: Path) -> list[Any]:
    """Read the images of a NumPy file."""
    try:
        values = np.load(path, allow_pickle=False)
        fits = values.ndim in (2, 3, 4) and values.size and values.dtype.kind in "biuf"
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"image: {path} is not an array that NumPy can read ({shown(str(error))}); save it with numpy.save") from error
    if not fits or (values.ndim == 4 and values.shape[-1] not in (1, 3)):
        got = f"{values.shape} {values.dtype}"
        raise ValueError(f"image: {path}: expected numbers (H, W), (n, H, W), (H, W, 1 or 3) or (n, H, W, 1 or 3), got {got}; reshape them")
    most = 1 if values.dtype.kind in "bf" and values.max() <= 1 else 255
    _check_values(values, path, "numbers from 0 to 1 or 0 to 255", most)
    single = values.ndim == 2 or (values.ndim == 3 and values.shape[-1] in (1, 3))
    return [_from_array(image / most) for image in ([values] if single else values)]


def _check_values(values: np.ndarray, path: Path, expected: str, most: float = math.inf) -> None:
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > most:
        raise ValueError(f"image: {path}: expected {expected}, got {values.min():g} to {values.max():g}; correct or scale them")


def _from_array(shares: np.ndarray) -> Any:
    """Make an image of an array ``(H, W)``, ``(H, W, 1)`` or ``(H, W, 3)`` with values from 0 to 1."""
    pixels = np.rint(255 * shares).astype(np.uint8)
    return require("PIL.Image", "images", "reading images").fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)


def _adapted(image: Any, kind: ImageKind) -> tuple[np.ndarray, str]:
    """Convert an image to pixels ``(C, H, W)`` that match the data set, and describe the changes."""
    pillow, (height, width), size = require("PIL.Image", "images", "reading images"), kind.size, image.size
    mode, words = "L" if kind.channels == 1 else "RGB", [f"{width}x{height} from {size[0]}x{size[1]}" if size != (width, height) else ""]
    if image.mode != mode:
        words.append("grey" if mode == "L" else "RGB")
        image = image.convert(mode)
    pixels = np.asarray(image).reshape(size[1], size[0], -1)
    level = float(border_level(torch.tensor(pixels.transpose(2, 0, 1))[None]))
    if kind.background != "any" and (level < 128) != (kind.background == "dark"):
        words.append("inverted")
        image = pillow.fromarray(255 - np.asarray(image))
    if (scale := min(width / size[0], height / size[1])) != 1 or size != (width, height):
        inner = max(1, round(scale * size[0])), max(1, round(scale * size[1]))
        scaled = image.resize(inner, pillow.Resampling.BOX if scale < 1 else pillow.Resampling.BICUBIC)
        if inner != (width, height):
            words.append("padded")
        border = np.asarray(image).reshape(size[1], size[0], -1)
        edge = np.concatenate([border[0], border[-1], border[:, 0], border[:, -1]])
        image = pillow.new(mode, (width, height), tuple(int(value) for value in np.median(edge, axis=0)))
        image.paste(scaled, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return np.asarray(image).reshape(height, width, -1).transpose(2, 0, 1).copy(), ", ".join(filter(None, words)) or "unchanged"
