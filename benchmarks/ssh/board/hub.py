"""The program on the board at the end of the ssh connection.

It stores files, makes the environment and starts one process per file. Messages of channel 0 are for the hub
itself; those of other channels go to the processes and back unchanged. It ends with the connection, and its
processes with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from benchmarks import machine
from benchmarks.device import Unavailable
from benchmarks.ssh.board import frames
from benchmarks.ssh.board.environment import Environment
from benchmarks.ssh.board.store import Store

_LAST_WORDS_BYTES = 2000
_LAST_LINES = 3


class Hub:
    """Answers the messages of one connection."""

    def __init__(self, runner: Path, folder: Path, answers: IO[bytes]) -> None:
        self._runner = runner
        self._folder = folder
        self._store = Store(folder)
        self._environment = Environment(folder)
        self._answers = answers
        self._writing = threading.Lock()
        self._processes: dict[int, _Process] = {}

    def serve(self, messages: IO[bytes]) -> None:
        """Answers until the connection ends."""
        self._send_raw(frames.GREETING)
        try:
            while (message := frames.read(messages)) is not None:
                if message.channel == frames.HUB:
                    self.send(frames.Message(channel=frames.HUB, header=self._answer(message)))
                elif message.channel in self._processes:
                    self._processes[message.channel].take(message)
        finally:
            for process in self._processes.values():
                process.kill()

    def send(self, message: frames.Message) -> None:
        """Sends a message; threads may call it."""
        with self._writing:
            frames.write(self._answers, message)

    def _send_raw(self, data: bytes) -> None:
        self._answers.write(data)
        self._answers.flush()

    def _answer(self, message: frames.Message) -> dict[str, Any]:
        command, arguments = message.header["command"], message.header["arguments"]
        try:
            if command == "put":
                value: object = self._store.put(data=message.payload, **arguments)
            else:
                value = getattr(self, f"_{command}")(**arguments)
        except Unavailable as error:
            return {"outcome": "unavailable", "value": str(error)}
        except Exception as error:
            return {"outcome": "failed", "value": f"{type(error).__name__}: {error}"}
        return {"outcome": "ok", "value": value}

    def _describe(self, name: str, cpus: list[int] | None) -> dict[str, Any]:
        usable = machine.usable_cpus()
        if cpus is not None and not usable:
            raise Unavailable("`cpus` binds files to cores, which the system of this board does not support")
        if cpus is not None and not set(cpus) <= set(usable):
            raise Unavailable(
                f"`cpus` is {machine.ranges(cpus)}, but the board has the cores {machine.ranges(usable)}"
            )
        return asdict(machine.describe(name, cpus=cpus))

    def _present(self, files: list[tuple[str, int]]) -> list[int]:
        return self._store.present(files)

    def _python(self, modules: list[str]) -> str | None:
        return self._environment.python_with(modules)

    def _install(self, modules: list[str], requirements: list[str], wheels: str | None) -> str:
        return self._environment.install(modules, requirements=requirements, wheels=wheels)

    def _open(self, channel: int, python: str, cpus: list[int] | None) -> None:
        command = [python, str(self._runner), "session", str(self._folder), str(channel)]
        command += [] if cpus is None else [machine.ranges(cpus)]
        self._processes[channel] = _Process(command, channel=channel, hub=self)

    def _close(self, channel: int) -> None:
        process = self._processes.pop(channel, None)
        if process is not None:
            process.kill()

    def _clean(self) -> None:
        self._store.clean()


class _Process:
    """The process of one file, and the thread that passes its answers on."""

    def __init__(self, command: list[str], *, channel: int, hub: Hub) -> None:
        self._channel = channel
        self._hub = hub
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._commands, self._answers = self._process.stdin, self._process.stdout
        threading.Thread(target=self._pass_on, daemon=True).start()

    def take(self, message: frames.Message) -> None:
        """Gives the process a command; its death is reported by the thread."""
        try:
            frames.write(self._commands, message)
        except OSError:
            return

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()
        self._process.wait()

    def _pass_on(self) -> None:
        try:
            while (message := frames.read(self._answers)) is not None:
                self._hub.send(message)
        except frames.Malformed:
            pass  # it died in the middle of an answer
        except OSError:
            os._exit(1)  # the connection is lost
        code = self._process.wait()
        header = {"outcome": "died", "value": code, "last_words": self._last_words()}
        self._hub.send(frames.Message(channel=self._channel, header=header))

    def _last_words(self) -> str:
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - _LAST_WORDS_BYTES))
        lines = self._log.read().decode(errors="replace").splitlines()
        return " | ".join([line.strip() for line in lines if line.strip()][-_LAST_LINES:])


def main(arguments: list[str]) -> None:
    """`RUNNER hub FOLDER`: the program at the end of the connection; `RUNNER session FOLDER CHANNEL [CPUS]`: the
    process of a file."""
    runner, role, folder, *rest = arguments
    commands = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if role == "hub":
        Hub(Path(runner).resolve(), Path(folder), answers).serve(commands)
        return
    from benchmarks.ssh.board.session import serve

    channel, *cpus = rest
    serve(
        Path(folder),
        channel=int(channel),
        cpus=cpus[0] if cpus else None,
        commands=commands,
        answers=answers,
    )


if __name__ == "__main__":
    main(sys.argv)
