"""Hands commands to the page, one at a time, and takes its replies; notices when the page is gone.

The measurement calls `wait_for_page`, `post` and `wait` from its thread; the server calls `arrive`, `turn`, `alive`
and `leave` from those of its requests. Nothing here knows HTTP.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.browser.facts import Facts
from benchmarks.browser.message import HEADER_BYTES, ArrayType, Malformed, Payload
from benchmarks.device import Unavailable

RETURN_LIMIT_S = 5.0
"""Time in which a page may come back after it was lost, by a reload."""
_LOOK_S = 0.25
_OUTCOMES = ("ok", "unavailable", "failed")
_MOST_TEXT = 2000
"""Characters of a reason from the page that are kept."""


class Busy(RuntimeError):
    """Another page is measuring."""


class Gone(RuntimeError):
    """This page is no longer the one that measures."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The page's reply to a command."""

    outcome: str
    """One of `ok`, `unavailable`, `failed`."""
    value: str
    """Text of an `ok`, or the reason."""
    arrays: tuple[np.ndarray, ...] = ()


@dataclass(kw_only=True, eq=False)
class Command:
    """A command to the page. The page enforces `limit_s` itself, from when it starts."""

    name: str
    argument: Mapping[str, Any]
    limit_s: float
    payloads: Sequence[Payload] = ()
    expects: Sequence[ArrayType] = ()
    """The arrays of an `ok`."""
    number: int = 0
    reply: Reply | None = None
    lost: str | None = None

    @property
    def header(self) -> dict[str, Any]:
        """The header of its message."""
        return {
            "number": self.number,
            "name": self.name,
            "limit_s": self.limit_s,
            "argument": dict(self.argument),
        }

    @property
    def most_bytes(self) -> int:
        """Largest message of a reply."""
        return HEADER_BYTES + sum(one.size_bytes + one.padding_bytes for one in self.expects)


@dataclass(kw_only=True, eq=False)
class Page:
    """A visit of the page in one browser; a reload is another visit."""

    facts: Facts
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    seen_s: float = field(default_factory=time.monotonic)
    hidden: bool = False
    most_bytes: int = HEADER_BYTES


class Exchange:
    """Commands to at most one page at a time, and its replies.

    A page that was silent for `silence_s` is lost; `ended` gives the reason why it cannot answer any more, such as
    the end of the browser's process, or None.
    """

    def __init__(self, *, silence_s: float, ended: Callable[[], str | None] = lambda: None) -> None:
        self._silence_s, self._ended = silence_s, ended
        self._changed = threading.Condition()
        self._page: Page | None = None
        self._lost: str | None = None
        self._lost_s = 0.0
        self._waiting: deque[Command] = deque()
        self._sent: Command | None = None
        self._count = 0
        self._closing: Command | None = None

    # The measurement's side

    def wait_for_page(self, seconds: float) -> Page:
        """The page that measures; waits for one up to `seconds`. Raises `Unavailable` if there is none.

        After a loss the time counts from then on: a page that is reloaded comes back soon.
        """
        begin_s = time.monotonic()
        with self._changed:
            while True:
                self._look()
                if self._page is not None:
                    return self._page
                left_s = (begin_s if self._lost is None else self._lost_s) + seconds - time.monotonic()
                reason = self._ended() or (self._lost if left_s <= 0 else None)
                if reason is not None:
                    raise Unavailable(reason)
                if left_s <= 0:
                    raise Unavailable(f"nobody opened the page within {seconds:g} s")
                self._changed.wait(min(_LOOK_S, left_s))

    def post(self, page: Page, command: Command) -> None:
        """Queues a command for this page. Raises `Unavailable` if the page is gone."""
        with self._changed:
            self._look()
            if page is not self._page:
                raise Unavailable(self._lost or "the page was closed")
            self._count += 1
            command.number = self._count
            self._waiting.append(command)
            self._changed.notify_all()

    def wait(self, command: Command) -> Reply:
        """Waits for the reply. Raises `Unavailable` if the page is gone before."""
        with self._changed:
            while command.reply is None:
                self._look()
                if command.lost is not None:
                    raise Unavailable(f"{command.lost} (in {command.name!r})")
                self._changed.wait(_LOOK_S)
            return command.reply

    def close(self, farewell: Command, *, wait_s: float) -> None:
        """Gives the page its last command, and waits up to `wait_s` until it has taken it."""
        deadline_s = time.monotonic() + wait_s
        with self._changed:
            self._closing = farewell
            self._changed.notify_all()
            while self._page is not None and time.monotonic() < deadline_s:
                self._changed.wait(_LOOK_S)
            self._lose("the measurement is over")

    def fail(self, reason: str) -> None:
        """Gives up on the page."""
        with self._changed:
            self._lose(reason)

    # The page's side

    def arrive(self, facts: Facts, *, previous: str | None) -> Page:
        """A page was opened; `previous` is the secret of the visit before a reload. Raises `Busy` and `Gone`."""
        with self._changed:
            self._look()
            if self._closing is not None:
                raise Gone("the measurement is over")
            if self._page is not None:
                if previous is None or not _same(previous, self._page.secret):
                    raise Busy("another page is measuring; close it first")
                self._lose("the page was reloaded; leave it alone until it says that it is finished")
            self._page = Page(facts=facts)
            self._changed.notify_all()
            return self._page

    def most_bytes(self, secret: str) -> int:
        """Largest message that the page may send. Raises `Gone`."""
        with self._changed:
            return self._current(secret).most_bytes

    def turn(
        self,
        secret: str,
        *,
        answered: int,
        message: tuple[dict[str, Any], list[np.ndarray]] | None,
        hold_s: float,
    ) -> Command | None:
        """Takes the reply to command `answered` and gives the next command, or None after `hold_s`.

        A command that the page has not answered is given again, because the connection may have broken. Raises
        `Gone`, and `Malformed` for a reply that does not fit the command.
        """
        deadline_s = time.monotonic() + hold_s
        with self._changed:
            self._current(secret)
            sent = self._sent
            if message is not None and sent is not None and sent.number == answered:
                sent.reply = _reply(message, sent)
                self._sent = None
                self._changed.notify_all()
            while True:
                page = self._current(secret)
                if self._sent is not None and self._sent.number > answered:
                    return self._sent
                if self._closing is not None:
                    self._lose("the measurement is over")
                    return self._closing
                if self._sent is None and self._waiting:
                    self._sent = self._waiting.popleft()
                    page.most_bytes = max(page.most_bytes, self._sent.most_bytes)
                    return self._sent
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return None
                self._changed.wait(left_s)

    def alive(self, secret: str, *, hidden: bool) -> None:
        """The page is still there; `hidden` in the background. Raises `Gone`."""
        with self._changed:
            self._current(secret).hidden = hidden

    def leave(self, secret: str) -> None:
        """The page was closed or reloaded. Raises `Gone`."""
        with self._changed:
            self._current(secret)
            self._lose("the page was closed or reloaded; keep it open until it says that it is finished")

    def _current(self, secret: str) -> Page:
        if self._page is None or not _same(secret, self._page.secret):
            raise Gone(self._lost or "this page is not the one that measures; reload it")
        self._page.seen_s = time.monotonic()
        return self._page

    def _look(self) -> None:
        """Notices a page that is gone."""
        if self._page is None:
            return
        reason = self._ended()
        silent_s = time.monotonic() - self._page.seen_s
        if reason is None and silent_s > self._silence_s:
            reason = f"the page was silent for {self._silence_s:g} s: it crashed, or the connection broke"
            if self._page.hidden:
                reason += "; it was in the background, where phones stop pages: keep it in front"
        if reason is not None:
            self._lose(reason)

    def _lose(self, reason: str) -> None:
        for command in (*self._waiting, *([self._sent] if self._sent else [])):
            command.lost = reason
        self._waiting.clear()
        self._page, self._sent, self._lost = None, None, reason
        self._lost_s = time.monotonic()
        self._changed.notify_all()


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), secret.encode())


def _reply(message: tuple[dict[str, Any], list[np.ndarray]], command: Command) -> Reply:
    header, arrays = message
    outcome, value = header.get("outcome"), header.get("value")
    if outcome not in _OUTCOMES or not isinstance(value, str):
        raise Malformed(f"the outcome of a reply is one of {', '.join(_OUTCOMES)}, and its value is a text")
    found = [(str(array.dtype), array.shape) for array in arrays]
    expected = [(one.dtype, one.shape) for one in command.expects] if outcome == "ok" else []
    if found != expected:
        raise Malformed(f"the reply to {command.name!r} has the arrays {found}; expected are {expected}")
    return Reply(outcome=outcome, value=value[:_MOST_TEXT], arrays=tuple(arrays))
