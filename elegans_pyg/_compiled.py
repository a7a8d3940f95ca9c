"""Compiling with Numba, in one place; imported only by modules of kernels, which are imported only where Numba is installed."""

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

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


def _prefetch(write: bool) -> Any:
    """A function of an array and a place in it: bring that place's cache line near, to be read or written soon. Nothing comes to harm where
    the place is outside the array."""

    @intrinsic
    def prefetch(context: Any, array: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte)
            operator = builder.module.declare_intrinsic("llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, *[number] * 3]))
            # Written lines come into the first-level cache, read ones into the second; both are data.
            builder.call(operator, [pointer, number(int(write)), number(3 if write else 2), number(1)])
            return context.get_dummy_value()

        return types.void(array, types.intp), generate

    return prefetch


prefetch_to_read, prefetch_to_write = _prefetch(write=False), _prefetch(write=True)
