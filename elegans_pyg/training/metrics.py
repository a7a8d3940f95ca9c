"""Reporting of a run: the table of its losses and scores, and its progress in units of training steps."""

import csv
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from elegans_pyg._files import write_atomic
from elegans_pyg._progress import Progress
from elegans_pyg.training.settings import FitSettings

FORWARD = 1 / 3
"""Cost of a forward pass, as a share of a training step on as many samples."""


class MetricsLog:
    """Rows in memory, one per variant, split and evaluation, with loss and scores; initially those of ``content``, a CSV.

    The checkpoint keeps the rows as CSV; ``metrics.csv`` in the run folder is written from them, and never read. Floats have all their
    digits, so that reading the CSV returns the same numbers.
    """

    def __init__(self, score_names: Sequence[str] = ("accuracy",), content: bytes = b"") -> None:
        self.columns = ["iteration", "variant", "family", "wiring_seed", "seed", "split", "loss", *score_names]
        self.rows: list[tuple[Any, ...]] = []
        self._written, self._seconds = 0.0, 0.0
        for line in list(csv.reader(io.StringIO(content.decode())))[1:]:
            iteration, variant, family, wiring_seed, seed, split, *values = line
            self.rows.append((int(iteration), int(variant), family, int(wiring_seed), int(seed), split, *map(float, values)))

    def to_csv(self, first: int = 0) -> bytes:
        """Return the rows from the ``first`` on as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows[first:]])
        return text.getvalue().encode()

    def write(self, path: Path, now: bool = True) -> None:
        """Write all rows to a file; without ``now``, postpone it if writing would take more than about a twentieth of the time."""
        started = time.monotonic()
        if now or started - self._written > 20 * self._seconds:
            write_atomic(path, self.to_csv())
            self._written = time.monotonic()
            self._seconds = self._written - started

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=self.columns)


class Meter:
    """Advances a progress display by ``iterations`` in total over the steps, evaluations and test of a run.

    ``evaluated`` is the number of samples in all evaluations and the test; ``done`` is the number of iterations finished earlier; ``base``
    is the position of the display, which may cover many runs, before this run.
    """

    def __init__(
        self, progress: Progress, settings: FitSettings, variants: int, evaluated: int, done: int, score: str, base: float
    ) -> None:
        self.progress, self.iterations, self.batch_size = progress, settings.iterations, settings.batch_size
        self._total = self.iterations + FORWARD * evaluated / self.batch_size
        self._done = done / self.iterations * self._total
        self._base, self._score, self._samples = base, score.replace("_", " "), variants * self.batch_size
        self._first, self._started, self._next_loss = done, time.monotonic(), 0.0
        self._iteration, self._loss, self._headline = done, "", ""

    def step(self, iteration: int, loss: Callable[[], float]) -> None:
        """Count one step; on a terminal its mean loss is read at most once per second, because the CPU then waits for the GPU."""
        self._iteration = iteration
        self._advance(1.0, "training")
        if self.progress.on_terminal and time.monotonic() >= self._next_loss:
            self._next_loss = time.monotonic() + 1.0
            self._loss = f"  loss {loss():.4f}"

    def evaluating(self, split: str, samples: int) -> None:
        """Count samples that went through the model in an evaluation."""
        self._advance(FORWARD * samples / self.batch_size, split)

    def evaluated(self, loss: float, score: float) -> None:
        """Show the mean training loss and validation score over the variants still training."""
        self._loss, self._headline = f"  loss {loss:.4f}", "" if score != score else f"  validation {self._score} {score:.4g}"

    def finish(self) -> None:
        self._done = self._total
        self._advance(0.0, "training")

    def _advance(self, units: float, label: str) -> None:
        self._done += units
        speed = (self._iteration - self._first) * self._samples / max(time.monotonic() - self._started, 1e-9)
        note = f"iteration {self._iteration}/{self.iterations}{self._loss}{self._headline}  {speed:,.0f} samples/s"
        self.progress.update(self._base + int(self.iterations * min(self._done / self._total, 1.0) + 1e-9), note, label)
