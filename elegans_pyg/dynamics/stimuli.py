"""Currents that drive a nervous system: eight kinds of shape, drawn from a seed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elegans_pyg._arguments import check_choice, check_number, check_seed
from elegans_pyg.dynamics.simulate import count_steps

Array = npt.NDArray[np.floating[Any]]


class Stimuli(NamedTuple):
    """``current_pA (S, T, I)``, float64, of which column ``t`` flows from ``t dt_ms`` to ``(t + 1) dt_ms``; ``kind`` of each stimulus."""

    current_pA: Tensor
    kind: list[str]


def _step(rng: np.random.Generator, end: float, t: Array) -> Array:
    times, levels = np.sort(rng.uniform(0, end, rng.integers(2, 5))), rng.uniform(0, 1, 5)
    return levels[np.searchsorted(times, t)]


def _ramp(rng: np.random.Generator, end: float, t: Array) -> Array:
    knots = rng.integers(2, 6)
    times = np.concatenate([[0.0], np.sort(rng.uniform(0, end, knots)), [end]])
    return np.interp(t, times, np.concatenate([[0.0], rng.uniform(0, 1, knots + 1)]))


def _pulse(rng: np.random.Generator, end: float, t: Array) -> Array:
    width, height = rng.uniform(0.05, 0.4) * end, rng.uniform(0.4, 1)
    start = rng.uniform(0, end - width)
    return height * ((t >= start) & (t < start + width))


def _pulse_train(rng: np.random.Generator, end: float, t: Array) -> Array:
    period, duty, height = rng.uniform(0.1, 0.3) * end, rng.uniform(0.3, 0.7), rng.uniform(0.4, 1)
    return height * (np.mod(t, period) < duty * period)


def _sine(rng: np.random.Generator, end: float, t: Array) -> Array:
    cycles, height = rng.uniform(1, 5), rng.uniform(0.4, 1)
    return height * (1 - np.cos(2 * np.pi * cycles * t / end)) / 2


def _chirp(rng: np.random.Generator, end: float, t: Array) -> Array:
    low, high, height = rng.uniform(0.5, 1.5), rng.uniform(3, 6), rng.uniform(0.4, 1)
    if rng.random() < 0.5:
        low, high = high, low
    return height * (1 - np.cos(2 * np.pi * (low * t / end + (high - low) / 2 * (t / end) ** 2))) / 2


def _sum(rng: np.random.Generator, end: float, t: Array) -> Array:
    kinds = (_step, _ramp, _pulse_train, _sine)
    return np.mean([kinds[k](rng, end, t) for k in rng.choice(len(kinds), rng.integers(2, 4), replace=False)], axis=0)


def _noise(rng: np.random.Generator, end: float, t: Array) -> Array:
    times = np.linspace(0, end, rng.integers(8, 25))
    levels = np.clip(rng.uniform(0.3, 0.6) + rng.uniform(0.1, 0.3) * rng.standard_normal(len(times)), 0, 1)
    return np.interp(t, times, levels)


_FUNCTIONS = (_step, _ramp, _pulse_train, _sum, _pulse, _sine, _chirp, _noise)
_SHAPES = {shape.__name__[1:].replace("_", " "): shape for shape in _FUNCTIONS}
KINDS = tuple(_SHAPES)
"""Kinds of shape: levels that jump; lines between random points; repeated rectangular pulses; means of two or three of these and sines;
one rectangular pulse; a sine; a sine whose frequency rises or falls; lines between many points drawn from a normal distribution.
In 500 ms sines and chirps stay below 14 Hz and pulse trains below 23 Hz, since the worm's membranes pass little above that."""


def stimuli(
    groups: Sequence[int], kinds: Sequence[str], dt_ms: float = 0.05, duration_ms: float = 500.0, amplitude_pA: float = 5.0, seed: int = 0
) -> Stimuli:
    """Draw currents between 0 and ``amplitude_pA``, one stimulus for each of ``kinds``.

    Each group of neurons, such as the left and right cell of a class, has its own shape, and each neuron in it gets that shape times its
    own gain, 0.8 to 1. The current starts after a rest of 2 % to 12 % of the duration. A stimulus depends on ``seed``, its position in
    ``kinds`` and its kind, not on the other stimuli. Shapes are functions of time, evaluated in the middle of each step, so that ``dt_ms``
    only sets the resolution.

    Args:
        groups: number of neurons in each group, ``I`` in all.
        kinds: from :data:`KINDS`, one per stimulus.
        dt_ms, duration_ms: length of a step, and of a stimulus of ``T`` steps.
        amplitude_pA, seed: largest current, and the seed, at least 0.

    Raises:
        ValueError: for an unknown kind, no group or kind, a number that is not above 0, a duration that is not a whole number of steps,
            or a negative seed.
    """
    given = {"dt_ms": dt_ms, "duration_ms": duration_ms, "amplitude_pA": amplitude_pA}
    dt_ms, duration_ms, amplitude_pA = (check_number(name, value, above=True) for name, value in given.items())
    steps = count_steps(dt_ms, duration_ms)
    check_seed(seed)
    if not groups or min(groups) < 1:
        raise ValueError(f"groups: expected one number of neurons or more, each at least 1, got {list(groups)}; give the groups' sizes")
    if not kinds:
        raise ValueError("kinds: expected one kind or more, got none; give one for each stimulus")
    for kind in kinds:
        check_choice("kinds", kind, KINDS)
    middle = (np.arange(steps) + 0.5) * dt_ms
    result = np.zeros((len(kinds), steps, sum(groups)))
    for number, kind in enumerate(kinds):
        rng = np.random.default_rng([seed, number, KINDS.index(kind)])
        onset = rng.uniform(0.02, 0.12) * duration_ms
        running = middle >= onset
        column = 0
        for size in groups:
            values = _SHAPES[kind](rng, duration_ms - onset, middle[running] - onset)
            for gain in rng.uniform(0.8, 1, size):
                result[number, running, column] = amplitude_pA * gain * values
                column += 1
    return Stimuli(torch.from_numpy(result), list(kinds))
