"""Handling of Ctrl-C, SIGTERM and SIGHUP that lets the current step finish."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class InterruptGuard(ExitStack):
    """Context manager that defers Ctrl-C, SIGTERM and SIGHUP until the current step is finished.

    The first signal only sets :attr:`signal`, its number, and writes ``message``, if any, to standard error. A second one raises
    ``KeyboardInterrupt`` at once. A command ended by a signal exits with 128 + its number.

    The previous handlers are restored on exit. Nothing is changed outside the main thread, where handlers cannot be set, or for signals
    that the process ignores (``nohup``).
    """

    def __init__(self, message: str = "") -> None:
        super().__init__()
        self.signal: int | None = None
        self._message = message

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.signal is not None

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.signal = signum
        if self._message:
            # print() is not reentrant, and a signal can arrive in the middle of another one.
            os.write(2, f"\n{self._message}\n".encode())

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                previous = signal.getsignal(number)
                # None is a handler that was not installed from Python and cannot be restored.
                if previous is not None and previous != signal.SIG_IGN:
                    signal.signal(number, self._handle)
                    self.callback(signal.signal, number, previous)
        return self
