"""The validation split and the order of the batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elegans_pyg.training.settings import FitSettings

# Random streams of one data seed: the validation split, orders shared and by variant, augmentation, and the validation images of
# evaluations before the last. A stream's number is part of its seed, so that no two overlap.
_SPLIT, _SHARED, _VARIANT, AUGMENT, PART = range(5)


def stratified_split(labels: Tensor, fraction: float, seed: int, stream: int = _SPLIT) -> tuple[Tensor, Tensor]:
    """Return sorted indices ``(n - m,)`` for training and ``(m,)`` for validation, with the same share held out of every class.

    ``m`` is ``round(fraction * n)``, ``fraction`` in [0, 1); counts per class are rounded by the largest remainders. ``labels`` are
    ``(n,)`` integers; other targets count as one class. ``stream`` is one of the random streams of the seed.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))
    are_classes = labels.dim() == 1 and not labels.is_floating_point()
    classes = labels.cpu().numpy() if are_classes else np.zeros(len(labels), dtype=np.int64)
    members = [generator.permutation(np.flatnonzero(classes == value)) for value in np.unique(classes)]
    quota = np.array([fraction * len(member) for member in members])
    held_out = np.floor(quota).astype(np.int64)
    missing = round(fraction * len(classes)) - int(held_out.sum())
    held_out[np.argsort(held_out - quota, kind="stable")[:missing]] += 1
    validation = np.sort(np.concatenate([member[:count] for member, count in zip(members, held_out, strict=True)]))
    training = np.setdiff1d(np.arange(len(classes)), validation)
    return torch.from_numpy(training), torch.from_numpy(validation)


def validation_split(labels: Tensor, settings: FitSettings) -> tuple[Tensor, Tensor]:
    """Split as :func:`stratified_split`; raises ``ValueError`` if no sample is held out and the best evaluation shall be selected."""
    training, validation = stratified_split(labels, settings.validation_fraction, settings.data_seed)
    if settings.select == "best" and not len(validation):
        share = f"{settings.validation_fraction:g} of {len(labels)} training images"
        raise ValueError(f"select: 'best' needs validation images, and {share} is none; raise validation_fraction or select 'last'")
    return training, validation


class DataOrder:
    """Endless batches of ``batch_size`` indices below ``size``, on ``device``, reshuffled every epoch.

    Args:
        size: number of samples.
        batch_size: samples per batch.
        seed: data seed.
        device: device of the indices.
        seeds: ``None`` for one order for all variants; otherwise one seed per variant, and variants with equal seeds share an order. A
            variant's order depends only on its own seed and on ``seed``, never on other variants.
        keep_last: keep the short last batch of an epoch instead of dropping it. The order, one for all variants, then depends on the seed
            and the number of the epoch; if one batch holds all samples, they keep their order.

    Raises ``ValueError`` if there are fewer samples than one batch needs, or a variant's seed is negative.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int, device: torch.device, seeds: Sequence[int] | None = None, keep_last: bool = False
    ) -> None:
        if size < batch_size and not keep_last:
            raise ValueError(f"batch_size: expected at most the {size} images left for training, got {batch_size}; reduce it")
        self.size, self.batch_size, self.seed, self.device, self.keep_last = size, batch_size, seed, device, keep_last
        self._variants: Tensor | None = None
        keys: list[tuple[int, ...]] = [] if keep_last else [(_SHARED,)]
        if seeds is not None:
            if min(seeds) < 0:
                raise ValueError(f"variants: expected seeds of at least 0, got {min(seeds)}; data_order='variant' draws from them")
            distinct, which = np.unique(np.asarray(seeds, dtype=np.int64), return_inverse=True)
            keys = [(_VARIANT, int(own)) for own in distinct]
            self._variants = torch.from_numpy(which).to(device)
        self._generators = [np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))) for key in keys]
        self.epoch = self.position = 0
        self._shuffle()

    def _shuffle(self) -> None:
        # A checkpoint keeps the states from before the shuffle, which reproduce this epoch's order and all later ones.
        self._epoch_start = [generator.bit_generator.state for generator in self._generators]
        if not self.keep_last:
            orders = torch.from_numpy(np.stack([generator.permutation(self.size) for generator in self._generators]))
        elif self.size > self.batch_size:
            # PyTorch's seeds have 64 bits.
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**64)
            orders = torch.randperm(self.size, generator=generator).unsqueeze(0)
        else:
            orders = torch.arange(self.size).unsqueeze(0)
        self._orders = orders.to(self.device)

    def next_batch(self) -> Tensor:
        """Return the indices ``(B,)`` of the next batch, or ``(V, B)`` if each variant has its own order."""
        if self.position + (1 if self.keep_last else self.batch_size) > self.size:
            self.epoch, self.position = self.epoch + 1, 0
            self._shuffle()
        batch = self._orders[:, self.position : self.position + self.batch_size]
        self.position += self.batch_size
        return batch[0] if self._variants is None else batch[self._variants]

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to continue from here, as plain JSON values."""
        state = {"epoch": self.epoch, "position": self.position}
        return state if self.keep_last else {**state, "generators": self._epoch_start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict` of an order with the same arguments."""
        for generator, saved in zip(self._generators, state.get("generators", ()), strict=True):
            generator.bit_generator.state = saved
        self.epoch, self.position = state["epoch"], state["position"]
        self._shuffle()
