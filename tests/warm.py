"""Processes that have imported what commands and writers import, and fork off one that does the work.

Python takes seconds to import torch, and up to seven to import a converter; a fork takes milliseconds. All else is
as on the command line: a process that reads the arguments, one that works, the pipe between them, their exit codes
and signals. `python -m tests.warm FOLDER NAME LISTENING` answers at the socket `FOLDER/NAME`: `commands` runs
commands of ours, the name of a writer's module stands for `python -m export.process.converter` with that writer,
and `writers` starts those when somebody first asks. All end when their standard input does. `tests.commands` is the
other side.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import resource
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import psutil

from compress.command import supervise
from compress.command.lifetime import adopt_orphans

COMMANDS, ALL_WRITERS = "commands", "writers"
WRITERS = (
    "export.emit.onnx.writer",
    "export.emit.tflite.writer",
    "export.emit.executorch.writer",
    "export.emit.coreml.writer",
)
BACKENDS = ("tensorflow", "coremltools", "executorch", "onnx", "onnxruntime", "ai_edge_litert")
"""What no command imports itself, and the process that stands for commands does not either."""
ROOT = Path(__file__).resolve().parents[1]
_LEFT_S = 5.0
"""How long after the end of a command what it started may go on."""


def import_what_commands_import() -> None:
    """All modules of ours, and what they import only when they are called."""
    import torch
    import torch.ao.quantization.fx._decomposed

    torch.export.export(torch.nn.Linear(1, 1), (torch.zeros(1, 1),))
    for package in ("compress", "export", "benchmarks", "models"):
        for found in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if not found.name.endswith("__main__"):
                with suppress(ImportError):
                    importlib.import_module(found.name)


class Forked:
    """What `subprocess.Popen` is to `compress.command.supervise`, without starting Python anew."""

    def __init__(
        self, command: Sequence[str], *, env: dict[str, str] | None = None, pass_fds: Sequence[int] = ()
    ) -> None:
        given = dict(os.environ if env is None else env)
        self.returncode: int | None = None
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.environ.clear()
            os.environ.update(given)
            _close_all_but(pass_fds)
            become(sys.orig_argv[2], sys.orig_argv[3:])

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until_s = time.monotonic() + (1e9 if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > until_s:
                raise subprocess.TimeoutExpired("command", timeout or 0.0)
            time.sleep(0.002)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def become(module: str, arguments: Sequence[str]) -> NoReturn:
    """Ends this process as `python -m module ...` does."""
    code: Any = 1
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = [module, *arguments]
    sys.orig_argv = [sys.executable, "-m", module, *arguments]
    warnings.filterwarnings("ignore", message=".*found in sys.modules.*", category=RuntimeWarning)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 1)


class AtWriter:
    """What `subprocess.Popen` is to `export.process.child`: a helper forked off a process with its libraries."""

    def __init__(
        self, command: Sequence[str], *, stdin: int, stdout: int, stderr: Any, env: dict[str, str]
    ) -> None:
        assert stdin == stdout == subprocess.PIPE
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        case = {"environment": env, "folder": str(Path.cwd())}
        place = Path(os.environ[PLACE]) / command[-2]
        try:
            self._connection = request(place, case, (theirs_in, theirs_out, stderr.fileno()))
        except OSError:
            for one in (ours_in, ours_out):
                os.close(one)
            raise
        finally:
            for one in (theirs_in, theirs_out):
                os.close(one)
        self.stdin, self.stdout = os.fdopen(ours_in, "wb"), os.fdopen(ours_out, "rb")
        self._answers = self._connection.makefile("r")
        self.pid = json.loads(self._answers.readline())["pid"]
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if timeout is not None and not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("helper", timeout)
            line = self._answers.readline()
            self.returncode = json.loads(line)["code"] if line else -signal.SIGKILL
        return self.returncode

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


PLACE = "POCKETREEL_TEST_WARM"
"""Environment variable: the folder of the sockets of the writers."""


def fork_helpers() -> None:
    """Has `export.process.child` fork its helpers off warm processes, here and in those forked off this one."""
    from export.process import child

    child.subprocess = SimpleNamespace(Popen=_start_helper, PIPE=subprocess.PIPE)  # type: ignore[attr-defined]


def _start_helper(command: Sequence[str], **settings: Any) -> Any:
    """A helper of `export.process.child`: forked, unless its search path has another library in store for it."""
    warm = command[-2] in WRITERS and os.environ.get(PLACE)
    if warm and not shadows(settings["env"]["PYTHONPATH"].split(os.pathsep)):
        with suppress(ConnectionError, FileNotFoundError):  # it was ended: tests go on without
            return AtWriter(command, **settings)
    return subprocess.Popen(command, **settings)


def shadows(folders: Sequence[str]) -> bool:
    """Whether one of these folders holds a module that a process which is warm has imported from elsewhere."""

    def is_other(name: str, folder: str) -> bool:
        file = getattr(sys.modules.get(name), "__file__", None)
        return name in BACKENDS or (file is not None and not Path(file).is_relative_to(folder))

    for folder in folders:
        if folder and Path(folder).resolve() != ROOT:
            with suppress(OSError):
                if any(is_other(path.name.partition(".")[0], folder) for path in Path(folder).iterdir()):
                    return True
    return False


def request(place: Path, case: dict[str, Any], streams: Sequence[int]) -> socket.socket:
    """Asks the process at the socket `place` for a process with these standard streams; returns the replies."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(place))
    text = json.dumps(case).encode()
    socket.send_fds(connection, [struct.pack("!I", len(text))], streams)
    connection.sendall(text)
    return connection


class Server:
    """Answers at a socket, and looks after what it has started."""

    def __init__(self, folder: Path, name: str, listening: int) -> None:
        self._folder, self._name = folder, name
        self._listening = {name: socket.socket(fileno=listening)}
        self._helpers: dict[int, subprocess.Popen[bytes]] = {}
        self._active: dict[int, socket.socket] = {}
        if name == ALL_WRITERS:
            self._listening |= {writer: listen(folder / writer) for writer in WRITERS}

    def serve(self) -> None:
        while True:
            ready, _, _ = select.select([0, *self._listening.values()], [], [], 0.01 if self._active else 5)
            if 0 in ready:
                return
            for name, one in list(self._listening.items()):
                if one in ready and name == ALL_WRITERS:
                    one.accept()[0].close()  # who knocks here knows now that the others are there
                elif one in ready and name == self._name:
                    self._begin(one.accept()[0])
                elif one in ready:
                    self._start(name, self._listening.pop(name))
            self._reap()

    def _start(self, name: str, listening: socket.socket) -> None:
        """Starts the process that serves requests at this socket."""
        command = [sys.executable, "-m", "tests.warm", str(self._folder), name, str(listening.fileno())]
        log = (self._folder / f"{name}.log").open("wb")
        one = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[listening.fileno()], cwd=ROOT
        )
        self._helpers[one.pid] = one
        log.close()
        listening.close()

    def _begin(self, connection: socket.socket) -> None:
        size, streams, _, _ = socket.recv_fds(connection, 4, 3)
        (wanted,) = struct.unpack("!I", size)
        text = b""
        while len(text) < wanted:
            text += connection.recv(wanted - len(text))
        pid = os.fork()
        if pid == 0:
            try:
                self._become(json.loads(text), streams, connection)
            finally:
                os._exit(1)
        for one in streams:
            os.close(one)
        self._active[pid] = connection

    def _become(self, case: dict[str, Any], streams: Sequence[int], connection: socket.socket) -> None:
        if case.get("session"):
            os.setsid()
        _tell(connection, {"pid": os.getpid()})
        for standard, given in enumerate(streams):
            os.dup2(given, standard)
        _close_all_but(())
        os.chdir(case["folder"])
        os.environ.clear()
        os.environ.update(case["environment"])
        tempfile.tempdir = None
        if not case.get("deaf"):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        given = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
        sys.path[:] = [*([] if self._name in WRITERS else [case["folder"]]), *given, *_STANDARD]
        if self._name in WRITERS:
            sys.argv = sys.orig_argv = [
                sys.executable,
                "-P",
                "-m",
                "export.process.converter",
                self._name,
                "0",
            ]
            _become_helper(self._name)
        else:
            supervise.subprocess = SimpleNamespace(  # type: ignore[attr-defined]
                Popen=Forked, TimeoutExpired=subprocess.TimeoutExpired
            )
            become(case["module"], case["arguments"])

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                connection = self._active.pop(pid, None)
                if connection is not None:
                    left = self._left() if self._name == COMMANDS and not self._active else []
                    _tell(connection, {"code": os.waitstatus_to_exitcode(status), "left": left})
                    connection.close()

    def _left(self) -> list[str]:
        """What a command has left behind, which is ended now."""
        until_s = time.monotonic() + _LEFT_S
        while True:
            found = [one for one in psutil.Process().children() if one.pid not in self._helpers]
            for one in found:
                with suppress(psutil.Error, ChildProcessError):
                    if one.status() == psutil.STATUS_ZOMBIE:
                        os.waitpid(one.pid, os.WNOHANG)
            found = [one for one in found if one.is_running()]
            if not found:
                return []
            if time.monotonic() > until_s:
                told = []
                for one in found:
                    with suppress(psutil.Error):
                        told.append(" ".join(one.cmdline()))
                        one.kill()
                return told
            time.sleep(0.01)


def _become_helper(writer: str) -> NoReturn:
    from export.process import converter as worker

    worker._prepare = lambda name: None  # it is
    with suppress(BrokenPipeError):
        worker.main(writer, 0)
    os._exit(0)


def _tell(connection: socket.socket, message: dict[str, Any]) -> None:
    with suppress(OSError):
        connection.sendall(json.dumps(message).encode() + b"\n")


def _close_all_but(kept: Sequence[int]) -> None:
    """Closes what a process that Python starts does not have either."""
    for path in [*Path("/dev/fd").iterdir()]:
        if (number := int(path.name)) > 2 and number not in kept:
            with suppress(OSError):
                os.close(number)


def listen(place: Path) -> socket.socket:
    """A socket at which others can knock."""
    one = socket.socket(socket.AF_UNIX)
    one.bind(str(place))
    one.listen(64)
    return one


_STANDARD: list[str] = []


def main(folder: str, name: str, listening: str) -> None:
    """Imports, then serves requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given = [str(Path(one).resolve()) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    _STANDARD[:] = [
        one for one in sys.path if one and str(Path(one).resolve()) not in {*given, str(Path.cwd())}
    ]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if name == COMMANDS:
        adopt_orphans()
        import_what_commands_import()
        fork_helpers()
    elif name in WRITERS:
        from export.job import prepare

        with suppress(Exception):
            prepare(name)
    gc.collect()
    gc.freeze()
    Server(Path(folder), name, int(listening)).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
