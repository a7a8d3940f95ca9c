"""A small ensemble with the classifier's interface, and a small image set, for tests of training alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from elegans_pyg.datasets.images import ImageData
from elegans_pyg.training import FitSettings


def make_images(train: int = 96, test: int = 25, seed: int = 0) -> ImageData:
    """Six by six images of three noisy patterns."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randint(0, 200, (3, 1, 6, 6), generator=generator)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(0, 3, (count,), generator=generator)
        noise = torch.randint(0, 56, (count, 1, 6, 6), generator=generator)
        return (patterns[labels] + noise).to(torch.uint8), labels

    return ImageData("patterns", *draw(train), *draw(test), ["a", "b", "c"])


class Ensemble(nn.Module):
    """``V`` perceptrons of different widths, with a batch norm's kind of running mean; ``on_forward`` is called at every training step."""

    def __init__(self, widths: Sequence[int], seeds: Sequence[int], on_forward: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self.widths, self.on_forward, self.calls = list(widths), on_forward, 0
        drawn = [(torch.Generator().manual_seed(seed), width) for seed, width in zip(seeds, widths, strict=True)]
        self.inner = nn.Parameter(torch.cat([torch.randn(width, 36, generator=g) / 6 for g, width in drawn]))
        self.outer = nn.Parameter(torch.cat([torch.randn(width, 3, generator=g) for g, width in drawn]))
        self.bias = nn.Parameter(torch.zeros(len(widths), 3))
        self.running_mean: Tensor
        self.register_buffer("running_mean", torch.zeros(sum(widths)))

    @property
    def num_variants(self) -> int:
        return len(self.widths)

    def variant_ptr(self) -> dict[str, list[int]]:
        ptr = [sum(self.widths[:v]) for v in range(len(self.widths) + 1)]
        return {"inner": ptr, "outer": ptr, "running_mean": ptr, "bias": list(range(len(self.widths) + 1))}

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            if self.on_forward is not None:
                self.on_forward(self.calls)
        if images.dim() == 4:
            images = images.expand(self.num_variants, *images.shape)
        ptr, logits = self.variant_ptr()["inner"], []
        for v, batch in enumerate(images.flatten(2)):
            rows = slice(ptr[v], ptr[v + 1])
            hidden = batch @ self.inner[rows].T
            if self.training:
                mean = hidden.mean(0)
                with torch.no_grad():
                    self.running_mean[rows] += 0.1 * (mean - self.running_mean[rows])
            else:
                mean = self.running_mean[rows]
            logits.append((hidden - mean).relu() @ self.outer[rows] + self.bias[v])
        return torch.stack(logits)


def make_table(families: Sequence[str] = ("connectome", "er", "ws")) -> pd.DataFrame:
    count = len(families)
    return pd.DataFrame(
        {"variant": range(count), "family": list(families), "wiring_seed": range(10, 10 + count), "seed": range(5, 5 + count)}
    )


def settings(**changes: object) -> FitSettings:
    values = {"iterations": 20, "batch_size": 16, "eval_every": 5, "checkpoint_every": 6, "validation_fraction": 0.25, "device": "cpu"}
    return FitSettings(**{**values, **changes})


def make_ensemble(**options: Callable[[int], None]) -> Ensemble:
    return Ensemble([4, 7, 5], [5, 6, 7], **options)
