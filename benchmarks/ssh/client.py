"""The `ssh` program: single commands, and the lasting connection to the hub on the board."""

from __future__ import annotations

import os
import queue
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

from benchmarks.device import Unavailable
from benchmarks.ssh.board import frames
from benchmarks.ssh.fields import SshFields
from benchmarks.ssh.refusals import why

_START_S = 120.0
"""Time limit for the start of Python on a slow board, after the connection."""
_QUIT_S = 5.0
_ANSWER_NOTHING = {"SSH_ASKPASS": "false", "SSH_ASKPASS_REQUIRE": "force"}
"""ssh asks the program `false` instead of the terminal (OpenSSH 8.4 and later)."""
_MOST_BEFORE_GREETING = 64 * 2**10


class ConnectionLost(Unavailable):
    """The connection ended; another one may succeed."""


def command(settings: SshFields, script: str) -> list[str]:
    """The command line that runs a shell script on the board.

    It takes known host keys of the board only, whatever the configuration says. For jump hosts the configuration
    decides: ssh does not pass these options on to them.
    """
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": settings.connect_timeout_s,
        "ServerAliveInterval": 15,
        "ServerAliveCountMax": 4,
        "ClearAllForwardings": "yes",
        "RemoteCommand": "none",
        "LogLevel": "ERROR",
    }
    line = ["ssh", "-T"]
    line += [] if settings.config is None else ["-F", str(Path(settings.config).expanduser())]
    line += [] if settings.port is None else ["-p", str(settings.port)]
    line += [] if settings.identity_file is None else ["-i", str(Path(settings.identity_file).expanduser())]
    line += [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return [*line, "--", settings.address, script]


class Connection:
    """The running hub on the board: sends messages, and hands answers out by channel."""

    def __init__(self, settings: SshFields, script: str) -> None:
        self._address = settings.address
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        self._queues: dict[int, queue.SimpleQueue[frames.Message | None]] = {}
        self._changing = threading.Lock()
        self._lost = threading.Event()
        self._fault = self._given_up = ""
        self._process = start(command(settings, script), errors=self._errors)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._commands, self._answers = self._process.stdin, self._process.stdout
        self._greeted = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self._greeted.wait(settings.connect_timeout_s + _START_S) and not self._lost.is_set():
            self.close()
            raise Unavailable(f"{self._address}: the runner did not start within {_START_S:g} s")

    @property
    def started(self) -> bool:
        """Whether the hub greeted; otherwise `exit_code` says why not."""
        return not self._lost.is_set()

    def exit_code(self) -> int | None:
        """Exit code of ssh, which is that of the script, or 255 for a fault of ssh; None while it runs."""
        try:
            return self._process.wait(_QUIT_S)
        except subprocess.TimeoutExpired:
            return None

    def send(self, message: frames.Message) -> None:
        """Sends a message. Raises `ConnectionLost`, or `Unavailable` after `give_up`."""
        try:
            frames.write(self._commands, message)
        except OSError as error:
            raise self.loss() from error

    def receive(self, channel: int, *, limit_s: float) -> frames.Message | None:
        """The next answer of a channel; None if there is none within `limit_s`.

        Raises `ConnectionLost`, or `Unavailable` after `give_up`.
        """
        try:
            message = self._queue(channel).get(timeout=limit_s)
        except queue.Empty:
            return None
        if message is None:
            self._queue(channel).put(None)
            raise self.loss()
        return message

    def _queue(self, channel: int) -> queue.SimpleQueue[frames.Message | None]:
        """The answers of a channel; None stands for the end of the connection."""
        with self._changing:
            if channel not in self._queues:
                self._queues[channel] = queue.SimpleQueue()
                if self._lost.is_set():
                    self._queues[channel].put(None)
            return self._queues[channel]

    def loss(self) -> Unavailable:
        """The reason for the end of the connection, `ConnectionLost` unless it was given up."""
        if self._given_up:
            return Unavailable(f"{self._address}: {self._given_up}")
        code = self.exit_code()
        if self._fault and not code:
            return ConnectionLost(f"{self._address}: {self._fault}")
        return ConnectionLost(f"{self._address}: {why(self.errors(), code=code, address=self._address)}")

    def give_up(self, reason: str) -> Unavailable:
        """Ends a connection that cannot be used any more; `reason` is from now on that of its end."""
        self._given_up = reason
        self._process.kill()
        return self.loss()

    def errors(self) -> str:
        """What ssh and the hub printed as errors."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def close(self) -> None:
        """Ends the connection and with it the hub."""
        with suppress(OSError):  # the connection is lost already
            self._commands.close()
        if self.exit_code() is None:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _read(self) -> None:
        try:
            if self._skip_to_greeting():
                self._greeted.set()
                while (message := frames.read(self._answers)) is not None:
                    if not {"outcome", "value"} <= message.header.keys():
                        raise frames.Malformed("an answer without outcome or value")
                    self._queue(message.channel).put(message)
        except (frames.Malformed, OSError) as error:
            self._fault = f"the connection ended or was garbled ({error})"
        with self._changing:
            self._lost.set()
            for answers in self._queues.values():
                answers.put(None)
        self._greeted.set()

    def _skip_to_greeting(self) -> bool:
        seen = 0
        while line := self._answers.readline(_MOST_BEFORE_GREETING):
            if line.endswith(frames.GREETING):
                return True
            seen += len(line)
            if seen > _MOST_BEFORE_GREETING:
                raise frames.Malformed(f"it printed {seen} bytes before the runner started")
        return False


def run(settings: SshFields, script: str, *, content: bytes = b"") -> None:
    """Runs a shell script on the board with `content` as its input.

    Raises `Unavailable` with what it printed as errors.
    """
    with tempfile.TemporaryFile() as errors:
        process = start(command(settings, script), errors=errors)
        try:
            process.communicate(content, timeout=settings.connect_timeout_s + _START_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise Unavailable(f"{settings.address}: did not answer within {error.timeout:g} s") from error
        errors.seek(0)
        text = errors.read().decode(errors="replace")
    if process.returncode:
        raise Unavailable(
            f"{settings.address}: {why(text, code=process.returncode, address=settings.address)}"
        )


def start(line: list[str], *, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Starts ssh, which asks nothing, nor do the ssh processes of its jump hosts.

    Raises `Unavailable` if it is not installed.
    """
    try:
        return subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **_ANSWER_NOTHING},
        )
    except FileNotFoundError as error:
        raise Unavailable(
            "the program ssh is missing: install an OpenSSH client (Debian and Ubuntu: sudo apt install "
            "openssh-client)"
        ) from error
