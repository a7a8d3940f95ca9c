"""Thousands of random wirings, measured and kept, point by point: it can be stopped at any time and goes on where it was."""

from __future__ import annotations

import io
import math
import os
import signal
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch_geometric.data import Data

from elegans_pyg.analysis import measures
from elegans_pyg.datasets import Connectome
from elegans_pyg.recipes.tables import write_whole
from elegans_pyg.training.interrupt import InterruptGuard
from elegans_pyg.transforms import FAMILIES

CHUNK = 20
"""Graphs between two saves."""


@dataclass(frozen=True)
class Point:
    """Graphs of one kind.

    Attributes:
        connectome: name of the base.
        family: how its edges are redrawn; ``connectome`` for the base itself.
        fraction: share of the edges that is redrawn, for the families with that option.
        graphs: how many.
        role: ``"point"``, or ``"null"`` for what points are compared with; they have seeds of their own.
    """

    connectome: str
    family: str
    fraction: float | None = None
    graphs: int = 1
    role: str = "point"

    @property
    def name(self) -> str:
        share = "" if self.fraction is None else f"-{100 * self.fraction:g}"
        return f"{self.connectome}-{self.family}{share}{'-null' if self.role == 'null' else ''}"

    def seed(self, number: int, seed: int) -> int:
        """Of one graph, whatever other graphs and points there are."""
        return int(np.random.SeedSequence([seed, zlib.crc32(self.name.encode()), number]).generate_state(1)[0])


Task = tuple[Point, tuple[int, ...], str, int]


class PointFiles:
    """Where the measures of each point are kept: ``<folder>/<point>.csv``, one row a graph, its number first.

    Args:
        folder: made when the first point is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables: dict[str, pd.DataFrame] = {}

    def read(self, point: Point) -> pd.DataFrame:
        """The graphs there are of a point, as many as it wants at most, by number.

        Raises:
            ValueError: if the file is damaged.
        """
        if point.name not in self._tables:
            path = self._path(point)
            table = pd.DataFrame()
            if path.is_file():
                try:
                    # Python's own float, since pandas' faster one can be off by the last digit.
                    names = pd.read_csv(path, nrows=0).columns.drop("graph")
                    table = pd.read_csv(path, index_col="graph", converters=dict.fromkeys(names, float))
                except (ValueError, KeyError) as error:
                    raise ValueError(f"sweep: {path} is damaged ({str(error).strip()}); delete it to have it made again") from error
            self._tables[point.name] = table
        table = self._tables[point.name]
        return table[table.index < point.graphs]

    def add(self, point: Point, rows: pd.DataFrame) -> None:
        """Add graphs to a point and write it.

        Raises:
            ValueError: if the file holds other measures.
        """
        self.read(point)
        before = self._tables[point.name]
        if len(before) and list(before.columns) != list(rows.columns):
            raise ValueError(f"sweep: {self._path(point)} holds other measures than are taken now; delete it to have it made again")
        table = self._tables[point.name] = pd.concat([before, rows.astype(float)]).sort_index()
        buffer = io.StringIO()
        table.to_csv(buffer, index_label="graph")
        write_whole(self._path(point), buffer.getvalue().encode())

    def missing(self, point: Point) -> list[int]:
        """Numbers of the graphs that are not there yet."""
        there = set(self.read(point).index.tolist())
        return [number for number in range(point.graphs) if number not in there]

    def _path(self, point: Point) -> Path:
        return self.folder / f"{point.name}.csv"


def sweep(points: Sequence[Point], files: PointFiles, synapses: str, seed: int, workers: int | None = None, quiet: bool = False) -> bool:
    """Make and measure the graphs of ``points`` that ``files`` does not hold yet.

    Args:
        points: which graphs.
        files: where they are kept.
        synapses: ``"chemical"``, ``"electrical"`` or ``"both"``.
        seed: of all graphs.
        workers: processes; default: one a processor that this one may use.
        quiet: show no progress.

    Returns:
        whether all are there; ``False`` after Ctrl-C, which lets the graphs in hand be finished and kept.

    Raises:
        ValueError: for an unknown connectome or family, fewer than one worker, or a damaged file.
    """
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}; leave it out for one a processor")
    tasks = [
        (point, tuple(missing[start : start + CHUNK]), synapses, seed)
        for point in points
        for missing in [files.missing(point)]
        for start in range(0, len(missing), CHUNK)
    ]
    total = sum(point.graphs for point in points)
    done = total - sum(len(numbers) for _, numbers, _, _ in tasks)
    with (
        InterruptGuard("" if quiet else "finishing the graphs in hand; Ctrl-C again to drop them") as guard,
        _Shown(total, done, quiet) as bar,
    ):
        for (point, _, _, _), rows in _finished(tasks, min(workers, max(len(tasks), 1)), guard):
            files.add(point, rows)
            bar.add(point, len(rows))
        return not guard.requested or all(not files.missing(point) for point in points)


def make_graph(point: Point, number: int, base: Data, seed: int) -> Data:
    """One graph of a point."""
    rewiring = FAMILIES[point.family].rewiring
    if rewiring is None:
        return base
    options = {} if point.fraction is None else {"fraction": point.fraction}
    return rewiring(seed=point.seed(number, seed), **options)(base)


def measure_chunk(task: Task) -> pd.DataFrame:
    """Make and measure the graphs of a task: one row each, by number."""
    point, numbers, synapses, seed = task
    base = _base(point.connectome, synapses)
    table = measures([make_graph(point, number, base, seed) for number in numbers])
    table.index = pd.Index(numbers, name="graph")
    return table


@lru_cache(maxsize=16)
def _base(connectome: str, synapses: str) -> Data:
    return Connectome(connectome, synapses=synapses)[0]


def _finished(tasks: Sequence[Task], workers: int, guard: InterruptGuard) -> Iterator[tuple[Task, pd.DataFrame]]:
    """Tasks as they are done, until all are or Ctrl-C is pressed."""
    if workers == 1:
        for alone in tasks:
            if guard.requested:
                return
            yield alone, measure_chunk(alone)
        return
    with ExitStack() as stack:
        # Threads and a CUDA context do not survive a fork.
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_leave_interrupts_to_the_parent)
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting = iter(tasks)
        running: dict[Future[pd.DataFrame], Task] = {}
        while True:
            while not guard.requested and len(running) < 2 * workers and (task := next(waiting, None)) is not None:
                running[pool.submit(measure_chunk, task)] = task
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Shown:
    """A progress bar on a terminal, a line every tenth of the way elsewhere, nothing when ``quiet``."""

    def __init__(self, total: int, done: int, quiet: bool) -> None:
        self._console = Console(stderr=True)
        self._total, self._done, self._quiet = total, done, quiet
        self._bar: Progress | None = None
        if not quiet and self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("measuring", total=total, completed=done)

    def __enter__(self) -> _Shown:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, point: Point, graphs: int) -> None:
        before, self._done = self._done, self._done + graphs
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=point.name)
        elif not self._quiet and math.floor(10 * self._done / self._total) > math.floor(10 * before / self._total):
            self._console.print(f"measured {self._done:,} of {self._total:,} graphs", highlight=False)
