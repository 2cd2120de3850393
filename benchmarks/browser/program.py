"""Opens the page in a browser of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from benchmarks.device import Unavailable
from compress.command.lifetime import signal_name

_QUIT_LIMIT_S = 5.0
_LAST_WORDS_LINES = 3


def open_in_system_browser(url: str) -> None:
    """Opens the page in the system's browser. Raises `Unavailable` if there is none."""
    try:
        opened = webbrowser.open(url)
    except webbrowser.Error:
        opened = False
    if not opened:
        raise Unavailable(
            "this system opens no browser: set `program`, or `open: false` and open the page yourself"
        )


class Program:
    """A running browser with the page; its process group ends with the `with` block."""

    def __init__(self, program: str, arguments: Sequence[str]) -> None:
        self._command = [program, *arguments]

    def __enter__(self) -> Self:
        """Starts the program. Raises `Unavailable`."""
        if shutil.which(self._command[0]) is None:
            raise Unavailable(
                f"the program {self._command[0]!r} is not installed: set `program` to another browser"
            )
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_QUIT_LIMIT_S)
                break
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # processes that outlived the first
        self._log.close()

    def failure(self) -> str | None:
        """How the program failed; None while it runs, and if it handed the page to a running browser."""
        code = self._process.poll()
        if not code:
            return None
        how = f"was killed by {signal_name(-code)}" if code < 0 else f"exited with code {code}"
        self._log.seek(0)
        lines = [
            line.strip() for line in self._log.read().decode(errors="replace").splitlines() if line.strip()
        ]
        said = f"; last output: {' | '.join(lines[-_LAST_WORDS_LINES:])}" if lines else ""
        return f"the browser {self._command[0]!r} {how}{said}"
