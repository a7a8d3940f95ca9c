"""Buffers that outlive a training step."""

from __future__ import annotations

import sys
import threading

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LINE = 64
"""Bytes of a cache line: a vector that lies across two of them takes two reads."""


def _aligned(buffer: NDArray[np.uint8], size: int, like: Tensor) -> Tensor:
    start = -buffer.ctypes.data % _LINE
    return torch.from_numpy(buffer)[start : start + size].view(like.dtype)


class Workspace:
    """Large buffers on the CPU, kept from step to step: the system takes longer to hand out fresh pages than a walk takes to fill them.

    A buffer is free once no tensor refers to it any more, that is, once the graph of the step that used it is gone. On other devices,
    whose allocators keep memory themselves, every buffer is an ordinary new tensor.
    """

    def __init__(self) -> None:
        self._buffers: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def take(self, count: int, like: Tensor) -> Tensor:
        """``count`` numbers of the type and device of ``like``, with no set value."""
        if like.device.type != "cpu" or count == 0:
            return like.new_empty(count)
        size = count * like.element_size()
        with self._lock:
            # Two references are the list's and getrefcount's own; any other is a tensor's.
            free = [i for i in range(len(self._buffers)) if sys.getrefcount(self._buffers[i]) <= 2]
            for i in free:
                if self._buffers[i].size >= size + _LINE:
                    return _aligned(self._buffers[i], size, like)
            self._buffers = [buffer for i, buffer in enumerate(self._buffers) if i not in free]
            self._buffers.append(np.empty(size + _LINE, np.uint8))
            return _aligned(self._buffers[-1], size, like)

    # A copy starts without buffers.
    def __reduce__(self) -> tuple[type[Workspace], tuple[()]]:
        return Workspace, ()
