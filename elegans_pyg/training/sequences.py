"""Fitting reduced-order models: all replicas in one computation, each as if alone."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from elegans_pyg.models.reduced_order import ReducedOrder
from elegans_pyg.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from elegans_pyg.training.interrupt import InterruptGuard

LEARNING_RATES = {"rnn": 0.001, "lstm": 0.05, "gru": 0.05}
"""The published ones."""


@dataclass(frozen=True)
class SequenceFitConfig:
    """Settings of :func:`fit_sequences`; the defaults are those of Barbulescu et al. (2023), and Keras's where the paper names none.

    Args:
        epochs: passes over the training sequences.
        batch_size: sequences a step; a larger training set is shuffled anew each epoch.
        learning_rate: of Adam; ``None`` for 0.001 with an RNN and 0.05 with an LSTM or GRU.
        clip_norm: largest Euclidean norm of a replica's gradient; ``None`` for no limit.
        data_seed: of the order of sequences, which all replicas share.
        checkpoint_every: epochs between two checkpoints.
    """

    epochs: int = 1000
    batch_size: int = 32
    learning_rate: float | None = None
    clip_norm: float | None = None
    data_seed: int = 0
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "checkpoint_every"):
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), int):
                raise TypeError(f"{name}: expected a whole number, got {getattr(self, name)!r}; give one of at least 1")
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}; give a positive number")
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name}: expected a number above 0, got {value}; give one, or None")


@dataclass(frozen=True)
class SequenceFit:
    """What :func:`fit_sequences` found.

    Attributes:
        history: one row an epoch and replica: ``epoch`` (from 1), ``replica``, ``seed``, ``train`` (mean RMSE of the epoch's batches, each
            before its update) and ``validation`` (RMSE after the epoch).
        best_epoch: of each replica, the one with the least validation RMSE, whose parameters the model now has; 0 for a replica that no
            epoch left with a finite one.
        seconds: of training, all sessions of a resumed run together.
        interrupted: whether Ctrl-C ended it before the last epoch.
    """

    history: pd.DataFrame
    best_epoch: list[int]
    seconds: float
    interrupted: bool


def replica_rmse(predicted: Tensor, target: Tensor) -> Tensor:
    """Root of the mean squared difference over sequences, steps and outputs: ``(R, S, T, O)`` and ``(S, T, O)`` to ``(R,)``."""
    # Where a fit is perfect, the root has no slope.
    tiny = torch.finfo(predicted.dtype).tiny
    return (predicted - target).square().mean((1, 2, 3)).clamp_min(tiny).sqrt()


def fit_sequences(
    model: ReducedOrder,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    config: SequenceFitConfig | None = None,
    checkpoint: Path | None = None,
    *,
    resume: bool = False,
    quiet: bool = False,
) -> SequenceFit:
    """Fit all replicas of ``model`` with Adam to the least RMSE, and leave each with the parameters of its best epoch by validation.

    Gradients run back through every step of a sequence, however long. A replica is treated as if it were alone: own loss, own clipping,
    own best epoch, an elementwise optimiser. The validation sequences go through the network beside the first batch of the next epoch.

    Args:
        model: changed in place.
        train: scaled inputs ``(S, T, I)`` and outputs ``(S, T, O)``.
        validation: the same, for choosing the epoch.
        config: settings; ``None`` for the published ones.
        checkpoint: folder to keep the state in; ``None`` keeps nothing.
        resume: go on from ``checkpoint``; without one there, start.
        quiet: show no progress.

    Raises:
        ValueError: if shapes do not fit, a number is not finite, or the checkpoint is of another fit.
        OSError: if the checkpoint cannot be read or written.
    """
    config = config or SequenceFitConfig()
    for name, (x, y) in (("train", train), ("validation", validation)):
        _check(name, x, y, model)
    if train[0].size(1) != validation[0].size(1):
        raise ValueError(f"validation: expected the {train[0].size(1)} steps of train, got {validation[0].size(1)}; cut both alike")
    return _Fit(model, train, validation, config, checkpoint, resume).run(quiet)


class _Fit:
    """One fit: its state, its steps, its checkpoint."""

    def __init__(
        self,
        model: ReducedOrder,
        train: tuple[Tensor, Tensor],
        validation: tuple[Tensor, Tensor],
        config: SequenceFitConfig,
        folder: Path | None,
        resume: bool,
    ) -> None:
        self.model, self.config, self.folder = model, config, folder
        (x, y), (seen, expected) = ([part.to(model.weight) for part in pair] for pair in (train, validation))
        self.train, self.validation = (x, _laid_out(y)), (seen, _laid_out(expected))
        rate = LEARNING_RATES[model.cell] if config.learning_rate is None else config.learning_rate
        # Keras's epsilon, where torch's is 1e-8.
        self.optimizer = torch.optim.Adam(model.parameters(), lr=rate, eps=1e-7)
        self.epoch, self.seconds = 0, 0.0
        shape = (config.epochs + 1, model.replicas)
        self.losses = {name: torch.full(shape, float("nan"), dtype=torch.float64) for name in ("train", "validation")}
        self.best = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        self.best_loss = torch.full((model.replicas,), float("inf"), dtype=torch.float64)
        self.best_epoch = torch.zeros(model.replicas, dtype=torch.int64)
        if resume and folder is not None and (folder.is_dir() or folder.with_name(folder.name + ".old").is_dir()):
            self._restore(load_checkpoint(folder))

    def run(self, quiet: bool) -> SequenceFit:
        message = "finishing the epoch; Ctrl-C again to stop at once" if not quiet else ""
        with InterruptGuard(message) as guard, _Bar(self.config.epochs, self.epoch, self.model, quiet) as bar:
            while self.epoch < self.config.epochs and not guard.requested:
                started = time.perf_counter()
                self._train_epoch()
                self.seconds += time.perf_counter() - started
                if self.epoch % self.config.checkpoint_every == 0:
                    self._save()
                bar.update(self.epoch, self.losses["train"][self.epoch], self.best_loss)
        self._save()
        started = time.perf_counter()
        interrupted = self.epoch < self.config.epochs
        if self.epoch:
            with torch.no_grad():
                inputs, targets = self.validation
                self._note_validation(replica_rmse(self.model(inputs), targets))
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self.best[name])
        self.seconds += time.perf_counter() - started
        return SequenceFit(self._history(), self.best_epoch.tolist(), self.seconds, interrupted)

    def _train_epoch(self) -> None:
        inputs, targets = self.train
        count, size = inputs.size(0), self.config.batch_size
        order = torch.arange(count)
        if count > size:
            order = torch.randperm(count, generator=torch.Generator().manual_seed(self.config.data_seed * 1_000_003 + self.epoch))
        total = torch.zeros(self.model.replicas, dtype=torch.float64)
        for number, chosen in enumerate(order.split(size)):
            x, y = (inputs, targets) if count <= size else (inputs[chosen], _laid_out(targets[chosen]))
            beside = number == 0 and self.epoch > 0
            out = self.model(torch.cat([x, self.validation[0]]) if beside else x, trained=len(x))
            if beside:
                self._note_validation(replica_rmse(out[:, len(x) :].detach(), self.validation[1]))
            loss = replica_rmse(out[:, : len(x)], y)
            self.optimizer.zero_grad()
            loss.sum().backward()
            if self.config.clip_norm is not None:
                self._clip(self.config.clip_norm)
            self.optimizer.step()
            total += loss.detach().double().cpu() * len(x)
        self.epoch += 1
        self.losses["train"][self.epoch] = total / count

    def _note_validation(self, loss: Tensor) -> None:
        """``loss`` is of the parameters after epoch ``self.epoch``."""
        loss = loss.double().cpu()
        self.losses["validation"][self.epoch] = loss
        better = loss < self.best_loss
        if bool(better.any()):
            self.best_loss = torch.where(better, loss, self.best_loss)
            self.best_epoch = torch.where(better, self.epoch, self.best_epoch)
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    self.best[name][better.to(parameter.device)] = parameter[better.to(parameter.device)]

    def _clip(self, limit: float) -> None:
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        norm = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
        factor = (limit / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp_max(1)
        for gradient in gradients:
            gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))

    def _history(self) -> pd.DataFrame:
        epochs, replicas = self.epoch, self.model.replicas
        return pd.DataFrame(
            {
                "epoch": torch.arange(1, epochs + 1).repeat_interleave(replicas).numpy(),
                "replica": list(range(replicas)) * epochs,
                "seed": self.model.seeds * epochs,
                **{name: values[1 : epochs + 1].flatten().numpy() for name, values in self.losses.items()},
            }
        )

    def _identity(self) -> dict[str, object]:
        """What must be the same for a resumed fit; more epochs may be asked for, and other checkpoints."""
        settings = {name: value for name, value in asdict(self.config).items() if name not in ("epochs", "checkpoint_every")}
        parts = (*self.train, *self.validation)
        digest = hashlib.sha256(b"".join(part.detach().cpu().contiguous().numpy().tobytes() for part in parts)).hexdigest()
        shapes = [list(part.shape) for part in parts]
        model = [self.model.cell, self.model.hidden, self.model.seeds, str(self.model.weight.dtype)]
        return {"settings": settings, "model": model, "data": [shapes, digest]}

    def _save(self) -> None:
        if self.folder is None or self.epoch == 0:
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        parameters = dict(self.model.named_parameters())
        model = {name: parameter.detach() for name, parameter in parameters.items()}
        model |= {f"best.{name}": value for name, value in self.best.items()}
        model |= {f"losses.{name}": values[: self.epoch + 1] for name, values in self.losses.items()}
        model |= {"best_loss": self.best_loss, "best_epoch": self.best_epoch}
        moments = {f"{name}.{key}": value for name, own in parameters.items() for key, value in self.optimizer.state[own].items()}
        state = {"epoch": self.epoch, "seconds": self.seconds, "identity": self._identity()}
        save_checkpoint(self.folder, Checkpoint(state, model, moments))

    def _restore(self, saved: Checkpoint) -> None:
        ours = self._identity()
        theirs = saved.state.get("identity", {})
        for part, value in ours.items():
            if theirs.get(part) != value:
                raise ValueError(
                    f"checkpoint: {self.folder} is of another fit, its {part} is {theirs.get(part)} instead of {value}; "
                    "give another folder, or the same settings"
                )
        self.epoch, self.seconds = int(saved.state["epoch"]), float(saved.state["seconds"])
        if self.epoch > self.config.epochs:
            raise ValueError(f"epochs: expected at least the {self.epoch} that {self.folder} has, got {self.config.epochs}; give more")
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(saved.model[name])
                self.best[name].copy_(saved.model[f"best.{name}"])
                self.optimizer.state[parameter] = {
                    key: saved.optimizer[f"{name}.{key}"].to(parameter.device if key != "step" else "cpu")
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
        for name, values in self.losses.items():
            values[: self.epoch + 1] = saved.model[f"losses.{name}"]
        self.best_loss, self.best_epoch = saved.model["best_loss"], saved.model["best_epoch"]


def _laid_out(targets: Tensor) -> Tensor:
    """The same numbers with the sequences innermost in memory, as the kernels have them: otherwise the loss takes as long as they do."""
    return targets.permute(1, 2, 0).contiguous().permute(2, 0, 1)


class _Bar:
    """A progress bar on a terminal, ten plain lines elsewhere, nothing when ``quiet``."""

    def __init__(self, epochs: int, done: int, model: ReducedOrder, quiet: bool) -> None:
        self.epochs, self.quiet = epochs, quiet
        self.label = f"{model.cell}-{model.hidden} x{model.replicas}"
        self.console = Console(stderr=True)
        self.progress: Progress | None = None
        self.shown = 10 * done // epochs
        if not quiet and self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
            self.progress = Progress(*columns, TextColumn("{task.fields[losses]}"), TimeRemainingColumn(), console=self.console)
            self.task = self.progress.add_task(self.label, total=epochs, completed=done, losses="")

    def __enter__(self) -> _Bar:
        if self.progress is not None:
            self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.progress is not None:
            self.progress.stop()

    def update(self, epoch: int, train: Tensor, best: Tensor) -> None:
        losses = f"training {float(train.nanmean()):.4f}  best validation {float(best.mean()):.4f}"
        if self.progress is not None:
            self.progress.update(self.task, completed=epoch, losses=losses)
        elif not self.quiet and 10 * epoch // self.epochs > self.shown:
            self.shown = 10 * epoch // self.epochs
            self.console.print(f"{self.label}  epoch {epoch}/{self.epochs}  {losses}", markup=False, highlight=False, soft_wrap=True)


def _check(name: str, x: Tensor, y: Tensor, model: ReducedOrder) -> None:
    inputs, outputs = len(model.input_names), len(model.output_names)
    if x.dim() != 3 or y.dim() != 3 or x.shape[:2] != y.shape[:2] or (x.size(2), y.size(2)) != (inputs, outputs) or 0 in x.shape:
        raise ValueError(
            f"{name}: expected inputs (S, T, {inputs}) and outputs (S, T, {outputs}), got {tuple(x.shape)} and {tuple(y.shape)}; "
            "give one row a step and one column a neuron"
        )
    for kind, part in (("inputs", x), ("outputs", y)):
        if not bool(part.isfinite().all()):
            raise ValueError(f"{name}: expected finite numbers, got NaN or infinity among the {kind}; leave those sequences out")
