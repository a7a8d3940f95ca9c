"""Crash-safe checkpoints: a folder of safetensors, a table and JSON, replaced atomically."""

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from elegans_pyg._files import sha256, write_atomic

FORMAT_VERSION = 2
_TENSORS = ("model", "optimizer", "best", "final")
_METRICS, _STATE = "metrics.csv", "state.json"
_DIFFERS, _REMEDY = "its sha256 differs", "put it back or start again in another folder"


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint.

    Attributes:
        state: plain JSON values: iteration, settings, generator states.
        model: the model's ``state_dict()``.
        optimizer: the optimiser's state, flattened to named tensors.
        best: a ``state_dict()`` of every variant's best weights, if the run keeps them.
        final: tensors of a finished run: its test predictions and, if the best weights were tested, those weights.
        metrics: losses and scores so far, as CSV.
    """

    state: dict[str, Any]
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    best: dict[str, Tensor] = field(default_factory=dict)
    final: dict[str, Tensor] = field(default_factory=dict)
    metrics: bytes = b""


def has_checkpoint(folder: Path) -> bool:
    """Return whether a run's folder holds a checkpoint, possibly under its second name after a crash."""
    return (folder / "checkpoint").is_dir() or (folder / "checkpoint.old").is_dir()


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``folder``, whose parent must exist, and replace the previous one.

    The files are written to ``<folder>.tmp`` and flushed to disk. The old folder is then renamed to ``<folder>.old``, the new one to
    ``folder``, and the old one removed. At every moment :func:`load_checkpoint` finds either the old or the new one complete. Raises
    ``OSError`` if it cannot be written (disk full, no permission); the previous checkpoint is kept.
    """
    temporary, old = _others(folder)
    try:
        clear_leftovers(folder)
        temporary.mkdir()
        files = {_METRICS: checkpoint.metrics}
        for name in _TENSORS:
            tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in getattr(checkpoint, name).items()}
            files[f"{name}.safetensors"] = save(tensors)
        state = {"format_version": FORMAT_VERSION, **checkpoint.state}
        state["sha256"] = {**{name: sha256(content) for name, content in files.items()}, "state": _state_checksum(state)}
        files[_STATE] = json.dumps(state, indent=1, allow_nan=False).encode()
        for name, content in files.items():
            write_atomic(temporary / name, content)
        _flush_folder(temporary)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        _flush_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = os.strerror(error.errno) if error.errno else str(error)
        kept = "the previous checkpoint is kept" if folder.exists() or old.exists() else "there is no earlier one"
        raise OSError(error.errno, f"checkpoint: could not write {folder} ({reason}); {kept}; free space and resume") from error
    shutil.rmtree(old, ignore_errors=True)


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed :func:`save_checkpoint` left beside ``folder``, and restore the checkpoint's name."""
    temporary, old = _others(folder)
    if not folder.exists() and old.exists():
        # The crash was between the two renames: the old name is restored before anything is removed.
        old.rename(folder)
    for path in filter(Path.exists, (temporary, old)):
        shutil.rmtree(path)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read the checkpoint in ``folder``; every file is verified first.

    Raises:
        FileNotFoundError: if there is no checkpoint, or a file is missing.
        ValueError: if a file is damaged, or has another format version.
    """
    # A crash between the two renames of a save leaves the old checkpoint under its second name.
    place = folder if folder.is_dir() else _others(folder)[1]
    if not place.is_dir():
        raise FileNotFoundError(f"checkpoint: none in {folder.parent} (expected the folder {folder.name!r}); start without resume")
    path = place / _STATE
    try:
        state = json.loads(_read(path))
        version, checksums = state["format_version"], dict(state.pop("sha256"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"checkpoint: {path} is damaged ({error!r}); {_REMEDY}") from error
    if version != FORMAT_VERSION:
        expected = f"format version {FORMAT_VERSION} in {place}"
        raise ValueError(f"checkpoint: expected {expected}, got {version!r}; read it with the version that wrote it")
    if _state_checksum(state) != checksums.get("state"):
        raise ValueError(f"checkpoint: {path} is damaged ({_DIFFERS}); {_REMEDY}")
    tensors = {}
    for name in _TENSORS:
        file = place / f"{name}.safetensors"
        content = _read(file, checksums)
        try:
            tensors[name] = load(content)
        except SafetensorError as error:
            raise ValueError(f"checkpoint: {file} is not a safetensors file ({error}); start again in another folder") from error
    return Checkpoint(state, **tensors, metrics=_read(place / _METRICS, checksums))


def _others(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(folder.name + ".tmp"), folder.with_name(folder.name + ".old")


def _read(path: Path, checksums: dict[str, str] | None = None) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: {path} is missing; {_REMEDY}")
    content = path.read_bytes()
    if checksums is not None and sha256(content) != checksums.get(path.name):
        raise ValueError(f"checkpoint: {path} is damaged ({_DIFFERS}); {_REMEDY}")
    return content


def _state_checksum(state: dict[str, Any]) -> str:
    """Return the checksum of ``state.json`` without its checksums, which detects even one changed digit in a generator's state."""
    return sha256(json.dumps(state, allow_nan=False).encode())


def _flush_folder(folder: Path) -> None:
    # A rename is on disk only after the folder that holds the name has been flushed.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
