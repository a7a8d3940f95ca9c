"""How far a run is, in units of training steps."""

from __future__ import annotations

import time

from elegans_pyg._progress import Progress

FORWARD = 1 / 3
"""Cost of a forward pass, in training steps of as many samples."""


class Meter:
    """Moves a display on by ``iterations`` in all, as a run takes its steps, evaluations and test.

    Args:
        progress: The display; it may be one over many runs.
        iterations: Of the run.
        batch_size: Samples a step.
        variants: Trained side by side.
        evaluated: Samples of all evaluations and the test together.
        done: Iterations finished before, their evaluations included.
        score: Name of the score to show.
        base: What the display had before this run.
    """

    def __init__(
        self, progress: Progress, iterations: int, batch_size: int, variants: int, evaluated: int, done: int, score: str, base: float
    ) -> None:
        self.progress, self.iterations, self.batch_size, self.variants = progress, iterations, batch_size, variants
        self._total = iterations + FORWARD * evaluated / batch_size
        self._done = done / iterations * self._total
        self._base, self._score = base, score.replace("_", " ")
        self._first, self._started, self._next_loss = done, time.monotonic(), 0.0
        self._iteration, self._loss, self._headline = done, "", ""

    def step(self, iteration: int) -> None:
        self._iteration = iteration
        self._advance(1.0, "training")

    def evaluating(self, split: str, samples: int) -> None:
        """So many more samples went through the model."""
        self._advance(FORWARD * samples / self.batch_size, split)

    def wants_loss(self) -> bool:
        """Whether to show a loss now: once a second at most, since reading one makes the CPU wait for the GPU."""
        if not self.progress.on_terminal or time.monotonic() < self._next_loss:
            return False
        self._next_loss = time.monotonic() + 1.0
        return True

    def loss(self, value: float) -> None:
        """Mean loss over the variants still training."""
        self._loss = f"  loss {value:.4f}"

    def evaluated(self, loss: float, score: float) -> None:
        """Mean training loss and mean validation score over the variants still training."""
        self.loss(loss)
        self._headline = "" if score != score else f"  validation {self._score} {score:.4g}"

    def finish(self) -> None:
        self._done = self._total
        self._advance(0.0, "training")

    def _advance(self, units: float, label: str) -> None:
        self._done += units
        speed = (self._iteration - self._first) * self.batch_size * self.variants / max(time.monotonic() - self._started, 1e-9)
        note = f"iteration {self._iteration}/{self.iterations}{self._loss}{self._headline}  {speed:,.0f} samples/s"
        self.progress.update(self._base + int(self.iterations * min(self._done / self._total, 1.0) + 1e-9), note, label)
