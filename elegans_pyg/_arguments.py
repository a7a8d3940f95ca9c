"""Checks of arguments that all subpackages share, and values quoted on one short line."""

import math
from collections.abc import Iterable
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def shown(value: object, most: int = 60) -> str:
    """Return a value as messages quote it: on one line, control characters escaped, at most ``most`` characters."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:
        # Python refuses to convert integers of more than 4,300 digits to text.
        text = "a number of thousands of digits"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def check_choice(name: str, value: T, choices: Iterable[str], remedy: str = "choose one of them") -> T:
    """Return ``value`` if it is one of ``choices``; else raise ``ValueError``."""
    if value not in (known := list(choices)):
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {shown(value)}; {remedy}")
    return value


def check_whole(name: str, value: int, low: int = 0) -> int:
    """Return ``value`` if it is an integer from ``low`` to 2**63 - 1; raise ``TypeError`` for other types, else ``ValueError``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an integer, got {shown(value)}; give one, such as {low}")
    if not low <= value < 2**63:
        raise ValueError(f"{name}: expected {f'{low} or more' if value < low else 'less than 2**63'}, got {shown(value)}; change it")
    return int(value)


def check_seed(seed: int) -> int:
    """Return ``seed`` if it is a whole number of at least 0; raises as :func:`check_whole`."""
    return check_whole("seed", seed)


def check_number(name: str, value: float, low: float = 0.0, high: float = math.inf, *, above: bool = False) -> float:
    """Return ``value`` if it is a finite number from ``low`` (with ``above``: above it) to ``high``; raises as :func:`check_whole`."""
    wanted = f"a number above {low:g}" if above else f"a number from {low:g} to {high:g}"
    problem = f"{name}: expected {wanted}, got {shown(value)}; give one, such as {1.0 if above else 0.5}"
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(problem)
    if not low <= value <= high or math.isinf(value) or (above and value == low):
        raise ValueError(problem)
    return float(value)
