"""One optimiser step for all variants, and all state that is kept between steps."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elegans_pyg.nn import DAGNet
from elegans_pyg.nn.dag import trial
from elegans_pyg.training.augment import Augmentation
from elegans_pyg.training.checkpoint import Checkpoint
from elegans_pyg.training.data import Pair
from elegans_pyg.training.data_order import DataOrder
from elegans_pyg.training.objective import BatchResult, Objective, VariantModel
from elegans_pyg.training.settings import FitSettings

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Trainer:
    r"""Trains ``V`` independent variants in one step.

    The loss is :math:`\sum_v \frac{1}{B} \sum_b \ell_{vb}`, so that the gradient of a parameter is that of its own variant's mean loss.
    Adam (Kingma & Ba 2015, arXiv:1412.6980) is elementwise, and gradients are clipped by the norm of each variant. A variant whose loss is
    not finite is stopped in that step: from then on its rows of the gradient and of Adam's moments are set to zero, which leaves its
    parameters unchanged. On CUDA this is decided on the device, without waiting for the GPU.

    Model and data must be on the device and in the precision of the training; ``seeds`` are those of the variants, for
    ``data_order="variant"``. Raises ``ValueError`` if ``model.variant_ptr()`` does not split every parameter, or there is less data than
    one batch.
    """

    def __init__(
        self, model: VariantModel, data: Pair, settings: FitSettings, objective: Objective, seeds: Sequence[int] | None = None
    ) -> None:
        self.model, self.settings, self.objective = model, settings, objective
        self.images, self.labels = data
        device, size, keep_last = self.images.device, len(self.images), settings.last_batch == "keep"
        own_seeds = seeds if settings.data_order == "variant" else None
        self.order = DataOrder(size, settings.batch_size, settings.data_seed, device, own_seeds, keep_last)
        self.augmentation = None if settings.augment == "none" else Augmentation(settings.data_seed, own_seeds)
        _check_partition(model)
        pointers = model.variant_ptr()
        self.parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        variants = torch.arange(model.num_variants, device=device)
        # One gather per step finds the stopped rows of all parameters.
        owners = [variants.repeat_interleave(torch.tensor(pointers[name], device=device).diff()) for name in self.parameters]
        self._owner, self._lengths = torch.cat(owners), [len(owner) for owner in owners]
        # The fused kernels exist for CPU and CUDA, and update all parameters at once.
        options: dict[str, Any] = {"lr": settings.learning_rate, "eps": settings.adam_eps, "fused": objective.fused_adam}
        self.optimizer = torch.optim.Adam(self.parameters.values(), **options)
        self.best = BestWeights(model, objective.lowest_is_best) if settings.select == "best" else None
        self.iteration, self.last_evaluation = 0, 0
        self.stopped_at = torch.full((model.num_variants,), -1, device=device)
        self._losses = torch.zeros(model.num_variants, device=device)
        self.reset_running()

    def reset_running(self) -> None:
        """Reset the running training loss and scores."""
        self._samples, shape = 0, (self.model.num_variants, len(self.objective.count_names))
        self._loss_sum = torch.zeros(shape[0], dtype=torch.float64, device=self.images.device)
        self._counts = torch.zeros(shape, dtype=torch.float64, device=self.images.device)

    def step(self, beside: Pair | None = None, note: Callable[[BatchResult], None] | None = None) -> None:
        """Train every variant on its next batch.

        If the objective allows it, the samples ``beside`` share the forward pass, and ``note`` is called with their result before the
        parameters change.
        """
        learning_rate = self.settings.learning_rate_at(self.iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        batch = self.order.next_batch()
        images, labels, precision = self.images[batch], self.labels[batch], self.settings.precision
        if self.augmentation is not None:
            images = self.augmentation(images, self.iteration + 1)
        if beside is None:
            result = self.objective.measure(self.model, images, labels, precision)
        else:
            result, other = self.objective.measure_both(self.model, (images, labels), beside, precision)
            if note is not None:
                note(other)
        self.iteration += 1
        losses = self.objective.total(result.losses.mean(dim=1))
        running = self.stopped_at < 0
        self.stopped_at = torch.where(running & ~torch.isfinite(losses), self.iteration, self.stopped_at)
        running = self.stopped_at < 0
        self.optimizer.zero_grad(set_to_none=True)
        losses = torch.where(running, losses, 0.0)
        losses.sum().backward()
        self._hold_stopped(running)
        if self.settings.clip_norm:
            self._clip()
        if self.settings.weight_decay:
            self._decay(running, learning_rate * self.settings.weight_decay)
        self.optimizer.step()
        self._samples += result.samples
        self._losses = losses.detach()
        self._loss_sum.add_(self._losses, alpha=result.samples)
        self._counts += result.counts

    def _by_row(self, values: Tensor) -> Iterator[tuple[torch.nn.Parameter, Tensor]]:
        """Yield every parameter with the per-variant ``values (V,)`` expanded to its rows, in a shape that broadcasts to it."""
        for parameter, rows in zip(self.parameters.values(), values[self._owner].split(self._lengths), strict=True):
            yield parameter, rows.view(-1, *[1] * (parameter.dim() - 1))

    @torch.no_grad()
    def _hold_stopped(self, running: Tensor) -> None:
        if running.device.type == "cpu" and bool(running.all()):
            return
        for parameter, stopped in self._by_row(~running):
            state = self.optimizer.state.get(parameter, {})
            for tensor in (parameter.grad, *(state.get(moment) for moment in _MOMENTS)):
                if tensor is not None:
                    # Not multiplied by a mask, because zero times NaN is NaN.
                    tensor.masked_fill_(stopped, 0.0)

    @torch.no_grad()
    def _clip(self) -> None:
        """Clip the gradient of every variant to ``clip_norm``; the norm is over all parameters of that variant."""
        gradients = [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]
        if len(gradients) < len(self.parameters):
            names = ", ".join(name for name, parameter in self.parameters.items() if parameter.grad is None)
            raise ValueError(
                f"clip_norm: the loss does not depend on {names}; leave these parameters out of the model, or set clip_norm to 0"
            )
        squares = torch.cat([gradient[..., None].flatten(1).double().square().sum(dim=1) for gradient in gradients])
        norms = torch.zeros_like(self._loss_sum).index_add_(0, self._owner, squares).sqrt()
        factors = self._by_row(self.settings.clip_norm / norms.clamp(min=self.settings.clip_norm))
        for gradient, (_, factor) in zip(gradients, factors, strict=True):
            gradient.mul_(factor.to(gradient.dtype))

    @torch.no_grad()
    def _decay(self, running: Tensor, amount: float) -> None:
        """Apply weight decay to matrices and kernels, except those of stopped variants."""
        for parameter, factor in self._by_row(torch.where(running, 1 - amount, 1.0)):
            if parameter.dim() >= 3:
                parameter.mul_(factor.to(parameter.dtype))

    def running_metrics(self) -> list[np.ndarray]:
        """Return mean training loss and scores since :meth:`reset_running`, ``(V,)`` each; meaningless for stopped variants."""
        scores = self.objective.scores(self._counts, self._samples).cpu().numpy()
        return [self._loss_sum.cpu().numpy() / self._samples, *scores.T]

    def last_loss(self) -> float:
        """Return the mean loss of the last step over the variants still training; this waits for the device."""
        return float(self._losses.sum() / (self.stopped_at < 0).sum())

    def checkpoint(self, metrics: bytes, **run: Any) -> Checkpoint:
        """Return a checkpoint: position, running sums, generator states, the values of ``run``, and all tensors."""
        counts = {name: _finite(column) for name, column in zip(self.objective.count_names, self._counts.T.tolist(), strict=True)}
        state = {
            "iteration": self.iteration,
            "learning_rate": self.settings.learning_rate_at(self.iteration),
            "last_evaluation": self.last_evaluation,
            "data_order": self.order.state_dict(),
            "stopped_at": self.stopped_at.tolist(),
            "running": {"samples": self._samples, "loss_sum": self._loss_sum.tolist(), **counts},
        }
        # So that a resumed run uses the same executors and gives the same bits.
        if choices := [choice for part in self.model.modules() if isinstance(part, DAGNet) for choice in trial.as_records(part.choices)]:
            state["executors"] = choices
        best = {}
        if self.best is not None:
            best = self.best.weights
            state["best"] = {"score": _finite(self.best.score.tolist()), "iteration": self.best.iteration.tolist()}
        states = {name: self.optimizer.state.get(parameter, {}) for name, parameter in self.parameters.items()}
        adam = {f"{name}/{entry}": tensor for name, state in states.items() for entry, tensor in state.items()}
        return Checkpoint({**state, **run}, self.model.state_dict(), adam, best, metrics=metrics)

    def load(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint of a run with the same model, images and settings."""
        state, device = saved.state, self.images.device
        if self.best is not None:
            self.best.score = np.nan_to_num(np.array(state["best"]["score"], dtype=np.float64), nan=-math.inf)
            self.best.iteration = np.array(state["best"]["iteration"])
            self.best.weights = {name: saved.best[name].to(device) for name in self.best.weights}
        self.model.load_state_dict(saved.model)
        trial.restore(state.get("executors", []))
        adam: dict[int, dict[str, Tensor]] = {}
        for name, tensor in saved.optimizer.items():
            parameter, _, entry = name.rpartition("/")
            adam.setdefault(list(self.parameters).index(parameter), {})[entry] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": adam})
        self.order.load_state_dict(state["data_order"])
        self.iteration, self.last_evaluation = state["iteration"], state["last_evaluation"]
        self.stopped_at = torch.tensor(state["stopped_at"], device=device)
        self._samples = state["running"]["samples"]
        self._loss_sum = torch.tensor(state["running"]["loss_sum"], dtype=torch.float64, device=device)
        counts = np.array([state["running"][name] for name in self.objective.count_names], dtype=np.float64)
        self._counts = torch.tensor(counts.T, device=device)


class BestWeights:
    """Keeps, for every variant of ``model``, the weights of its best evaluation: that with the highest score, or the ``lowest``."""

    def __init__(self, model: VariantModel, lowest: bool = False) -> None:
        self.model, self._sign = model, -1.0 if lowest else 1.0
        self.score = np.full(model.num_variants, -math.inf)
        self.iteration = np.zeros(model.num_variants, dtype=np.int64)
        self.weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def offer(self, scores: np.ndarray, iteration: int) -> None:
        """Keep the weights of variants whose score is better than all before; NaN never is."""
        scores = self._sign * scores
        pointers, current = self.model.variant_ptr(), self.model.state_dict()
        for variant in np.flatnonzero(scores > self.score).tolist():
            self.score[variant], self.iteration[variant] = scores[variant], iteration
            for name, offsets in pointers.items():
                rows = slice(offsets[variant], offsets[variant + 1])
                self.weights[name][rows] = current[name][rows]


def _finite(values: list[float]) -> list[float | None]:
    """Replace non-finite values by None, as JSON lacks them: scores not computed in training, overflowed variants, no best yet."""
    return [value if math.isfinite(value) else None for value in values]


def _check_partition(model: VariantModel) -> None:
    pointers, entries = model.variant_ptr(), model.state_dict()
    wrong = (set(pointers) - set(entries)) | ({name for name, _ in model.named_parameters()} - set(pointers))
    if wrong:
        names = ", ".join(sorted(wrong))
        raise ValueError(f"model: variant_ptr() and state_dict() disagree on {names}; give offsets for every parameter")
    for name, offsets in pointers.items():
        tensor = entries[name]
        rows = tensor.shape[0] if tensor.dim() else 0
        if len(offsets) != model.num_variants + 1 or offsets[0] != 0 or offsets[-1] != rows or sorted(offsets) != list(offsets):
            expected = f"{model.num_variants + 1} rising offsets from 0 to {rows}"
            got = f"in variant_ptr()[{name!r}], got {list(offsets)}"
            raise ValueError(f"model: expected {expected} {got}; split the first dimension by variant")
