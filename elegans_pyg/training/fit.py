"""Train an ensemble of variants from the first step to the test set."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from elegans_pyg._extras import require
from elegans_pyg.training.augment import Augmentation
from elegans_pyg.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from elegans_pyg.training.config import FitConfig
from elegans_pyg.training.data_order import DataOrder, stratified_split
from elegans_pyg.training.device import resolve_device
from elegans_pyg.training.evaluation import Evaluation, evaluate
from elegans_pyg.training.identity import check_same_run, describe_run, variant_table
from elegans_pyg.training.interrupt import InterruptGuard
from elegans_pyg.training.metrics import MetricsLog
from elegans_pyg.training.objective import Classification, Objective, VariantModel
from elegans_pyg.training.progress import Reporter
from elegans_pyg.training.trainer import Trainer

if TYPE_CHECKING:
    from elegans_pyg.datasets.images import ImageData


Values = Sequence[float] | np.ndarray


class TrainingError(RuntimeError):
    """No variant is left to train."""


@dataclass(frozen=True)
class FitResult:
    """What a run ends in.

    Args:
        results: One row a variant: ``variant``, ``family``, ``wiring_seed``, ``seed``, and the objective's scores on the test images,
            such as ``accuracy`` (0 to 1; NaN for a stopped variant, and for all if the run was interrupted).
        validation_accuracy: ``(V,)`` the objective's first score at the last evaluation; NaN where there is none.
        metrics: The rows of ``metrics.csv``.
        test_predictions: ``(V, n_test)`` int64 predicted classes, -1 for a stopped variant; ``None`` if the run was interrupted, or has
            no classes to predict.
        tested_at: ``(V,)`` iteration of the weights that the model ends with, which are those tested.
        stopped: Why a variant was stopped, by variant.
        interrupted: Whether Ctrl-C ended the run before its end.
        iterations: Iterations done.
        seconds: Wall-clock time of the whole run, earlier parts of a resumed one included.
        images_per_second: Images trained on, times variants, per second of this call's training steps.
    """

    results: pd.DataFrame
    validation_accuracy: np.ndarray
    metrics: pd.DataFrame
    test_predictions: Tensor | None
    tested_at: np.ndarray
    stopped: dict[int, str]
    interrupted: bool
    iterations: int
    seconds: float
    images_per_second: float


def fit(
    model: VariantModel,
    images: ImageData,
    config: FitConfig | None = None,
    *,
    objective: Objective | None = None,
    variants: pd.DataFrame | None = None,
    out: Path | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> FitResult:
    """Train all variants of ``model`` on ``images`` side by side, as so many independent experiments.

    Every variant ends with the parameters it would have if trained alone, to floating-point tolerance. The validation images come out of
    the training images; the test images are looked at once, at the end, and never to choose anything: with the final weights, or, with
    ``select="best"``, with each variant's weights of its best validation score.

    With ``out``, the folder gets ``metrics.csv`` and ``checkpoint/``. A resumed run goes on bit for bit on the CPU, given a model that
    draws no random numbers of its own (dropout would). Ctrl-C ends the step in hand, saves a checkpoint and returns; pressed twice, it
    raises ``KeyboardInterrupt`` at once. Extending ``iterations`` of a finished run replaces its test rows: settle the length beforehand.

    Args:
        model: ``V`` variants (:class:`~elegans_pyg.models.ConnectomeClassifier`, or a module with its ``num_variants``, ``variant_ptr()``
            and what the objective asks for: logits ``(V, B, K)`` by default). Trained in place; left on the training device, in evaluation
            mode, with the weights that were tested (after an interruption those of the last step).
        images: Training and test images, uint8.
        config: The settings; by default those of Park & Kim (2023).
        objective: What is trained for: :class:`~elegans_pyg.training.Classification` (the default) or
            :class:`~elegans_pyg.training.Autoencoding`.
        variants: One row a variant, in order: ``variant``, ``family``, ``wiring_seed``, ``seed``. By default family ``"unnamed"``, wiring
            seed 0, and the variant's number as seed.
        out: Run folder, made if need be. ``None`` writes nothing.
        resume: Go on from the checkpoint in ``out``, with the same model, images and settings (``iterations`` may grow; ``device``,
            ``checkpoint_every`` and ``tensorboard`` may change).
        quiet: Show warnings only.

    Raises:
        ValueError: if arguments do not fit together, or differ from the checkpoint's.
        FileExistsError: if ``out`` holds a run already and ``resume`` is not given.
        FileNotFoundError: if there is no checkpoint to resume from.
        OSError: if a checkpoint or the metrics cannot be written; the checkpoint from before is kept.
        TrainingError: if the loss of every variant has become non-finite.
    """
    started = time.perf_counter()
    config, objective = config or FitConfig(), objective or Classification()
    device = resolve_device(config.device)
    table = variant_table(variants, model.num_variants)
    if out is None and (resume or config.tensorboard):
        raise ValueError(f"out: expected a run folder for {'resume' if resume else 'tensorboard'}, got None; give one")
    # Asked for before anything is written: a missing extra leaves no half-made run folder behind.
    tensorboard = require("torch.utils.tensorboard", "tensorboard", "writing TensorBoard files") if config.tensorboard else None

    model.to(device=device, dtype=torch.float64 if config.precision == "float64" else torch.float32)
    model.train()
    chosen, held_out = stratified_split(images.train_labels, config.validation_fraction, config.data_seed)
    own_seeds = table["seed"].tolist() if config.data_order == "variant" else None
    order = DataOrder(len(chosen), config.batch_size, config.data_seed, device, own_seeds)
    augmentation = None if config.augment == "none" else Augmentation(config.data_seed, own_seeds)
    training = (images.train_images[chosen].to(device), images.train_labels[chosen].to(device))
    trainer = Trainer(model, *training, config, order, objective, augmentation)
    validation = (images.train_images[held_out].to(device), images.train_labels[held_out].to(device)) if len(held_out) else None
    test = (images.test_images.to(device), images.test_labels.to(device))

    run = describe_run(model, images, config, table, objective)
    log, seconds_before = MetricsLog(score_names=objective.score_names), 0.0
    if out is not None:
        out = Path(out)
        if resume:
            checkpoint = load_checkpoint(out / "checkpoint")
            check_same_run(checkpoint.state, run)
            log = MetricsLog.resume(out / "metrics.csv", checkpoint.state["last_evaluation"], objective.score_names)
            trainer.load(checkpoint.state, checkpoint.model, checkpoint.optimizer, checkpoint.best)
            seconds_before = checkpoint.state["seconds"]
        else:
            if (out / "checkpoint").exists() or (out / "checkpoint.old").exists():
                raise FileExistsError(f"out: {out} holds a run already; resume it or give another folder")
            out.mkdir(parents=True, exist_ok=True)
            log = MetricsLog(out / "metrics.csv", objective.score_names)
    writer = None
    if tensorboard is not None and out is not None:
        writer = tensorboard.SummaryWriter(log_dir=str(out / "tensorboard"), purge_step=trainer.iteration + 1)
    with _Recorder(table, log, writer) as recorder:
        loop = _Loop(trainer, recorder, validation, test, out, run, seconds_before - started)
        final, steps_per_second = loop.run(quiet, resumed=resume)
    model.eval()

    scores = {name: np.full(model.num_variants, np.nan) for name in objective.score_names}
    predictions = None
    if final is not None:
        names = list(recorder.stopped)
        scores = {name: values.copy() for name, values in final.scores.items()}
        predictions = None if final.predictions is None else final.predictions.clone()
        for values in scores.values():
            values[names] = np.nan
        if predictions is not None:
            predictions[names] = -1
    metrics = log.frame()
    latest = metrics[(metrics["split"] == "validation") & (metrics["iteration"] == trainer.last_evaluation)]
    headline = latest[objective.score_names[0]].to_numpy(np.float64) if len(latest) else np.full(model.num_variants, np.nan)
    tested_at = np.full(len(table), trainer.iteration)
    if final is not None and trainer.best is not None:
        tested_at = trainer.best.iteration
    return FitResult(
        results=table.assign(**scores),
        validation_accuracy=headline,
        metrics=metrics,
        test_predictions=predictions,
        tested_at=tested_at,
        stopped={variant: f"non-finite loss at iteration {iteration}" for variant, iteration in recorder.stopped.items()},
        interrupted=final is None,
        iterations=trainer.iteration,
        seconds=seconds_before + time.perf_counter() - started,
        images_per_second=steps_per_second * config.batch_size * model.num_variants,
    )


class _Recorder:
    """Writes every variant's metrics to the log and to TensorBoard, as NaN once the variant is stopped."""

    def __init__(self, table: pd.DataFrame, log: MetricsLog, writer: Any = None) -> None:
        self.table, self.log, self._writer = table, log, writer
        self.stopped: dict[int, int] = {}

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()

    def record(self, iteration: int, split: str, loss: Values, scores: Sequence[Values]) -> None:
        rows = []
        for number, (variant, family, wiring_seed, seed) in enumerate(self.table.itertuples(index=False, name=None)):
            values = [math.nan if variant in self.stopped else float(column[number]) for column in (loss, *scores)]
            rows.append(self.log.row(iteration, variant, family, wiring_seed, seed, split, *values))
        self.log.append(rows)
        if self._writer is not None:
            for row in rows:
                for name in ("loss", *self.log.score_names):
                    self._writer.add_scalar(f"{split}_{name}/{row.variant}-{row.family}", getattr(row, name), iteration)

    def mean(self, values: Values) -> float:
        return float(np.mean([value for variant, value in enumerate(values) if variant not in self.stopped]))


class _Loop:
    """Steps, evaluations and checkpoints in their order, until the last iteration or Ctrl-C."""

    def __init__(
        self,
        trainer: Trainer,
        recorder: _Recorder,
        validation: tuple[Tensor, Tensor] | None,
        test: tuple[Tensor, Tensor],
        out: Path | None,
        run: dict[str, Any],
        clock_offset: float,
    ) -> None:
        self.trainer, self.recorder, self.config = trainer, recorder, trainer.config
        self.validation, self.test = validation, test
        self.out, self.description, self.clock_offset = out, run, clock_offset

    def run(self, quiet: bool, resumed: bool) -> tuple[Evaluation | None, float]:
        """Train to the end; gives the evaluation on the test images (``None`` if interrupted before its end) and the steps per second."""
        config, trainer = self.config, self.trainer
        first = trainer.iteration
        last_checkpoint = first if resumed else -1
        asynchronous = trainer.images.device.type != "cpu"
        message = "" if quiet else "Ctrl-C: ending after this step; press it again to stop at once"
        score = trainer.objective.score_names[0]
        reporter = Reporter(config.iterations, first, config.batch_size * trainer.model.num_variants, quiet, score)
        with InterruptGuard(message) as guard, reporter:
            step_seconds, mark = 0.0, time.perf_counter()
            while True:
                iteration = trainer.iteration
                ended = iteration >= config.iterations
                evaluation_due = iteration > trainer.last_evaluation and (ended or iteration % config.eval_every == 0)
                checkpoint_due = iteration > last_checkpoint and (ended or iteration % config.checkpoint_every == 0)
                pause = evaluation_due or checkpoint_due or guard.requested
                if pause or not asynchronous:
                    # Reading a GPU's memory waits for the steps in flight, which is why it is left to the pauses there.
                    self._report_stopped(reporter)
                if pause:
                    step_seconds += time.perf_counter() - mark
                if evaluation_due:
                    self._validate(guard, reporter)
                # Looked at once: a request that comes after this line is for the next time round.
                leaving = guard.requested
                if self.out is not None and (checkpoint_due or (leaving and iteration > last_checkpoint)):
                    self._save(self.out / "checkpoint")
                    last_checkpoint = iteration
                if ended or leaving:
                    break
                if pause:
                    mark = time.perf_counter()
                trainer.step()
                reporter.step(trainer.iteration)
                if reporter.wants_loss():
                    reporter.loss(trainer.last_loss())
            final = None if leaving else self._test(guard, reporter)
            if final is not None:
                self.recorder.record(trainer.iteration, "test", final.loss, list(final.scores.values()))
            else:
                kept = "" if self.out is None else f"; resume goes on from {self.out / 'checkpoint'}"
                reporter.note(f"interrupted after iteration {trainer.iteration}{kept}")
        return final, (trainer.iteration - first) / step_seconds if step_seconds else 0.0

    def _evaluate(self, split: str, data: tuple[Tensor, Tensor], guard: InterruptGuard, reporter: Reporter) -> Evaluation | None:
        return evaluate(
            self.trainer.model,
            *data,
            self.config.eval_batch_size or self.config.batch_size,
            self.config.precision,
            objective=self.trainer.objective,
            stop=lambda: guard.requested,
            progress=lambda done, total: reporter.evaluating(split, done, total),
        )

    def _test(self, guard: InterruptGuard, reporter: Reporter) -> Evaluation | None:
        model, best = self.trainer.model, self.trainer.best
        if best is None:
            return self._evaluate("test", self.test, guard, reporter)
        last = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(best.weights)
        final = None
        try:
            final = self._evaluate("test", self.test, guard, reporter)
        finally:
            if final is None:
                model.load_state_dict(last)
        return final

    def _validate(self, guard: InterruptGuard, reporter: Reporter) -> None:
        trainer, recorder = self.trainer, self.recorder
        evaluation = None
        if self.validation is not None:
            evaluation = self._evaluate("validation", self.validation, guard, reporter)
            if evaluation is None:
                # Given up for Ctrl-C: nothing is recorded, and the resumed run begins with this evaluation.
                return
        loss, scores = trainer.running_metrics()
        recorder.record(trainer.iteration, "train", loss, scores)
        headline = math.nan
        if evaluation is not None:
            values = list(evaluation.scores.values())
            recorder.record(trainer.iteration, "validation", evaluation.loss, values)
            headline = recorder.mean(values[0])
            if trainer.best is not None:
                trainer.best.offer(np.where(trainer.stopped_at.cpu().numpy() < 0, values[0], np.nan), trainer.iteration)
        reporter.evaluated(trainer.iteration, recorder.mean(loss), headline)
        trainer.last_evaluation = trainer.iteration
        trainer.reset_running()

    def _save(self, folder: Path) -> None:
        state = {**self.trainer.state_dict(), "seconds": time.perf_counter() + self.clock_offset, "run": self.description}
        best = {} if self.trainer.best is None else self.trainer.best.weights
        save_checkpoint(folder, Checkpoint(state, self.trainer.model.state_dict(), self.trainer.optimizer_tensors(), best))

    def _report_stopped(self, reporter: Reporter) -> None:
        stopped, table = self.recorder.stopped, self.recorder.table
        for variant, iteration in enumerate(self.trainer.stopped_at.tolist()):
            if iteration >= 0 and variant not in stopped:
                stopped[variant] = iteration
                reporter.warn(f"variant {variant} ({table['family'][variant]}) stopped: non-finite loss at iteration {iteration}")
        if len(stopped) == len(table):
            last = max(stopped.values())
            raise TrainingError(
                f"training: all {len(table)} variants stopped on a non-finite loss, the last at iteration {last}; lower learning_rate"
            )
