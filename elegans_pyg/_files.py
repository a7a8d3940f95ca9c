"""Files on disk: written atomically, and read only if they are ordinary files of a limited size."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

from platformdirs import user_cache_path

from elegans_pyg._arguments import shown

PART = ".part"
"""Suffix of a file that is being written. A killed process can leave one behind; :func:`remove_parts` removes it."""


def write_atomic(path: Path, content: bytes) -> Path:
    """Write a file, and its folder if needed, under a temporary name and rename it: a crash at any moment leaves the old file or the new.
    Raises ``OSError``, naming the file, if it cannot be written (disk full, no permission); an old file is kept."""
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


def remove_parts(folder: Path, skip: str = "") -> None:
    """Remove what killed writers left anywhere below ``folder``, except in its subfolder ``skip``. Only the folder's owner may call it."""
    for top, folders, names in os.walk(folder):
        if skip in folders and Path(top) == folder:
            folders.remove(skip)
        for name in names:
            if name.startswith(".") and name.endswith(PART):
                Path(top, name).unlink(missing_ok=True)


def check_file(path: str | Path, what: str, limit: int) -> Path:
    """Return the path of an ordinary file, given as the argument ``what``; raise ``FileNotFoundError`` if it does not exist, and
    ``ValueError`` if it is not an ordinary file (a pipe or a device would never end) or has more than ``limit`` bytes."""
    path = Path(path).expanduser()
    try:
        status = path.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"{what}: there is no file {str(path)!r}; check the name") from None
    except (OSError, ValueError) as error:
        # For example a name that is too long or contains a NUL byte.
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise ValueError(f"{what}: expected the name of a file, got {shown(str(path))} ({reason}); check it") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise ValueError(f"{what}: expected an ordinary file, and {str(path)!r} is {kind}; give a file")
    if status.st_size > limit:
        raise ValueError(f"{what}: {str(path)!r} has {status.st_size:,} bytes, expected at most {limit:,}; give another file")
    return path


def read_bounded(path: str | Path, what: str, limit: int = 256 * 2**20) -> bytes:
    """Return the content of an ordinary file; raises as :func:`check_file`."""
    return check_file(path, what, limit).read_bytes()


def parse_csv(content: bytes) -> pd.DataFrame:
    """Parse a table that ``to_csv(na_rep="nan")`` wrote, every float exact to the last bit; raise ``ValueError`` if it is not a table."""
    import pandas as pd

    # From pandas 3 on floats are read exactly anyway, and asking for it is deprecated.
    exact: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__.startswith("2.") else {}
    return pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=["nan"], **exact)


def write_content(path: Path, content: pd.DataFrame | Mapping[str, Any] | bytes) -> None:
    """Write a table as CSV for :func:`parse_csv`, a mapping of tensors as safetensors, or bytes as they are."""
    if isinstance(content, Mapping):
        from safetensors.torch import save

        content = save(dict(content))
    write_atomic(path, content if isinstance(content, bytes) else content.to_csv(index=False, na_rep="nan").encode())


def sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


def read_text(path: str | Path, what: str) -> str:
    """Return the content of an ordinary UTF-8 text file, without a byte-order mark; raises as :func:`check_file`, and ``ValueError`` if it
    is not text or is blank."""
    content = read_bounded(path, what)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, got an invalid byte at position {error.start}; save it in UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{path}: expected text, got a binary file; save it in UTF-8")
    if not text.strip():
        raise ValueError(f"{path}: expected text, got an empty file; fill it or give another")
    return text


def cache_folder(*parts: str) -> Path:
    """Return a folder below the user's cache: ``$ELEGANS_PYG_CACHE`` if it is set, or the system's default."""
    own = os.environ.get("ELEGANS_PYG_CACHE")
    return (Path(own).expanduser() if own else user_cache_path("elegans_pyg", appauthor=False)).joinpath(*parts)


def data_folder(kind: str) -> Path:
    """Return a folder of packaged data: inside an installed package, or beside it in a checkout."""
    package = Path(str(files("elegans_pyg")))
    inside = package / "data" / kind
    return inside if inside.is_dir() else package.parent / "data" / kind
