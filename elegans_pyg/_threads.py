"""Threads: the one pool for compiled kernels, how work is split among them, and a single thread for small operations."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from queue import SimpleQueue
from typing import Any, TypeVar

from rich.console import Console
from torch import Tensor, get_num_threads, set_num_threads

Item = TypeVar("Item")
Result = TypeVar("Result")


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="elegans-kernel")


# A forked child does not have the threads of its parent.
os.register_at_fork(after_in_child=_pool.cache_clear)


def share(kernel: Any, count: int, *arguments: Any, largest: int | None = None, room: Tensor | None = None) -> None:
    """Run ``kernel(first, last, *arguments)`` over ``count`` independent items on as many threads as PyTorch uses.

    The kernel is compiled by :func:`elegans_pyg._compiled.compiled`. Its items share no result, so results do not depend on the split.
    Tensors among the arguments, also in tuples, are passed as arrays. A call takes at most ``largest`` items; by default each thread has
    four calls, because items may differ in length. If ``room`` is given, the last argument of a call is a row of it that no other call uses
    meanwhile; it needs one row per thread.
    """
    arguments, rooms = _arrays(arguments), SimpleQueue[tuple[Any, ...]]()
    for row in [()] * get_num_threads() if room is None else zip(room.numpy()):
        rooms.put(row)
    if not kernel.signatures and sys.stderr.isatty():
        with Console(stderr=True).status("Preparing compiled kernels: compiled once, then read from Numba's cache"):
            kernel(0, 0, *arguments, *([] if room is None else [room[0].numpy()]))
    if not count:
        return
    threads = min(get_num_threads(), count)
    calls = 4 * threads if threads > 1 else 1
    if largest is not None:
        calls = threads * -(-count // (threads * largest))
    calls = min(calls, count)
    run: Any = map if threads == 1 else _pool(get_num_threads()).map

    def call_kernel(part: tuple[int, int]) -> None:
        own = rooms.get()
        try:
            kernel(*part, *arguments, *own)
        finally:
            rooms.put(own)

    for _ in run(call_kernel, pairwise(count * call // calls for call in range(calls + 1))):
        pass
    # A pool thread may keep this closure, and with it the rows of room, a moment longer.
    while not rooms.empty():
        rooms.get()


def in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, computed on as many threads as PyTorch uses.

    This helps if much of the time is spent without the global lock, in kernels or in NumPy. If the caller stops, or after an error or
    Ctrl-C, the waiting items are left.
    """
    threads = min(get_num_threads(), len(items))
    if threads <= 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="elegans-item") as pool:
        yield from pool.map(function, items)


@contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Give PyTorch one thread within this context, if ``wanted``. This helps with thousands of operations so small that sharing them takes
    as long as computing them, and that would each wait for the other threads if other programs use the processors."""
    before = get_num_threads()
    if wanted:
        set_num_threads(1)
    try:
        yield
    finally:
        if wanted:
            set_num_threads(before)


def _arrays(argument: Any) -> Any:
    if isinstance(argument, tuple):
        return tuple(map(_arrays, argument))
    return argument.numpy() if isinstance(argument, Tensor) else argument
