"""What every room asks of its arguments: whole numbers, numbers in a range, and what was given shown on one short line."""

import math
from collections.abc import Iterable

import numpy as np


def shown(value: object, most: int = 60) -> str:
    """A value as a message quotes it: on one line, control characters escaped, and cut short."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:
        # Python turns no integer of more than 4,300 digits into text.
        text = "a number of thousands of digits"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def check_choice(name: str, value: object, choices: Iterable[str], remedy: str = "choose one of them") -> None:
    """Raises ``ValueError`` unless a value is among the choices."""
    if value not in (known := list(choices)):
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {shown(value)}; {remedy}")


def check_whole(name: str, value: int, low: int = 0) -> int:
    """A whole number from ``low`` on that fits into 63 bits; raises ``TypeError`` if it is no integer, ``ValueError`` if out of range."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an integer, got {shown(value)}; give one, such as {low}")
    if not low <= value < 2**63:
        raise ValueError(f"{name}: expected {f'{low} or more' if value < low else 'less than 2**63'}, got {shown(value)}; change it")
    return int(value)


def check_seed(seed: int) -> int:
    """A whole number from 0 on, which every generator takes; raises as :func:`check_whole`."""
    return check_whole("seed", seed)


def check_number(name: str, value: float, low: float = 0.0, high: float = math.inf, *, above: bool = False) -> float:
    """A finite number from ``low`` to ``high``, or, with ``above``, any above ``low``; raises as :func:`check_whole`."""
    wanted = f"a number above {low:g}" if above else f"a number from {low:g} to {high:g}"
    problem = f"{name}: expected {wanted}, got {shown(value)}; give one, such as {1.0 if above else 0.5}"
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(problem)
    if not low <= value <= high or math.isinf(value) or (above and value == low):
        raise ValueError(problem)
    return float(value)
