"""The table of losses and scores of a run."""

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from elegans_pyg._files import write_atomic


class MetricsLog:
    """Rows in memory, one a variant, split and evaluation: whose it is, the loss, and the scores; at first those of ``content``, a CSV.

    The checkpoint keeps the rows as CSV; ``metrics.csv`` in the run folder is written from them, and never read. Floats have all their
    digits, so that reading the CSV gives back the same numbers.
    """

    def __init__(self, score_names: Sequence[str] = ("accuracy",), content: bytes = b"") -> None:
        self.columns = ["iteration", "variant", "family", "wiring_seed", "seed", "split", "loss", *score_names]
        self.rows: list[tuple[Any, ...]] = []
        self._written, self._seconds = 0.0, 0.0
        for line in list(csv.reader(io.StringIO(content.decode())))[1:]:
            iteration, variant, family, wiring_seed, seed, split, *values = line
            self.rows.append((int(iteration), int(variant), family, int(wiring_seed), int(seed), split, *map(float, values)))

    def to_csv(self, first: int = 0) -> bytes:
        """The rows from the ``first`` on."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows[first:]])
        return text.getvalue().encode()

    def write(self, path: Path, now: bool = True) -> None:
        """Write all rows to a file; without ``now``, leave it for later if writing would take more than about a twentieth of the time."""
        started = time.monotonic()
        if now or started - self._written > 20 * self._seconds:
            write_atomic(path, self.to_csv())
            self._written = time.monotonic()
            self._seconds = self._written - started

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=self.columns)
