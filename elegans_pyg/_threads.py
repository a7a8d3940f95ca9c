"""The one pool of threads for compiled kernels, the one place that decides how a kernel's work is split among them, and work too small to
split."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

from rich.console import Console
from torch import Tensor, get_num_threads, set_num_threads


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="elegans-kernel")


# A forked child has no threads of its parent's.
os.register_at_fork(after_in_child=_pool.cache_clear)


def share(kernel: Any, count: int, *arguments: Any, largest: int | None = None, room: Tensor | None = None) -> None:
    """Run ``kernel(first, last, *arguments)`` over ``count`` independent items on as many threads as PyTorch uses.

    The kernel is compiled by :func:`elegans_pyg._compiled.compiled`; its items share no result, so that the split does not change a bit.
    Tensors among the arguments, also in tuples, reach it as arrays. A call takes at most ``largest`` items; by default there are four calls
    a thread, because items may differ in length. Of ``room``, each call has a row to itself as its last argument; it needs one per thread.
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
    # A thread may hold this call for a moment longer, and with it the room.
    while not rooms.empty():
        rooms.get()


@contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Within this context PyTorch has one thread, if that is ``wanted``: for thousands of operations so small that they take as long to
    share as to do, and each of which waits for the other threads' turn where other programs have the processors."""
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
