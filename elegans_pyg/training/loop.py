"""Train an ensemble of variants from the first step to the test set."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import Tensor
from torch.utils.data import Dataset

from elegans_pyg._extras import require
from elegans_pyg._files import remove_parts
from elegans_pyg._progress import Progress
from elegans_pyg.training.checkpoint import Checkpoint, clear_leftovers, has_checkpoint, load_checkpoint, save_checkpoint
from elegans_pyg.training.data import FitData, Pair, as_fit_data
from elegans_pyg.training.data_order import PART, stratified_split, validation_split
from elegans_pyg.training.identity import check_same_run, describe_run, variant_table
from elegans_pyg.training.interrupt import InterruptGuard
from elegans_pyg.training.metrics import Meter, MetricsLog
from elegans_pyg.training.objective import Classification, Evaluation, Objective, VariantModel, evaluate, float_dtype
from elegans_pyg.training.settings import FitSettings, resolve_device
from elegans_pyg.training.trainer import Trainer

if TYPE_CHECKING:
    from elegans_pyg.datasets.images import ImageData


class TrainingError(RuntimeError):
    """No variant is left to train."""


@dataclass(frozen=True)
class FitResult:
    """Result of a training run.

    Attributes:
        results: one row per variant: ``variant``, ``family``, ``wiring_seed``, ``seed``, and the objective's scores on the test images,
            such as ``accuracy`` (0 to 1; NaN for a stopped variant, and for all if the run was interrupted).
        validation_accuracy: ``(V,)`` the objective's first score at the last evaluation; NaN if there is none.
        metrics, iterations: the rows of ``metrics.csv``, and the number of iterations done.
        test_predictions: ``(V, n_test)`` int64 predicted classes, -1 for a stopped variant; ``None`` if interrupted, or without classes.
        tested_at: ``(V,)`` iteration of the tested weights, with which the model ends.
        stopped: reason for which a variant was stopped, by variant.
        interrupted, signal: whether Ctrl-C or another signal ended the run early, and the number of the signal that arrived, which may have
            been too late to end it.
        seconds: wall-clock time of the whole run, including earlier parts of a resumed one.
        images_per_second: images times variants per second of this call's training steps.
    """

    results: pd.DataFrame
    validation_accuracy: np.ndarray
    metrics: pd.DataFrame
    test_predictions: Tensor | None
    tested_at: np.ndarray
    stopped: dict[int, str]
    interrupted: bool
    signal: int | None
    iterations: int
    seconds: float
    images_per_second: float


def fit(
    model: VariantModel,
    data: ImageData | FitData | tuple[Dataset[Any], Dataset[Any]],
    settings: FitSettings | None = None,
    *,
    objective: Objective | None = None,
    variants: pd.DataFrame | None = None,
    out: Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    progress: Progress | None = None,
    allow_all_stopped: bool = False,
) -> FitResult:
    """Train all variants of ``model`` on ``data`` side by side, as independent experiments.

    Every variant ends with the parameters that it would have if trained alone, to floating-point tolerance. Validation images are held out
    of the training images. Test images are used once, at the end, and never to choose anything: with the final weights or, with
    ``select="best"``, with each variant's weights of its best validation score.

    The folder ``out`` holds ``checkpoint/`` and ``metrics.csv``, which is written from the checkpoint. On the CPU a resumed run continues
    bit for bit, if the model draws no random numbers (dropout does). Ctrl-C, SIGTERM and SIGHUP finish the current step, save a
    checkpoint and return; a second one raises ``KeyboardInterrupt`` at once. Extending ``iterations`` of a finished run replaces its last
    evaluation and its test rows, so choose the length beforehand.

    Args:
        model: ``V`` variants: a :class:`~elegans_pyg.models.ConnectomeClassifier`, or a module with ``num_variants``, ``variant_ptr()`` and
            the outputs that the objective needs, by default logits ``(V, B, K)``. Trained in place; left on the training device, in
            evaluation mode, with the tested weights (after an interruption, those of the last step).
        data: training and test images: :class:`~elegans_pyg.datasets.ImageData`, a pair of PyTorch data sets of (image, label) with images
            in uint8 or floating point (not rescaled), or :class:`~elegans_pyg.training.data.FitData`.
        settings: training settings, by default those of Park & Kim (2023).
        objective: loss and scores: ``Classification`` (the default), ``Autoencoding`` or ``SequenceRegression``.
        variants: one row per variant, in order: ``variant``, ``family``, ``wiring_seed``, ``seed``. By default family ``"unnamed"``, wiring
            seed 0, and the variant's number as seed.
        out: run folder, created if missing. ``None`` writes nothing.
        resume: continue from the checkpoint in ``out``, with the same model, data and settings (``iterations`` may grow; ``device``,
            ``checkpoint_every`` and ``tensorboard`` may change). A run killed before its first checkpoint starts again; the results of a
            finished one are read.
        quiet: show only warnings.
        progress: an open progress display, such as one over many runs, which is advanced by ``iterations`` in total.
        allow_all_stopped: return a result also if every variant was stopped, as for one of several, instead of raising an error.

    Raises:
        ValueError: if arguments do not fit together, or differ from those of the checkpoint.
        FileExistsError: if ``out`` already holds a run and ``resume`` is not set.
        FileNotFoundError: if there is no run to resume.
        OSError: if a checkpoint or the metrics cannot be written; the previous checkpoint is kept.
        TrainingError: if the loss of every variant has become non-finite, unless ``allow_all_stopped``.
    """
    clock, settings, objective = time.perf_counter(), settings or FitSettings(), objective or Classification()
    table, data = variant_table(variants, model.num_variants), as_fit_data(data)
    objective.check(data, settings.precision)
    if out is None and (resume or settings.tensorboard):
        raise ValueError(f"out: expected a run folder for {'resume' if resume else 'tensorboard'}, got None; give one")
    # Imported before anything is written, so that a missing extra leaves no incomplete run folder.
    tensorboard = require("torch.utils.tensorboard", "tensorboard", "writing TensorBoard files") if settings.tensorboard else None
    run = _Run(model, data, settings, objective, table, clock)
    if out is not None:
        run.open(Path(out), resume)
    quiet = quiet or (progress is not None and progress.quiet)
    with ExitStack() as stack:
        if tensorboard is not None and out is not None:
            run.writer = tensorboard.SummaryWriter(log_dir=str(Path(out, "tensorboard")), purge_step=run.trainer.iteration + 1)
            stack.callback(run.writer.close)
        guard = stack.enter_context(InterruptGuard("" if quiet else "stopping after this step; press Ctrl-C again to stop at once"))
        base = 0 if progress is None else progress.done
        progress = progress or stack.enter_context(Progress("training", settings.iterations, run.trainer.iteration, quiet))
        run.train(guard, progress, base)
    model.eval()
    if run.all_stopped and not allow_all_stopped:
        seen = f"all {len(table)} variants stopped on a non-finite loss, the last at iteration {max(run.stopped.values())}"
        raise TrainingError(f"training: {seen}; lower learning_rate")
    return run.result(guard.signal)


class _Run:
    """Runs steps, evaluations and checkpoints until the last iteration or a signal."""

    def __init__(
        self, model: VariantModel, data: FitData, settings: FitSettings, objective: Objective, table: pd.DataFrame, clock: float
    ) -> None:
        self.settings, self.objective, self.table, self.clock = settings, objective, table, clock
        # For every evaluation, where pandas would take longer than a step of a small model.
        self.named = list(table.itertuples(index=False, name=None))
        self.description = describe_run(model, data, settings, table, objective)
        device, dtype = resolve_device(settings.device), float_dtype(settings.precision)
        model.to(device=device, dtype=dtype)
        model.train()

        def place(pair: Pair, rows: Tensor | slice = slice(None)) -> Pair:
            inputs, targets = (part[rows].to(device=device, dtype=dtype if part.is_floating_point() else None) for part in pair)
            return inputs, targets

        if data.validation is None:
            chosen, held_out = validation_split(data.train[1], settings)
            train, self.validation = place(data.train, chosen), place(data.train, held_out)
        else:
            train, self.validation = place(data.train), place(data.validation)
        self.part, self.test = _part(self.validation, settings), place(data.test)
        self.trainer = Trainer(model, train, settings, objective, table["seed"].tolist())
        self.log, self.stopped = MetricsLog(objective.score_names), dict[int, int]()
        self.out: Path | None = None
        self.writer: Any = None
        # Set once the run is finished.
        self.tested_at: np.ndarray | None = None
        self.predictions: Tensor | None = None
        self.saved_at, self.first, self.step_seconds = -1, 0, 0.0

    def open(self, out: Path, resume: bool) -> None:
        """Create the run folder, or continue from its checkpoint."""
        self.out, folder, metrics = out, out / "checkpoint", out / "metrics.csv"
        if has_checkpoint(out) and not resume:
            raise FileExistsError(f"out: {out} holds a run already; resume it or give another folder")
        # A run with metrics but no checkpoint was killed before its first checkpoint.
        if resume and (has_checkpoint(out) or not metrics.exists()):
            self._restore(load_checkpoint(folder))
        out.mkdir(parents=True, exist_ok=True)
        clear_leftovers(folder)
        remove_parts(out)
        self.log.write(metrics)

    def _restore(self, saved: Checkpoint) -> None:
        state, trainer = saved.state, self.trainer
        check_same_run(state, self.description)
        self.log = MetricsLog(self.objective.score_names, saved.metrics)
        trainer.load(saved)
        self.saved_at = self.first = trainer.iteration
        self.clock -= state["seconds"]
        if "final" in state and trainer.iteration == self.settings.iterations:
            self.log.rows += MetricsLog(self.objective.score_names, state["final"]["metrics"].encode()).rows
            self.tested_at, trainer.last_evaluation = np.array(state["final"]["tested_at"]), trainer.iteration
            self.predictions = saved.final.pop("predictions", None)
            if saved.final:
                trainer.model.load_state_dict(saved.final)

    def train(self, guard: InterruptGuard, progress: Progress, base: float) -> None:
        """Train to the end, and test."""
        settings, trainer = self.settings, self.trainer
        evaluations = (settings.iterations - 1) // settings.eval_every
        evaluated = evaluations * len(self.part[0]) + len(self.validation[0]) + len(self.test[0])
        self.guard, self.progress = guard, progress
        self.meter = Meter(progress, settings, len(self.table), evaluated, self.first, self.objective.score_names[0], base)
        if self.tested_at is None:
            self._steps()
            if not guard.requested:
                self._end()
        else:
            self._report_stopped()
            progress.message(f"already finished at iteration {trainer.iteration}; nothing left to train")
        if self.tested_at is not None:
            self.meter.finish()
        else:
            kept = "" if self.out is None else f"; resume from {self.out / 'checkpoint'}"
            progress.message(f"interrupted after iteration {trainer.iteration}{kept}")
        self._write_metrics(now=True)

    def _steps(self) -> None:
        settings, trainer, guard = self.settings, self.trainer, self.guard
        asynchronous = trainer.images.device.type != "cpu"
        mark = time.perf_counter()
        while True:
            iteration = trainer.iteration
            ended = iteration >= settings.iterations
            # The last evaluation comes with the test, after the checkpoint, so that a longer run continues as if it had not ended here.
            evaluation_due = iteration > trainer.last_evaluation and iteration % settings.eval_every == 0 and not ended
            checkpoint_due = iteration > self.saved_at and (ended or iteration % settings.checkpoint_every == 0)
            beside = evaluation_due and self.objective.beside and len(self.part[0]) > 0
            pause = ended or evaluation_due or checkpoint_due or guard.requested
            if pause or not asynchronous:
                # Reading GPU memory waits for the running steps, so on a GPU it is done only at pauses.
                self._report_stopped()
            if self.all_stopped and not ended:
                # The remaining steps would change nothing.
                self.first += settings.iterations - iteration
                trainer.iteration = settings.iterations
                continue
            if pause:
                self.step_seconds += time.perf_counter() - mark
            if evaluation_due and not beside:
                self._validate(self.part)
            # Read once: a request that arrives after this line is handled in the next round.
            leaving = guard.requested
            if self.out is not None and (checkpoint_due or (leaving and iteration > self.saved_at)):
                save_checkpoint(self.out / "checkpoint", self._checkpoint())
                self.saved_at = iteration
            if ended or leaving:
                return
            if pause:
                mark = time.perf_counter()
            if beside:
                trainer.step(self.part, lambda result: self._record_evaluation(Evaluation.from_batches(self.objective, [result])))
                self.meter.evaluating("training", len(self.part[0]))
            else:
                trainer.step()
            self.meter.step(trainer.iteration, trainer.last_loss)

    def _end(self) -> None:
        """Evaluate on all validation samples, test, and save the results with the state before them."""
        trainer, best = self.trainer, self.trainer.best
        before, count = self._checkpoint(), len(self.log.rows)
        model, kept = ({name: tensor.clone() for name, tensor in part.items()} for part in (before.model, before.best))
        before = replace(before, model=model, best=kept)
        if not self._validate(self.validation):
            return
        if best is not None:
            trainer.model.load_state_dict(best.weights)
        tested = self._evaluate("test", self.test)
        if tested is None:
            trainer.model.load_state_dict(before.model)
            return
        self._record("test", tested.loss, *tested.scores.values())
        self.predictions = tested.predictions
        self.tested_at = np.full(len(self.table), trainer.iteration) if best is None else best.iteration
        if self.out is not None:
            final = {"metrics": self.log.to_csv(count).decode(), "tested_at": self.tested_at.tolist()}
            tensors = {} if best is None else dict(best.weights)
            if tested.predictions is not None:
                tensors["predictions"] = tested.predictions
            state = {**before.state, "seconds": time.perf_counter() - self.clock, "final": final}
            save_checkpoint(self.out / "checkpoint", replace(before, state=state, final=tensors))

    def _evaluate(self, split: str, data: Pair) -> Evaluation | None:
        size, precision, model = self.settings.eval_batch_size or self.settings.batch_size, self.settings.precision, self.trainer.model

        def show(done: int, total: int) -> None:
            self.meter.evaluating(split, (done - 1) % size + 1)

        return evaluate(model, *data, size, precision, objective=self.objective, stop=lambda: self.guard.requested, progress=show)

    def _validate(self, data: Pair) -> bool:
        """Evaluate and record; returns False if a signal ended it, in which case nothing is recorded and a resumed run begins with it."""
        evaluation = self._evaluate("validation", data) if len(data[0]) else None
        if evaluation is None and len(data[0]):
            return False
        self._record_evaluation(evaluation)
        return True

    def _record_evaluation(self, evaluation: Evaluation | None) -> None:
        trainer, headline = self.trainer, math.nan
        training = [variant for variant in range(len(self.table)) if variant not in self.stopped]
        loss = _mean(self._record("train", *trainer.running_metrics())[training, 0])
        if evaluation is not None:
            score = self._record("validation", evaluation.loss, *evaluation.scores.values())[:, 1]
            headline = _mean(score[training])
            if trainer.best is not None:
                trainer.best.offer(score, trainer.iteration)
        self.meter.evaluated(loss, headline)
        trainer.last_evaluation = trainer.iteration
        trainer.reset_running()
        self._write_metrics(now=False)

    def _record(self, split: str, *columns: np.ndarray) -> np.ndarray:
        """Add loss and scores, ``(V,)`` each, to the log and TensorBoard, with NaN for stopped variants. Returns ``(V, columns)``."""
        iteration, values = self.trainer.iteration, np.column_stack(columns)
        values[list(self.stopped)] = np.nan
        for named, own in zip(self.named, values.tolist(), strict=True):
            self.log.rows.append((iteration, *named, split, *own))
            for name, value in zip(("loss", *self.objective.score_names), own, strict=True) if self.writer is not None else ():
                self.writer.add_scalar(f"{split}_{name}/{named[0]}-{named[1]}", value, iteration)
        return values

    def _write_metrics(self, now: bool) -> None:
        if self.out is not None:
            self.log.write(self.out / "metrics.csv", now)

    def _checkpoint(self) -> Checkpoint:
        return self.trainer.checkpoint(self.log.to_csv(), seconds=time.perf_counter() - self.clock, run=self.description)

    @property
    def all_stopped(self) -> bool:
        return len(self.stopped) == len(self.table)

    def _report_stopped(self) -> None:
        stopped, families = self.stopped, self.table["family"]
        for variant, iteration in enumerate(self.trainer.stopped_at.tolist()):
            if iteration >= 0 and variant not in stopped:
                stopped[variant] = iteration
                self.progress.warn(f"variant {variant} ({families[variant]}) stopped: non-finite loss at iteration {iteration}")

    def result(self, signal: int | None) -> FitResult:
        trainer, metrics, names = self.trainer, self.log.frame(), list(self.objective.score_names)

        def scores(split: str, iteration: int) -> pd.DataFrame:
            rows = metrics[(metrics["split"] == split) & (metrics["iteration"] == iteration)]
            return rows.set_index("variant")[names].reindex(self.table["variant"]).astype(np.float64)

        if self.predictions is not None:
            self.predictions[list(self.stopped)] = -1
        steps_per_second = (trainer.iteration - self.first) / self.step_seconds if self.step_seconds else 0.0
        return FitResult(
            results=self.table.join(scores("test", trainer.iteration)),
            validation_accuracy=scores("validation", trainer.last_evaluation)[names[0]].to_numpy(),
            metrics=metrics,
            test_predictions=self.predictions,
            tested_at=np.full(len(self.table), trainer.iteration) if self.tested_at is None else self.tested_at,
            stopped={variant: f"non-finite loss at iteration {iteration}" for variant, iteration in self.stopped.items()},
            interrupted=self.tested_at is None,
            signal=signal,
            iterations=trainer.iteration,
            seconds=time.perf_counter() - self.clock,
            images_per_second=steps_per_second * self.settings.batch_size * len(self.table),
        )


def _mean(values: np.ndarray) -> float:
    """Return the mean over the variants still training; NaN if there are none."""
    return values.mean() if len(values) else math.nan


def _part(validation: Pair, settings: FitSettings) -> Pair:
    """Return the fixed part of the validation samples used before the last evaluation; a forward pass costs a third of a step."""
    count = settings.eval_images or max(settings.batch_size, int(0.3 * settings.eval_every * settings.batch_size))
    if count >= len(validation[0]):
        return validation
    _, chosen = stratified_split(validation[1], count / len(validation[0]), settings.data_seed, PART)
    return validation[0][chosen], validation[1][chosen]
