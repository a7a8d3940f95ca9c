"""Run folders: one process at a time, atomic writes, and checksums of all files of a finished run."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from filelock import FileLock, Timeout
from torch_geometric.data import Data

from elegans_pyg._files import PART, parse_csv, remove_parts, sha256, write_atomic, write_content
from elegans_pyg._progress import followed
from elegans_pyg._settings import Settings, read_yaml
from elegans_pyg.datasets.graph_cache import load_graphs, save_graphs
from elegans_pyg.studies.study import S, Study
from elegans_pyg.studies.units import Units

_LOCK, _HOLDER, _PROGRESS = ".lock", ".holder.json", ".progress"
_BEFORE_CONFIG = {_LOCK, _HOLDER, "wirings", "units.csv", "identity.json"}
"""Files that may remain of a run that was killed before its settings were written."""
_DRAWN = ("figures", "report.html")
"""What may be made again from a finished run."""
_WIRINGS_A_FILE = 1_000
"""Wirings per file: a shard reads little more than it needs, and headers stay below the 100 MB that safetensors allows."""
_PROGRESS_EVERY_S = 5.0
_HEAD = "# Settings of: elegans-pyg "


class FolderInUse(OSError):
    """Another process is using the folder."""


class RunFolder:
    """The folder of a study.

    ============================ ====================================================================================================
    ``config.yaml``              the settings; written when the run starts, and never changed
    ``identity.json``            what the results depend on: hashes of settings, wirings, units, data; versions, processor, threads, device
    ``units.csv``                one row per unit, with its shard
    ``wirings/<number>``         the wirings, a thousand per file
    ``shards/<number>/``         files of a shard: checkpoints, its metrics, and ``rows.csv`` once it is done
    ``results.csv``              one row per unit with its scores, once all shards are done; further tables beside it
    ``figures/``                 figures
    ``summary.json``             written last: findings, and the SHA-256 of all the files above
    ============================ ====================================================================================================

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    @classmethod
    def free(cls, name: str) -> RunFolder:
        """Create the first of ``runs/<name>-1``, ``-2``, ... that does not exist yet."""
        for number in count(1):
            folder = Path("runs", f"{name}-{number}")
            with suppress(FileExistsError):
                folder.mkdir(parents=True)
                break
        return cls(folder)

    @contextmanager
    def claim(self, wait_s: float = 0) -> Iterator[None]:
        """Lock the folder, waiting at most ``wait_s`` seconds. It is created if needed, and removed afterwards if nothing was written.

        Raises:
            FileExistsError: if it holds something other than a run.
            FolderInUse: if another process is using it; the message names that process.
            OSError: if the folder cannot be created or written.
        """
        if self.started() is None:
            raise FileExistsError(f"out: {self.path} is not empty and holds no run; give another folder")
        made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(error.errno, f"out: cannot create {self.path} ({os.strerror(error.errno or 0)}); give another folder") from error
        with self._locked(wait_s):
            # Shards remove their own partial files: another process may be writing there.
            remove_parts(self.path, skip="shards")
            try:
                yield
            finally:
                if self.started() is False:
                    shutil.rmtree(self.path / "wirings", ignore_errors=True)
                    for name in _BEFORE_CONFIG - {_LOCK, "wirings"}:
                        (self.path / name).unlink(missing_ok=True)
                    if {path.name for path in self.path.iterdir()} <= {_LOCK}:
                        (self.path / _LOCK).unlink(missing_ok=True)
                        # Another run may have come into a parent meanwhile.
                        with suppress(OSError):
                            for path in made:
                                path.rmdir()

    @contextmanager
    def claim_shard(self) -> Iterator[None]:
        """Lock this shard; raises :class:`FolderInUse` if another process is running it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            remove_parts(self.path)
            yield

    @contextmanager
    def telling_progress(self) -> Iterator[None]:
        """Within this context, write this shard's progress to a file that :meth:`progress` reads in other processes."""
        path, told = self.path / _PROGRESS, -math.inf

        def tell(share: float) -> None:
            nonlocal told
            # Called at every step: on a network file system, accessing the file would take longer than a small step.
            if time.monotonic() - told >= _PROGRESS_EVERY_S:
                told = time.monotonic()
                # A full disk is reported by the writes that matter.
                with suppress(OSError):
                    path.write_text(f"{share:.4f}")

        try:
            with followed(tell):
                yield
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, wait_s: float = 0) -> Iterator[None]:
        lock = FileLock(self.path / _LOCK, thread_local=False)
        try:
            lock.acquire(timeout=wait_s)
        except Timeout:
            raise FolderInUse(f"out: {self.path} is in use by {_holder(self.path)}; wait for it, or give another folder") from None
        except OSError as error:
            raise OSError(error.errno, f"out: cannot write {self.path} ({os.strerror(error.errno or 0)}); give another folder") from error
        try:
            self.write_json(_HOLDER, {"pid": os.getpid(), "host": socket.gethostname()})
            yield
        finally:
            (self.path / _HOLDER).unlink(missing_ok=True)
            lock.release()

    def progress(self) -> float:
        """The finished share of a running shard, from 0 to 1, a few seconds old at most."""
        try:
            return float((self.path / _PROGRESS).read_text())
        except (OSError, ValueError):
            return 0.0

    def started(self) -> bool | None:
        """``True`` if the folder holds a run, ``False`` if it is empty or a run was killed at its start, ``None`` otherwise."""
        if (self.path / "config.yaml").is_file():
            return True
        names = {path.name for path in self.path.iterdir() if path.suffix != PART} if self.path.is_dir() else set()
        # Every run has a lock file first, so that a user's folder with such names is none.
        return False if not names or (_LOCK in names and names <= _BEFORE_CONFIG) else None

    def finished(self) -> bool:
        return (self.path / "summary.json").is_file()

    def study_name(self) -> str:
        """The name of the study that the run belongs to.

        Raises:
            FileNotFoundError: if the folder holds no run.
            ValueError: if ``config.yaml`` does not name a study.
        """
        if not (self.path / "config.yaml").is_file():
            raise FileNotFoundError(f"run: {self.path} is not a run folder: it has no config.yaml; give the folder of a run")
        head = (self.path / "config.yaml").read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        if not head.startswith(_HEAD):
            raise ValueError(f"run: {self.path / 'config.yaml'} does not name its study in the first line; give the folder of a run")
        return head.removeprefix(_HEAD).strip()

    def write_config(self, name: str, settings: Settings) -> None:
        write_atomic(self.path / "config.yaml", f"{_HEAD}{name}\n{settings.to_yaml()}".encode())

    def read_config(self, study: Study[S]) -> S:
        """Read the settings; raises as :meth:`study_name`, and ``ValueError`` if the run is one of another study."""
        if (name := self.study_name()) != study.name:
            remedy = f"elegans-pyg {name} --resume --out {self.path}"
            raise ValueError(f"out: {self.path} holds a run of another command; resume it with: {remedy}")
        return study.settings(**read_yaml(self.path / "config.yaml"))

    def write_units(self, units: Units) -> None:
        for first in range(0, len(units.wirings), _WIRINGS_A_FILE):
            save_graphs(self._wirings_file(first), units.wirings[first : first + _WIRINGS_A_FILE], {})
        self.write("units.csv", units.table)

    def read_units(self) -> Units:
        """Raises ``ValueError`` if a file is damaged."""
        table = self.read_table("units.csv")
        return Units(table, [self._wiring(place) for place in range(table["wiring"].max() + 1)])

    def read_shard(self, number: int) -> tuple[pd.DataFrame, list[Data | None]]:
        """Read the units and wirings of one shard, without the files that it does not need."""
        path = self.path / "units.csv"
        table = _read_once(path, path.stat().st_mtime_ns)
        table = table[table["shard"] == number].drop(columns="shard").reset_index(drop=True)
        return table, [self._wiring(place) if place >= 0 else None for place in table["wiring"]]

    def _wiring(self, place: int) -> Data:
        path = self._wirings_file(place)
        try:
            return _graphs_once(path, path.stat().st_mtime_ns)[place % _WIRINGS_A_FILE]
        except (OSError, ValueError) as error:
            raise ValueError(f"run: {path} is missing or damaged; start a new run in another folder") from error

    def _wirings_file(self, place: int) -> Path:
        return self.path / "wirings" / f"{place // _WIRINGS_A_FILE:05}.safetensors"

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        write_atomic(self.path / name, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """Raises ``ValueError`` if the file is missing or damaged."""
        try:
            content = json.loads((self.path / name).read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(f"run: {self.path / name} is missing or damaged; start a new run in another folder") from error
        if not isinstance(content, dict):
            raise ValueError(f"run: {self.path / name} is damaged; start a new run in another folder")
        return content

    def write(self, name: str, content: pd.DataFrame | bytes) -> None:
        """Write a table or bytes atomically."""
        write_content(self.path / name, content)

    def read_table(self, name: str) -> pd.DataFrame:
        """Read a table exactly as it was written.

        Raises:
            FileNotFoundError: if it does not exist; the message says how to get it.
            ValueError: if the file was changed after the run finished, or is damaged.
        """
        finished = self.finished()
        if not (self.path / name).is_file():
            if not finished:
                remedy = f"finish it with: elegans-pyg {self.study_name()} --resume --out {self.path}"
                raise FileNotFoundError(f"run: {self.path} has no {name} yet, since its run is not finished; {remedy}")
            raise FileNotFoundError(f"run: {self.path / name} is missing; put it back, or run the study again")
        content = (self.path / name).read_bytes()
        if finished and self.read_json("summary.json").get("sha256", {}).get(name, known := sha256(content)) != known:
            raise ValueError(f"run: {self.path / name} was changed after its run; put the original back, or run the study again")
        return _parse_table(self.path / name, content)

    def has_rows(self) -> bool:
        """Whether this shard is done."""
        return (self.path / "rows.csv").is_file()

    def read_rows(self) -> pd.DataFrame:
        """Read the rows of a shard that is done."""
        return _parse_table(self.path / "rows.csv", (self.path / "rows.csv").read_bytes())

    def shard(self, number: int) -> RunFolder:
        """The folder of a shard; numbers start at 1."""
        return RunFolder(self.path / "shards" / f"{number:05}")

    def finish(self, summary: dict[str, Any], known: Mapping[str, str] | None = None) -> None:
        """Write ``summary.json`` with the checksums of all other files outside the shards, computed where they are not ``known``; this
        marks the run as finished."""
        files = sorted(path for path in self.path.rglob("*") if path.is_file() and "shards" not in path.relative_to(self.path).parts)
        names = [str(path.relative_to(self.path)) for path in files if path.name not in (_LOCK, _HOLDER, "summary.json")]
        known = known or {}
        sums = {name: known[name] if name in known else sha256((self.path / name).read_bytes()) for name in names}
        self.write_json("summary.json", {**summary, "sha256": sums})

    def finish_again(self) -> None:
        """Update the checksums of figures and report in ``summary.json`` after they were written again; those of tables stay, so that a
        table changed after its run is still noticed."""
        summary = self.read_json("summary.json")
        sums = summary.pop("sha256", {})
        self.finish(summary, {name: value for name, value in sums.items() if Path(name).parts[0] not in _DRAWN})


# A process that runs many shards of a run reads these files once; the modification time distinguishes rewritten files.
@lru_cache(maxsize=1)
def _read_once(path: Path, written_ns: int) -> pd.DataFrame:
    return _parse_table(path, path.read_bytes())


@lru_cache(maxsize=1)
def _graphs_once(path: Path, written_ns: int) -> list[Data]:
    return load_graphs(path)[0]


def _parse_table(path: Path, content: bytes) -> pd.DataFrame:
    try:
        return parse_csv(content)
    except ValueError as error:
        raise ValueError(f"run: {path} is damaged ({str(error).strip()}); start a new run in another folder") from error


def _holder(path: Path) -> str:
    try:
        content = json.loads((path / _HOLDER).read_bytes())
        pid, host = int(content["pid"]), str(content["host"])
        name = ""
        if host == socket.gethostname() and psutil.pid_exists(pid):
            name = f" ({' '.join(psutil.Process(pid).cmdline())[:80]})"
        return f"process {pid} on {host}{name}"
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return "another process"
