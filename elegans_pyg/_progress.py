"""Progress of long computations, shown on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

T = TypeVar("T")
_FOLLOWER: ContextVar[Callable[[float], None] | None] = ContextVar("follower", default=None)


@contextmanager
def followed(tell: Callable[[float], None]) -> Iterator[None]:
    """Within this context every :class:`Progress`, quiet or not, calls ``tell`` with the share of its work that is done, from 0 to 1."""
    token = _FOLLOWER.set(tell)
    try:
        yield
    finally:
        _FOLLOWER.reset(token)


def counted(number: int, noun: str) -> str:
    """``1 unit``, ``1,200 units``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Progress:
    """Progress on standard error: a bar with the time left on a terminal, about ten lines elsewhere, only warnings if ``quiet``.

    ``done`` of the ``total`` units of work were done before; work that takes less than ``patience_s`` seconds is not shown.
    """

    def __init__(self, label: str, total: int, done: float = 0, quiet: bool = False, patience_s: float = 0.0) -> None:
        self.label, self.total, self.done, self.quiet = label, total, done, quiet
        self._console, self._patience_s = Console(stderr=True), patience_s
        self._started, self._first, self._tenth = time.monotonic(), done, int(10 * done / max(total, 1))
        self._bar: Bar | None = None
        if not quiet and self._console.is_terminal:
            text, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
            self._bar = Bar(text, BarColumn(), MofNCompleteColumn(), note, TimeRemainingColumn(), console=self._console, transient=True)
            self._task = self._bar.add_task(label, total=total, note="")
            self._bar.update(self._task, completed=done)

    def __enter__(self) -> Progress:
        if self._bar is not None and not self._patience_s:
            self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bar is not None and self._bar.live.is_started:
            self._bar.stop()

    def update(self, done: float, note: str = "", label: str | None = None) -> None:
        """Set the work done; ``note`` is shown beside it (losses, speed), ``label`` in place of the first one until the next update."""
        self.done = done
        if (tell := _FOLLOWER.get()) is not None:
            tell(done / max(self.total, 1))
        early = time.monotonic() - self._started < self._patience_s
        if self._bar is not None:
            if not early:
                self._bar.start()
            self._bar.update(self._task, completed=done, description=label or self.label)
            if note:
                self._bar.update(self._task, note=note)
        elif not self.quiet and not early and int(10 * done / max(self.total, 1)) > self._tenth:
            self._tenth = int(10 * done / max(self.total, 1))
            left = (time.monotonic() - self._started) * (self.total - done) / max(done - self._first, 1e-9)
            rest = f", about {left:,.0f} s left" if done < self.total else ""
            self.message(f"{label or self.label}: {done:,.0f} of {self.total:,.0f}{rest}{'  ' if note else ''}{note}")

    def advance(self, amount: int = 1) -> None:
        self.update(self.done + amount)

    @property
    def on_terminal(self) -> bool:
        """Whether a bar is shown, so that updating it at every single step is worthwhile."""
        return self._bar is not None

    def message(self, text: str) -> None:
        """Print a line unless quiet."""
        if not self.quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a warning, quiet or not."""
        self._console.print(f"warning: {text}", markup=False, highlight=False, soft_wrap=True)


def track(items: Iterable[T], label: str, total: int, quiet: bool = False, patience_s: float = 0.0) -> Iterator[T]:
    """Yield the items one by one, and show how many are done."""
    with Progress(label, total, quiet=quiet, patience_s=patience_s) as progress:
        for item in items:
            yield item
            progress.advance()
