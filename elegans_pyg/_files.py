"""Files on disk: written whole or not at all, and read only if they are ordinary files of a sane size."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

PART = ".part"
"""Suffix of a file that is being written; a killed process can leave one behind, and :func:`remove_parts` clears them away."""


def write_atomic(path: Path, content: bytes) -> Path:
    """Write a file under another name first and rename it, so that a crash at any moment leaves the old file or the new one.

    Args:
        path: the file; its folder is made if need be.
        content: what it is to hold.

    Raises:
        OSError: if it cannot be written (disk full, no permission); the message names the file, and an old one is kept.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, f"could not write {path} ({reason}); free space, or give another folder") from error
    return path


def remove_parts(folder: Path) -> None:
    """Remove what killed writers have left anywhere below ``folder``; to be called by the folder's only owner."""
    for path in folder.rglob(f".*{PART}"):
        path.unlink(missing_ok=True)


def read_bounded(path: str | Path, what: str, limit: int = 256 * 2**20) -> bytes:
    """The content of an ordinary file.

    Args:
        path: the file.
        what: the argument that named it, for the messages.
        limit: most bytes that such a file can sensibly have.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no ordinary file (a pipe or a device would never end), or larger than ``limit``.
    """
    path = Path(path).expanduser()
    try:
        status = path.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"{what}: there is no file {str(path)!r}; check the name") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise ValueError(f"{what}: expected an ordinary file, and {str(path)!r} is {kind}; give a file")
    if status.st_size > limit:
        raise ValueError(f"{what}: {str(path)!r} has {status.st_size:,} bytes, expected at most {limit:,}; give another file")
    return path.read_bytes()


def sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
