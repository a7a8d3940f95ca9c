"""Compiling with Numba, in one place; imported only by modules of kernels, which are imported only where Numba is installed."""

from collections.abc import Callable
from typing import Any

import numba

REASSOCIATION = {"reassoc", "contract", "nsz", "arcp", "afn"}
"""Numbers may be added in vector lanes; nothing is assumed about NaN and infinity."""


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator with the options of :func:`numba.njit`: compile on first call, without the global lock, cached on disk if possible."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(function, cache=True, nogil=True, **options)
        except RuntimeError:  # Neither beside the function's file nor in the user's cache folder can anything be written.
            return numba.njit(function, nogil=True, **options)

    return decorate
