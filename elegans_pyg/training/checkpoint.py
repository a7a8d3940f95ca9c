"""Checkpoints that a crash cannot spoil: a folder of safetensors and JSON, swapped in whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

FORMAT_VERSION = 1
_TENSOR_FILES = ("model.safetensors", "optimizer.safetensors")
_BEST_FILE = "best.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Args:
        state: Plain JSON values: iteration, settings, generator states and the like.
        model: The model's ``state_dict()``.
        optimizer: The optimiser's state, flattened to named tensors.
        best: Another ``state_dict()`` of the model, with every variant's weights at its best evaluation, where a run keeps these.
    """

    state: dict[str, Any]
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    best: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``folder``, in place of the one that is there.

    The files are written and flushed to the disk in ``<folder>.tmp``, which then takes the place of ``folder`` by renaming, the old one
    being ``<folder>.old`` for that moment. At every instant :func:`load_checkpoint` finds either the old or the new one complete.

    Args:
        folder: The checkpoint's folder; its parent must exist.
        checkpoint: What to write.

    Raises:
        OSError: if it cannot be written (disk full, no permission); the checkpoint from before is kept.
    """
    temporary, old = folder.with_name(folder.name + ".tmp"), folder.with_name(folder.name + ".old")
    try:
        if not folder.exists() and old.exists():
            # A crash came between the two renames below: the old one has its name back before anything is removed.
            old.rename(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        checksums = {}
        files = dict(zip(_TENSOR_FILES, (checkpoint.model, checkpoint.optimizer), strict=True))
        if checkpoint.best:
            files[_BEST_FILE] = checkpoint.best
        for name, tensors in files.items():
            content = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
            checksums[name] = hashlib.sha256(content).hexdigest()
            _write_durably(temporary / name, content)
        state = {"format_version": FORMAT_VERSION, **checkpoint.state}
        state["sha256"] = {**checksums, "state": _state_checksum(state)}
        _write_durably(temporary / "state.json", json.dumps(state, indent=1, allow_nan=False).encode())
        _flush_folder(temporary)
        if folder.exists():
            if old.exists():
                shutil.rmtree(old)
            folder.rename(old)
        temporary.rename(folder)
        _flush_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = os.strerror(error.errno) if error.errno else str(error)
        kept = "the checkpoint from before is kept" if folder.exists() or old.exists() else "there is no earlier one"
        raise OSError(error.errno, f"checkpoint: could not write {folder} ({reason}); {kept}; free space and resume") from error
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read what :func:`save_checkpoint` wrote, checking every file first.

    Args:
        folder: The checkpoint's folder.

    Raises:
        FileNotFoundError: if there is no checkpoint, or one of its files is missing.
        ValueError: if a file is damaged, or the format is one this version does not read.
    """
    if not folder.is_dir():
        # A crash between the two renames of a save leaves the old one under this name.
        old = folder.with_name(folder.name + ".old")
        if not old.is_dir():
            raise FileNotFoundError(
                f"checkpoint: there is none in {folder.parent} (expected the folder {folder.name!r}); start without resume"
            )
        folder = old
    for name in (*_TENSOR_FILES, "state.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"checkpoint: {folder / name} is missing; put it back or start anew in another folder")
    try:
        state = json.loads((folder / "state.json").read_bytes())
        version, checksums = state["format_version"], dict(state.pop("sha256"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"checkpoint: {folder / 'state.json'} is damaged ({error!r}); put it back or start anew in another folder"
        ) from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"checkpoint: expected format version {FORMAT_VERSION} in {folder}, got {version!r}; read it with the version that wrote it"
        )
    if checksums.get("state") != _state_checksum(state):
        raise ValueError(
            f"checkpoint: {folder / 'state.json'} is damaged (its sha256 differs); put it back or start anew in another folder"
        )
    if _BEST_FILE in checksums and not (folder / _BEST_FILE).is_file():
        raise FileNotFoundError(f"checkpoint: {folder / _BEST_FILE} is missing; put it back or start anew in another folder")
    tensors = []
    for name in (*_TENSOR_FILES, *([_BEST_FILE] if _BEST_FILE in checksums else [])):
        content = (folder / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != checksums.get(name):
            raise ValueError(f"checkpoint: {folder / name} is damaged (its sha256 differs); put it back or start anew in another folder")
        try:
            tensors.append(load(content))
        except SafetensorError as error:
            raise ValueError(f"checkpoint: {folder / name} holds no safetensors ({error}); start anew in another folder") from error
    return Checkpoint(state, *tensors)


def _state_checksum(state: dict[str, Any]) -> str:
    """Of everything in ``state.json`` but the checksums; a changed digit in a generator's state would go unseen otherwise."""
    return hashlib.sha256(json.dumps(state, allow_nan=False).encode()).hexdigest()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    # A rename is only on the disk once the folder that holds the name is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
