"""Ctrl-C that lets the step in hand finish."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class InterruptGuard:
    """Within this context the first Ctrl-C only sets :attr:`requested`; a second one raises ``KeyboardInterrupt`` at once.

    The handler from before is put back on leaving. Where there can be no handler (off the main thread) or the process has been told to
    ignore the signal (``nohup``), nothing is changed and :attr:`requested` stays ``False``.

    Args:
        message: Written to standard error at the first Ctrl-C; empty for none.
    """

    def __init__(self, message: str = "") -> None:
        self.requested = False
        self._message = message
        self._previous: Any = None

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if self._message:
            # print() is not reentrant, and a signal can arrive in the middle of another one.
            os.write(2, f"\n{self._message}\n".encode())

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            previous = signal.getsignal(signal.SIGINT)
            # None is a handler that was not installed from Python: it could not be put back.
            if previous is not None and previous != signal.SIG_IGN:
                self._previous = previous
                signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None
