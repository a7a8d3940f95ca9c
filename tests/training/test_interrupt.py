"""One Ctrl-C asks, two insist, and the handler from before comes back."""

from __future__ import annotations

import signal

import pytest

from elegans_pyg.training.interrupt import InterruptGuard


def test_first_asks_second_insists(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)

    def press_twice() -> None:
        with InterruptGuard("again to stop at once") as guard:
            assert not guard.requested
            signal.raise_signal(signal.SIGINT)
            assert guard.requested
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr().err == "\nagain to stop at once\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_signal_is_known(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with InterruptGuard() as guard:
        assert guard.signal is None
        signal.raise_signal(number)
        assert (guard.requested, guard.signal) == (True, number)
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with InterruptGuard() as guard:
            signal.raise_signal(signal.SIGINT)
            assert not guard.requested
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
