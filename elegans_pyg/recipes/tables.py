"""Tables and texts on disk, each written whole or not at all."""

from __future__ import annotations

import io
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd


def write_whole(path: Path, content: bytes) -> Path:
    """Write under another name first and rename, so that a crash leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(path: Path, content: dict[str, Any]) -> Path:
    return write_whole(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_table(path: Path, table: pd.DataFrame) -> Path:
    """Write a table as ``<path>.parquet`` where pyarrow is installed (extra ``images``), as ``<path>.csv`` otherwise.

    Args:
        path: file name without suffix.

    Returns:
        the file written.
    """
    if find_spec("pyarrow") is None:
        return write_whole(path.with_name(path.name + ".csv"), table.to_csv(index=False).encode())
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, engine="pyarrow")
    return write_whole(path.with_name(path.name + ".parquet"), buffer.getvalue())
