"""The folder a run leaves behind: ``config.yaml``, ``metrics.csv``, ``results.csv``, ``predictions.safetensors``, ``summary.json``,
``checkpoint/`` and ``figures/``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from elegans_pyg.recipes.config import RunConfig

RESULT_COLUMNS = ("variant", "family", "wiring_seed", "seed", "accuracy")


class RunFolder:
    """A run's folder, and what is in it.

    Every file is written under another name first and renamed, so that a crash leaves the old file or the new one.

    Args:
        path: the folder; it need not be there yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    @classmethod
    def free(cls, name: str, parent: str | Path = "runs") -> RunFolder:
        """Make the first of ``<parent>/<name>-1``, ``-2``, ... that is not there yet."""
        number = 1
        while True:
            folder = Path(parent) / f"{name}-{number}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                number += 1
            else:
                return cls(folder)

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    def has_checkpoint(self) -> bool:
        """Whether there is something to resume from (a crash can leave the checkpoint under its second name)."""
        return self.checkpoint.is_dir() or self.checkpoint.with_name("checkpoint.old").is_dir()

    def check_unused(self) -> None:
        """Refuse a folder that holds anything.

        Raises:
            FileExistsError: if it does.
            NotADirectoryError: if it is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"out: expected a folder, got the file {self.path}; give another name")
        if self.path.is_dir() and any(self.path.iterdir()):
            raise FileExistsError(f"out: {self.path} is not empty; give another folder, or go on with the run in it by resuming")

    def write_config(self, config: RunConfig) -> None:
        head = "# Settings of an elegans_pyg run. The same again: elegans-pyg ensemble --config config.yaml\n"
        self._write("config.yaml", (head + config.to_yaml()).encode())

    def read_config(self) -> RunConfig:
        """Raises ``FileNotFoundError`` if this is no run folder, and what :meth:`RunConfig.from_yaml` does."""
        if not (self.path / "config.yaml").is_file():
            raise FileNotFoundError(f"run: {self.path} is no run folder, it has no config.yaml; give a folder that a run was written to")
        return RunConfig.from_yaml(self.path / "config.yaml")

    def write_results(self, results: pd.DataFrame, predictions: Tensor, summary: dict[str, Any]) -> None:
        self._write("results.csv", results.to_csv(index=False, na_rep="nan").encode())
        self._write("predictions.safetensors", save({"predictions": predictions.to(torch.int16).contiguous()}))
        self._write("summary.json", (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())

    def read_results(self) -> pd.DataFrame:
        """One row a variant: :data:`RESULT_COLUMNS`.

        Raises:
            FileNotFoundError: if the run has not come to its end, or this is no run folder.
            ValueError: if the table is damaged.
        """
        config = self.path / "config.yaml"
        if config.is_file() and not (self.path / "results.csv").is_file():
            remedy = f"elegans-pyg ensemble --resume --out {self.path}"
            raise FileNotFoundError(f"run: {self.path} has no results yet, since it did not come to its end; finish it with: {remedy}")
        return self._read_table("results.csv", RESULT_COLUMNS)

    def read_metrics(self) -> pd.DataFrame:
        """The rows of ``metrics.csv``, see :func:`~elegans_pyg.training.fit`."""
        return self._read_table("metrics.csv", ("iteration", *RESULT_COLUMNS[:4], "split", "loss", "accuracy"))

    def read_predictions(self) -> Tensor:
        """Predicted classes of the test images, ``(V, n)`` int64; -1 for a stopped variant."""
        path = self.path / "predictions.safetensors"
        try:
            return load(path.read_bytes())["predictions"].long()
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"run: {path} is damaged ({error}); resume the run to write it again") from error

    def discard_start(self) -> None:
        """Drop the settings and metrics of a run that ended before its first checkpoint."""
        for name in ("config.yaml", "metrics.csv"):
            (self.path / name).unlink(missing_ok=True)

    def remove_if_empty(self) -> None:
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def _read_table(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        path = self.path / name
        if not path.is_file():
            raise FileNotFoundError(f"run: {self.path} is no run folder, it has no {name}; give a folder that a run was written to")
        try:
            # Python's own float, since pandas' faster one can be off by the last digit.
            table = pd.read_csv(path, converters={name: float for name in ("loss", "accuracy")})
        except ValueError as error:
            raise ValueError(f"run: {path} is damaged ({str(error).strip()}); resume the run to write it again") from error
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise ValueError(f"run: {path} has no column {missing[0]}; resume the run to write it again")
        return table

    def _write(self, name: str, content: bytes) -> None:
        path = self.path / name
        temporary = path.with_name(path.name + ".tmp")
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
