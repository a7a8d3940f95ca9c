"""Ctrl-C and a request to end (SIGTERM, SIGHUP) that let the step in hand finish."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class InterruptGuard(ExitStack):
    """Within this context the first Ctrl-C, SIGTERM or SIGHUP only sets :attr:`signal`, its number, and writes ``message``, if there is
    one, to standard error; a second one raises ``KeyboardInterrupt`` at once. A command that ends for a signal exits with 128 + its number.

    The handlers from before are put back on leaving. Where there can be no handler (off the main thread) or the process has been told to
    ignore a signal (``nohup``), nothing is changed for it.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__()
        self.signal: int | None = None
        self._message = message

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
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
                # None is a handler that was not installed from Python: it could not be put back.
                if previous is not None and previous != signal.SIG_IGN:
                    signal.signal(number, self._handle)
                    self.callback(signal.signal, number, previous)
        return self
