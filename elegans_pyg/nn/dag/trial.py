"""The choice of executor ``auto`` on a GPU: both run once for every shape of maps, and the faster one is kept if they agree."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

_log = logging.getLogger(__name__)
_ROUNDS = 3
# Largest differences due to rounding, of outputs and of gradients, for maps of 32 and 16 bits. On the DAGs of both sexes, whose gradients
# pass 70 BatchNorms and more, 5e-7 and 2e-3, and 0.015 and 0.19, were measured (CPU executors).
_TOLERANCES = {4: (1e-4, 1e-2), 2: (0.05, 0.4)}

Pass = Callable[[Tensor], list[Tensor]]
"""Maps ``(V, B, C, H, W)`` to what two executors must agree on: the outputs and, with a backward pass, all gradients."""


class Case(NamedTuple):
    """What a choice is valid for: the card, the dtype of the maps, the size of the schedule, the shape of the maps, and their use."""

    card: str
    dtype: str
    nodes: int
    edges: int
    variants: int
    images: int
    channels: int
    height: int
    width: int
    training: bool
    backward: bool


class Choice(NamedTuple):
    """The chosen executor and the reason; ``fault`` if the other one failed or disagreed."""

    executor: str
    why: str
    fault: bool = False


known: dict[Case, Choice] = {}
"""Choices made in this process, or restored from the checkpoint of a resumed run."""


def choose(case: Case, x: Tensor, levels: Pass, fused: Pass, clock: Callable[[], float]) -> Choice:
    """Return the known choice for a case, or else run a trial on the maps ``x``, remember its choice and log it."""
    if case not in known:
        choice = known[case] = compare(x, levels, fused, clock, *_TOLERANCES[min(x.element_size(), 4)])
        torch.cuda.empty_cache()  # frees blocks that only the slower executor used
        _log.log(logging.WARNING if choice.fault else logging.INFO, "%s", in_words(case, choice))
    return known[case]


def compare(x: Tensor, levels: Pass, fused: Pass, clock: Callable[[], float], of_outputs: float, of_gradients: float) -> Choice:
    r"""Run both passes on ``x`` and choose ``fused`` if it runs, agrees with ``levels`` and is faster; else ``levels``.

    The difference of two tensors is :math:`\max_i \lVert a_i - b_i \rVert / \max_i \lVert b_i \rVert` over their parts :math:`i`: one per
    variant and channel, node and channel, or edge. A pass that runs out of memory is not chosen; the two are then compared on two images.

    Args:
        x: maps ``(V, B, C, H, W)``.
        levels, fused: the passes; ``levels`` is the reference.
        clock: returns seconds, after waiting for the device to finish.
        of_outputs, of_gradients: largest differences that count as rounding, for the first tensor of a pass and for the others.
    """
    for images in (x.size(1), 2):
        part = x[:, :images]
        expected = _on_cpu(levels, part)
        try:
            got = _on_cpu(fused, part)
        except Exception as error:
            return Choice("levels", f"fused fails ({' '.join(f'{type(error).__name__}: {error}'.split())[:300]})", fault=True)
        if expected is not None and got is not None:
            break
    else:
        return Choice("levels", "too little memory is left to try fused beside it", fault=True)
    differences = [_difference(*pair) for pair in zip(got, expected, strict=True)]
    for what, found, most in (("outputs", differences[:1], of_outputs), ("gradients", differences[1:], of_gradients)):
        # Written so that NaN counts as a difference.
        if not all(difference <= most for difference in found):
            worst = ", ".join(f"{difference:.1e}" for difference in found)
            return Choice("levels", f"{what} of fused and levels differ by {worst}; rounding explains at most {most:.0e}", fault=True)
    of_levels, of_fused = map(min, zip(*[(_seconds(levels, x, clock), _seconds(fused, x, clock)) for _ in range(_ROUNDS)], strict=True))
    said = [f"{seconds:.3g} s" if seconds < math.inf else "too little memory" for seconds in (of_fused, of_levels)]
    return Choice("fused" if of_fused <= of_levels else "levels", f"fused {said[0]}, levels {said[1]}")


def _on_cpu(run: Pass, x: Tensor) -> list[Tensor] | None:
    """Return the results of a pass on the CPU, which frees the device for the next one; ``None`` if it runs out of memory."""
    try:
        return [tensor.cpu() for tensor in run(x)]
    except torch.OutOfMemoryError:
        return None


def _seconds(run: Pass, x: Tensor, clock: Callable[[], float]) -> float:
    start = clock()
    try:
        run(x)
    except torch.OutOfMemoryError:
        return math.inf
    return clock() - start


def _difference(got: Tensor, expected: Tensor) -> float:
    if expected.numel() == 0:
        return 0.0
    error, size = (float(_by_part(part).float().norm(dim=1).max()) for part in (got - expected, expected))
    return error / size if size else error


def _by_part(tensor: Tensor) -> Tensor:
    """Flatten maps ``(V, B, C, H, W)`` to one row per variant and channel, other tensors to one per node and channel, or edge."""
    if tensor.dim() == 5:
        tensor = tensor.transpose(1, 2)
    return tensor.flatten(0, 1).flatten(1) if tensor.dim() > 2 else tensor.reshape(-1, 1)


def card(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def device_clock(device: torch.device) -> Callable[[], float]:
    """Return a clock that reads seconds after all work on the device is done."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def in_words(case: Case, choice: Choice) -> str:
    maps = f"{case.variants}x{case.images}x{case.channels}x{case.height}x{case.width} maps of {case.dtype}"
    use = ("training" if case.training else "evaluation") + ("" if case.backward else ", forward only")
    what = f"{maps}, {case.nodes} nodes, {case.edges} edges, {use}"
    return f"auto takes {choice.executor} on {case.card} for {what}: {choice.why}"


def as_records(choices: Mapping[Case, Choice]) -> list[dict[str, Any]]:
    """Return choices as plain values, for a file."""
    return [{**case._asdict(), **choice._asdict()} for case, choice in choices.items()]


def restore(records: Iterable[Mapping[str, Any]]) -> None:
    """Restore choices saved by :func:`as_records`."""
    for record in records:
        known[Case(*(record[name] for name in Case._fields))] = Choice(*(record[name] for name in Choice._fields))
