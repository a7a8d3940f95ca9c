"""Compilation with Numba. Imported only by kernel modules, which are themselves imported only if Numba is installed."""

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

REASSOCIATION = {"reassoc", "contract", "nsz", "arcp", "afn"}
"""Fast-math flags with which sums may be reordered and vectorised, and which assume nothing about NaN and infinity."""


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator with the options of :func:`numba.njit`: compile on first call, without the global lock, cached on disk if possible."""

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(function, cache=True, nogil=True, **options)
        except RuntimeError:  # No cache folder is writable, neither beside the source file nor in the user's cache.
            return numba.njit(function, nogil=True, **options)

    return decorate


def _prefetch(write: bool) -> Any:
    """Make a function of an array and a place in it that brings the place's cache line near, to be read or written soon. Places outside the
    array do no harm."""

    @intrinsic
    def prefetch(context: Any, array: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte)
            operator = builder.module.declare_intrinsic("llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, *[number] * 3]))
            # Lines to be written go to the first-level cache, lines to be read to the second; the final 1 means data, not code.
            builder.call(operator, [pointer, number(int(write)), number(3 if write else 2), number(1)])
            return context.get_dummy_value()

        return types.void(array, types.intp), generate

    return prefetch


prefetch_to_read, prefetch_to_write = _prefetch(write=False), _prefetch(write=True)
