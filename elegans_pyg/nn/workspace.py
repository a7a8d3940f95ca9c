"""Buffers that outlive a training step."""

from __future__ import annotations

import sys
import threading

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LINE = 64
"""Bytes of a cache line: a vector across two lines takes two reads."""


def _aligned(buffer: NDArray[np.uint8], size: int, like: Tensor) -> Tensor:
    start = -buffer.ctypes.data % _LINE
    return torch.from_numpy(buffer)[start : start + size].view(like.dtype)


class Workspace:
    """Large CPU buffers reused from step to step: the system takes longer to supply fresh pages than a walk takes to fill them.

    A buffer is free once no tensor refers to it, that is, once the autograd graph of the step that used it is gone. On other devices, whose
    allocators cache memory themselves, every buffer is a new tensor.
    """

    def __init__(self) -> None:
        self._buffers: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def take(self, count: int, like: Tensor) -> Tensor:
        """Return ``count`` uninitialised numbers of the dtype and device of ``like``."""
        if like.device.type != "cpu" or count == 0:
            return like.new_empty(count)
        size = count * like.element_size()
        with self._lock:
            # The list and getrefcount hold two references; any other is a tensor's.
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
