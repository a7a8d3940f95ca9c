"""Loops that NumPy has no function for: plain Python, compiled where Numba is installed, with the same results either way."""

from collections.abc import Callable
from functools import cache, wraps
from importlib.util import find_spec
from threading import Lock
from typing import Any

import numpy as np

# Of two threads that need a loop for the first time, one compiles it.
_FIRST = Lock()


def loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: compile a loop with Numba on first call, or run it in plain Python if Numba is missing.

    Arrays are changed in place either way; plain Python gets them as lists, which are faster there. Random numbers must be drawn
    beforehand, or by ``random()`` of a NumPy generator, which gives the same stream in Numba. The loop may call :func:`has_edge` and
    :func:`flip_edge`.
    """

    @cache
    def fast() -> Callable[..., Any]:
        from elegans_pyg._compiled import compiled

        _register_helpers()
        return compiled()(function)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        if find_spec("numba") is not None:
            with _FIRST:
                compiled = fast()
            return compiled(*arguments)
        lists = [argument.tolist() if isinstance(argument, np.ndarray) else argument for argument in arguments]
        result = function(*lists)
        for argument, values in zip(arguments, lists, strict=True):
            if isinstance(argument, np.ndarray):
                argument[...] = values
        return result

    return call


def edge_table(num_nodes: int) -> bytearray:
    """Return a table without edges for :func:`has_edge` and :func:`flip_edge`, one bit per pair of nodes."""
    return bytearray(num_nodes * num_nodes // 8 + 1)


def has_edge(table: bytearray, num_nodes: int, directed: bool, a: int, b: int) -> bool:
    pair = a * num_nodes + b if directed or a < b else b * num_nodes + a
    return (table[pair >> 3] >> (pair & 7)) & 1 == 1


def flip_edge(table: bytearray, num_nodes: int, directed: bool, a: int, b: int) -> None:
    """Add the edge if it is not there, and remove it if it is."""
    pair = a * num_nodes + b if directed or a < b else b * num_nodes + a
    table[pair >> 3] ^= 1 << (pair & 7)


@cache
def _register_helpers() -> None:
    from numba.extending import register_jitable

    for helper in (has_edge, flip_edge):
        register_jitable(helper)
