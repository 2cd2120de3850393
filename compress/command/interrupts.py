"""Distinguishes Ctrl-C from a KeyboardInterrupt raised by other code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))
"""Signals that stop a command."""


def stop_once() -> None:
    """Makes the first of `SIGNALS` raise KeyboardInterrupt in the main thread; later ones are ignored.

    A signal that was ignored at program start (`nohup`) stays ignored.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        global _requested
        _requested = True
        ignore()
        raise KeyboardInterrupt

    for number in SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def ignore() -> None:
    """Ignores `SIGNALS` during cleanup."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop_requested() -> bool:
    """Whether one of `SIGNALS` was received since `stop_once`, or inside `watched`."""
    return _requested


@contextmanager
def watched() -> Iterator[None]:
    """In this context, Ctrl-C is recorded (`stop_requested`) and then handled as before."""
    global _requested
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal handlers in this thread
        return
    before = signal.getsignal(signal.SIGINT)

    def notice(number: int, frame: FrameType | None) -> None:
        global _requested
        _requested = True
        if callable(before):
            before(number, frame)

    if not callable(before):  # ignored, default, or a handler not installed from Python
        yield
        return
    _requested = False
    signal.signal(signal.SIGINT, notice)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is notice:  # else it has been handled or replaced
            signal.signal(signal.SIGINT, before)


_requested = False
