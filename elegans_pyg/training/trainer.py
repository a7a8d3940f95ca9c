"""One optimiser step for all variants, and everything that must survive from one step to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from elegans_pyg.training.config import FitConfig
from elegans_pyg.training.data_order import DataOrder
from elegans_pyg.training.evaluation import image_losses

if TYPE_CHECKING:
    from elegans_pyg.models import ConnectomeClassifier

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Trainer:
    r"""Trains ``V`` variants in one step without letting them touch each other.

    The loss is :math:`\sum_v \frac{1}{B} \sum_b \ell_{vb}`, so that each parameter's gradient is that of its own variant's mean loss, and
    Adam (Kingma & Ba 2015, arXiv:1412.6980) treats every element alone. A variant whose loss is not finite is stopped in that step: the
    rows of its parameters in the gradient and in Adam's moments are set to zero from then on, which leaves the parameters as they are.
    On CUDA this is decided on the device, with no wait for the GPU.

    Args:
        model: ``V`` variants, on the device and in the precision to train in.
        images: ``(n, C, H, W)`` uint8 training images, on the same device.
        labels: ``(n,)`` int64.
        config: The settings.
        order: Which images a step takes.

    Raises:
        ValueError: if ``model.variant_ptr()`` does not split every entry of its ``state_dict()``.
    """

    def __init__(self, model: ConnectomeClassifier, images: Tensor, labels: Tensor, config: FitConfig, order: DataOrder) -> None:
        self.model, self.images, self.labels, self.config, self.order = model, images, labels, config, order
        _check_partition(model)
        pointers = model.variant_ptr()
        self.parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        variants = torch.arange(model.num_variants, device=images.device)
        # One gather a step tells the stopped rows of all parameters at once.
        owners = []
        for name in self.parameters:
            counts = torch.tensor(pointers[name], device=images.device).diff()
            owners.append(variants.repeat_interleave(counts))
        self._owner, self._lengths = torch.cat(owners), [len(owner) for owner in owners]
        # The fused kernels exist for the CPU and for CUDA, and update all parameters in one go.
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=config.learning_rate, fused=True)
        self.iteration = 0
        self.last_evaluation = 0
        self.stopped_at = torch.full((model.num_variants,), -1, device=images.device)
        self._losses = torch.zeros(model.num_variants, device=images.device)
        self.reset_running()

    def reset_running(self) -> None:
        """Start the running training loss and accuracy anew."""
        self._steps = 0
        self._loss_sum = torch.zeros(self.model.num_variants, dtype=torch.float64, device=self.images.device)
        self._correct = torch.zeros(self.model.num_variants, dtype=torch.int64, device=self.images.device)

    def step(self) -> None:
        """Train every variant on its next batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(self.iteration)
        self.iteration += 1
        batch = self.order.next_batch()
        labels = self.labels[batch]
        losses, predicted = image_losses(self.model, self.images[batch], labels, self.config.precision)
        losses = losses.mean(dim=1)
        running = self.stopped_at < 0
        self.stopped_at = torch.where(running & ~torch.isfinite(losses), self.iteration, self.stopped_at)
        running = self.stopped_at < 0
        self.optimizer.zero_grad(set_to_none=True)
        losses = torch.where(running, losses, 0.0)
        losses.sum().backward()
        self._hold_stopped(running)
        self.optimizer.step()
        self._steps += 1
        self._losses = losses.detach()
        self._loss_sum += self._losses
        self._correct += (predicted == labels).sum(dim=1)

    @torch.no_grad()
    def _hold_stopped(self, running: Tensor) -> None:
        if running.device.type == "cpu" and bool(running.all()):
            return
        stopped_rows = (~running)[self._owner].split(self._lengths)
        for parameter, rows in zip(self.parameters.values(), stopped_rows, strict=True):
            rows = rows.view(-1, *[1] * (parameter.dim() - 1))
            state = self.optimizer.state.get(parameter, {})
            for tensor in (parameter.grad, *(state.get(moment) for moment in _MOMENTS)):
                if tensor is not None:
                    # Not a product with a mask: zero times NaN is NaN.
                    tensor.masked_fill_(rows, 0.0)

    def running_metrics(self) -> tuple[list[float], list[float]]:
        """Mean training loss and accuracy of every variant since :meth:`reset_running`; of no meaning for a stopped variant."""
        images = self._steps * self.config.batch_size
        return [total / self._steps for total in self._loss_sum.tolist()], [right / images for right in self._correct.tolist()]

    def last_loss(self) -> float:
        """Mean loss, in the last step, of the variants still training; reading it waits for the device."""
        return float(self._losses.sum() / (self.stopped_at < 0).sum())

    def state_dict(self) -> dict[str, Any]:
        """Position, running sums and generator states, as plain JSON values; the optimiser's tensors are in :meth:`optimizer_tensors`."""
        return {
            "iteration": self.iteration,
            "learning_rate": self.config.learning_rate_at(self.iteration),
            "last_evaluation": self.last_evaluation,
            "data_order": self.order.state_dict(),
            "stopped_at": self.stopped_at.tolist(),
            "running": {"steps": self._steps, "loss_sum": self._loss_sum.tolist(), "correct": self._correct.tolist()},
        }

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Adam's state as ``<parameter>/<entry>``."""
        states = {name: self.optimizer.state.get(parameter, {}) for name, parameter in self.parameters.items()}
        return {f"{name}/{entry}": tensor for name, state in states.items() for entry, tensor in state.items()}

    def load(self, state: dict[str, Any], model: dict[str, Tensor], optimizer: dict[str, Tensor]) -> None:
        """Go on from a checkpoint of a run with the same model, images and settings."""
        self.model.load_state_dict(model)
        adam: dict[int, dict[str, Tensor]] = {}
        for number, name in enumerate(self.parameters):
            entries = {entry: optimizer[f"{name}/{entry}"] for entry in ("step", *_MOMENTS) if f"{name}/{entry}" in optimizer}
            if entries:
                adam[number] = entries
        self.optimizer.load_state_dict({"state": adam, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.order.load_state_dict(state["data_order"])
        device = self.images.device
        self.iteration, self.last_evaluation = state["iteration"], state["last_evaluation"]
        self.stopped_at = torch.tensor(state["stopped_at"], device=device)
        self._steps = state["running"]["steps"]
        self._loss_sum = torch.tensor(state["running"]["loss_sum"], dtype=torch.float64, device=device)
        self._correct = torch.tensor(state["running"]["correct"], dtype=torch.int64, device=device)


def _check_partition(model: ConnectomeClassifier) -> None:
    pointers, entries = model.variant_ptr(), model.state_dict()
    if set(pointers) != set(entries):
        names = ", ".join(sorted(set(pointers) ^ set(entries)))
        raise ValueError(f"model: variant_ptr() and state_dict() differ in {names}; give offsets for every parameter and buffer")
    for name, tensor in entries.items():
        offsets, rows = pointers[name], tensor.shape[0] if tensor.dim() else 0
        if len(offsets) != model.num_variants + 1 or offsets[0] != 0 or offsets[-1] != rows or sorted(offsets) != list(offsets):
            expected = f"{model.num_variants + 1} rising offsets from 0 to {rows}"
            raise ValueError(
                f"model: expected {expected} in variant_ptr()[{name!r}], got {list(offsets)}; split the first dimension by variant"
            )
