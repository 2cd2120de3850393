"""Tells Ctrl-C from a KeyboardInterrupt that somebody's code raises."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))
"""What asks a command to stop."""


def stop_once() -> None:
    """From now on the first of `SIGNALS` raises KeyboardInterrupt in the main thread; further ones are ignored.

    A signal that was ignored when the program began (`nohup`) stays so.
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
    """Takes no more of `SIGNALS`: what goes on is cleaning up."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop_requested() -> bool:
    """Whether one of `SIGNALS` has come since `stop_once`, or inside `watched`."""
    return _requested


@contextmanager
def watched() -> Iterator[None]:
    """While it lasts, Ctrl-C is noticed (`asked_to_stop`), and does what it did before."""
    global _requested
    if threading.current_thread() is not threading.main_thread():
        yield  # signals do not raise here
        return
    before = signal.getsignal(signal.SIGINT)

    def notice(number: int, frame: FrameType | None) -> None:
        global _requested
        _requested = True
        if callable(before):
            before(number, frame)

    if not callable(before):  # ignored, left to the system, or a handler that is none of Python's
        yield
        return
    _requested = False
    signal.signal(signal.SIGINT, notice)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is notice:  # else it has been handled for good, or replaced
            signal.signal(signal.SIGINT, before)


_requested = False
