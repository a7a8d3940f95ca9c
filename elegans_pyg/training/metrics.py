"""The table of losses and scores that a run writes while it trains."""

from __future__ import annotations

import csv
import os
from collections import namedtuple
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd

COLUMNS = ("iteration", "variant", "family", "wiring_seed", "seed", "split", "loss")


def metric_row(score_names: Sequence[str]) -> Any:
    """The named tuple that is one row of ``metrics.csv``, one variant, one split, one evaluation: :data:`COLUMNS` and the scores."""
    return cast(Any, namedtuple)("Metric", (*COLUMNS, *score_names))


Metric = metric_row(("accuracy",))
"""A row of a run that tells classes apart."""


class MetricsLog:
    """Rows kept in memory and, given a path, appended to a CSV file as they come.

    Floats are written with all their digits, so that reading the file gives back the same numbers. A crash can lose no more than the rows
    being written.

    Args:
        path: The file to make, or ``None`` to keep the rows in memory only.
        score_names: Columns after ``loss``.

    Raises:
        FileExistsError: if there is such a file already.
        OSError: if the file cannot be written.
    """

    def __init__(self, path: Path | None = None, score_names: Sequence[str] = ("accuracy",)) -> None:
        self.path, self.row, self.score_names = path, metric_row(score_names), tuple(score_names)
        self.rows: list[Any] = []
        if path is not None:
            if path.exists():
                raise FileExistsError(f"out: {path} is there already, from another run; resume that run or give another folder")
            _write(path, [self.row._fields], "w")

    @classmethod
    def resume(cls, path: Path, last_evaluation: int, score_names: Sequence[str] = ("accuracy",)) -> MetricsLog:
        """Take up the file of an interrupted run, dropping what is newer than the checkpoint's last evaluation.

        Rows of the test split are dropped too: they belong to the end of a run, and resuming means that the end is still to come.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file has another header, a damaged row before the end, or stops before ``last_evaluation``.
        """
        if not path.is_file():
            raise FileNotFoundError(f"out: {path} is missing beside its checkpoint, so the run cannot go on; put it back or start anew")
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
        log = cls(score_names=score_names)
        header = log.row._fields
        if not lines or tuple(lines[0]) != header:
            raise ValueError(f"out: {path} does not start with the header {','.join(header)}; put it back or start anew")
        for number, line in enumerate(lines[1:], start=2):
            row = log._parse(line)
            if row is None:
                # Only the very last row can have been cut short by a crash; its evaluation is then newer than the checkpoint.
                if number == len(lines):
                    break
                raise ValueError(f"out: line {number} of {path} is damaged: {','.join(line)!r}; put it back or start anew")
            if row.iteration <= last_evaluation and row.split != "test":
                log.rows.append(row)
        if last_evaluation and (not log.rows or log.rows[-1].iteration != last_evaluation):
            raise ValueError(
                f"out: {path} lacks the evaluation at iteration {last_evaluation} of its checkpoint; put it back or start anew"
            )
        temporary = path.with_name(path.name + ".tmp")
        _write(temporary, [header, *log.rows], "w")
        temporary.replace(path)
        log.path = path
        return log

    def append(self, rows: Sequence[Any]) -> None:
        """Add the rows of one evaluation; they are on the disk when this returns."""
        if self.path is not None:
            _write(self.path, rows, "a")
        self.rows.extend(rows)

    def frame(self) -> pd.DataFrame:
        """The rows as a table."""
        return pd.DataFrame(self.rows, columns=list(self.row._fields))

    def _parse(self, line: list[str]) -> Any:
        try:
            iteration, variant, family, wiring_seed, seed, split, *values = line
            return self.row(int(iteration), int(variant), family, int(wiring_seed), int(seed), split, *map(float, values))
        except (ValueError, TypeError):
            return None


def _write(path: Path, rows: Iterable[tuple[Any, ...]], mode: str) -> None:
    try:
        with path.open(mode, newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, f"out: could not write {path} ({reason}); free space or give another folder") from error
