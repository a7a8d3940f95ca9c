"""What a run shows on standard error while it trains."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """A progress bar on a terminal, a plain line an evaluation elsewhere, nothing but warnings when ``quiet``.

    Args:
        iterations: Iterations of the whole run.
        done: Iterations finished before this call.
        images_per_step: Images a step, counted once for each variant.
        quiet: Show warnings only.
        score: Name of the score that evaluations report.
    """

    def __init__(self, iterations: int, done: int, images_per_step: int, quiet: bool = False, score: str = "accuracy") -> None:
        self.score = score.replace("_", " ")
        self.iterations, self.images_per_step, self.quiet = iterations, images_per_step, quiet
        self._console = Console(stderr=True)
        self._started, self._first = time.monotonic(), done
        self._next_loss = self._started
        self._progress: Progress | None = None
        if not quiet and self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TextColumn("loss {task.fields[loss]}"),
                TextColumn("validation {task.fields[accuracy]}"),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._progress.add_task("training", total=iterations, completed=done, loss="-", accuracy="-", speed="")

    def __enter__(self) -> Reporter:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def step(self, iteration: int) -> None:
        """A step is done."""
        if self._progress is not None:
            self._progress.update(self._task, completed=iteration, speed=self._speed(iteration))

    def wants_loss(self) -> bool:
        """Whether a loss would be shown now: once a second at most, since reading one makes the CPU wait for the GPU."""
        if self._progress is None or time.monotonic() < self._next_loss:
            return False
        self._next_loss = time.monotonic() + 1.0
        return True

    def loss(self, value: float) -> None:
        """Show the mean loss over the variants still training."""
        if self._progress is not None:
            self._progress.update(self._task, loss=f"{value:.4f}")

    def evaluating(self, split: str, done: int, total: int) -> None:
        """An evaluation is under way; ``done == total`` is its end."""
        if self._progress is not None:
            self._progress.update(self._task, description="training" if done >= total else f"{split} {done / total:4.0%}")

    def evaluated(self, iteration: int, loss: float, score: float) -> None:
        """An evaluation is done: mean training loss and mean validation score over the variants still training."""
        shown = "-" if score != score else f"{score:.2%}"
        if self._progress is not None:
            self._progress.update(self._task, loss=f"{loss:.4f}", accuracy=shown)
        elif not self.quiet:
            speed = self._speed(iteration)
            self._line(f"iteration {iteration}/{self.iterations}  training loss {loss:.4f}  validation {self.score} {shown}  {speed}")

    def note(self, text: str) -> None:
        """Say something that is no warning."""
        if not self.quiet:
            self._line(text)

    def warn(self, text: str) -> None:
        """Say something that the user must know, quiet or not."""
        self._line(f"warning: {text}")

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _speed(self, iteration: int) -> str:
        elapsed = max(time.monotonic() - self._started, 1e-9)
        return f"{(iteration - self._first) * self.images_per_step / elapsed:,.0f} images/s"
