"""An emulated phone: a daemon of the adb protocol on a TCP port of this machine, with the failures of real phones.

It speaks the transport protocol (CNXN, AUTH, OPEN, OKAY, WRTE, CLSE), the services `shell` (version 1 and 2) and
`sync` (STAT, LIST, SEND, RECV), and runs commands in the real `/bin/sh` of this machine, with `/data/local/tmp` in
a temporary folder. `getprop`, `dumpsys` and `logcat` are small scripts. The runners (`runners/`) are scripts too:
they run the file in the real runtime of this machine and print what the sources of the real runners print. So the
client and the protocol are real; Android, its processor and the compiled runners are not.

Source of the protocol: packages/modules/adb of the Android Open Source Project: protocol.txt, SYNC.TXT and
shell_protocol.h.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import stat
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

VERSION, MAX_DATA = 0x01000001, 256 * 1024
TOKEN, SIGNATURE = 1, 2
"""Kinds of AUTH messages; any signature is accepted unless the phone is `unauthorised`."""
STDOUT, STDERR, EXIT = 1, 2, 3
"""Kinds of packets of the shell protocol."""
RUNNER_SCRIPTS = {
    "benchmark_model": "for_tflite.py",
    "executor_runner": "for_executorch.py",
    "onnxruntime_perf_test": "for_onnx.py",
}
ANDROID_TMP = "/data/local/tmp"
DUMP = """\
IsStatusOverride: false
ThermalStatusListeners:
\tcallbacks: 5
Thermal Status: {status}
Cached temperatures:
\tTemperature{{mValue=48.5, mType=3, mName=SKIN, mStatus=4}}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{{mValue=62.8, mType=0, mName=CPU, mStatus=0}}
\tTemperature{{mValue=34.4, mType=3, mName=SKIN, mStatus=0}}
Current cooling devices from HAL:
"""
"""The form of `dumpsys thermalservice`, as phones print it."""


@dataclass
class Troubles:
    """Failures that are switched on; the daemon reads them at every step."""

    unauthorised: bool = False
    """Asks for a signature again and again, as until the user accepts the key."""
    storage_bytes: int | None = None
    """Bytes that can still be written."""
    vanish_in: str | None = None
    """Cuts the connection for good when a command with this text has begun."""
    thermal: tuple[int, ...] = (0,)
    """Thermal status at each reading; the last one stays. Empty: there is no such service."""
    runner: dict[str, str] = field(default_factory=dict)
    """Environment of the runners, whose scripts read the variable `TROUBLE`."""
    abis: str = "arm64-v8a,armeabi-v7a,armeabi"


class EmulatedPhone:
    """A phone that listens until its `with` block is left; connect to it with `adb connect 127.0.0.1:PORT`."""

    def __init__(self, root: Path, *, features: str = "shell_v2,cmd") -> None:
        self.troubles = Troubles()
        self.commands: list[str] = []
        self.received: list[str] = []
        """Paths of the files that were pushed."""
        self.tmp = root / "data/local/tmp"
        self._root = root
        self._features = features
        self._connections: list[socket.socket] = []
        self._readings = 0

    def __enter__(self) -> EmulatedPhone:
        self.tmp.mkdir(parents=True)
        (self._root / "log").mkdir()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.vanish()

    def vanish(self) -> None:
        """Cuts every connection and takes no further one, as a phone whose cable is pulled."""
        for one in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=_Daemon(self, connection).serve, daemon=True).start()

    def local(self, path: str) -> str:
        """A text with the phone's paths in the terms of this machine."""
        return path.replace(ANDROID_TMP, str(self.tmp))

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Starts a command in the shell, with the programs of Android that it may use."""
        self.commands.append(command)
        programs = self._root / "bin"
        programs.mkdir(exist_ok=True)
        properties = {
            "ro.product.cpu.abilist": self.troubles.abis,
            "ro.soc.manufacturer": "Emulated",
            "ro.soc.model": "EM1",
            "ro.product.manufacturer": "Pocketreel",
            "ro.product.model": "Emulation",
            "ro.build.version.release": "15",
        }
        cases = "\n".join(f"  {name}) echo '{value}' ;;" for name, value in properties.items())
        scripts = {"getprop": f'case "$1" in\n{cases}\n  *) echo ;;\nesac', "dumpsys": self._dumpsys(command)}
        scripts["logcat"] = (
            f'for one; do case "$one" in --pid=*) cat "{self._root}/log/${{one#--pid=}}" 2>/dev/null ;; esac; done'
        )
        for name, script in scripts.items():
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        return subprocess.Popen(
            ["/bin/sh", "-c", self.local(command)],
            cwd=self._root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                **self.troubles.runner,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "EMULATED_LOG": str(self._root / "log"),
            },
        )

    def _dumpsys(self, command: str) -> str:
        thermal = self.troubles.thermal
        if not thermal:
            return 'echo "Can\'t find service: $1"'
        status = thermal[min(self._readings, len(thermal) - 1)]
        self._readings += "dumpsys" in command
        return f"cat <<END\n{DUMP.format(status=status)}END"


class _Stream:
    """One open service of a connection."""

    def __init__(self, daemon: _Daemon, number: int, host_number: int) -> None:
        self._daemon, self.number, self.host_number = daemon, number, host_number
        self.incoming: queue.Queue[bytes | None] = queue.Queue()
        self.may_write = threading.Semaphore(0)
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Sends data in messages, each after the host has taken the one before."""
        for begin in range(0, len(data), MAX_DATA):
            self._daemon.send(b"WRTE", self.number, self.host_number, data[begin : begin + MAX_DATA])
            self.may_write.acquire()

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; fewer at the end of the stream."""
        while len(self._rest) < size and (more := self.incoming.get()) is not None:
            self._rest += more
        given, self._rest = self._rest[:size], self._rest[size:]
        return given


class _Daemon:
    """The daemon's side of one connection."""

    def __init__(self, phone: EmulatedPhone, connection: socket.socket) -> None:
        self._phone, self._connection = phone, connection
        self._streams: dict[int, _Stream] = {}
        self._lock = threading.Lock()

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        """Sends one message: a header of six words, and data."""
        (word,) = struct.unpack("<I", command)
        header = struct.pack("<6I", word, first, second, len(data), sum(data) & 0xFFFFFFFF, word ^ 0xFFFFFFFF)
        with self._lock, contextlib.suppress(OSError):
            self._connection.sendall(header + data)

    def serve(self) -> None:
        """Answers messages until the connection ends."""
        with contextlib.suppress(OSError, struct.error), self._connection.makefile("rb") as reader:
            while True:
                word, first, second, length, _, _ = struct.unpack("<6I", reader.read(24))
                self._answer(struct.pack("<I", word), first, second, reader.read(length))

    def _answer(self, command: bytes, first: int, second: int, data: bytes) -> None:
        stream = self._streams.get(second)
        refused = self._phone.troubles.unauthorised
        if command == b"CNXN" or (command == b"AUTH" and first == SIGNATURE and refused):
            self.send(b"AUTH", TOKEN, 0, os.urandom(20))
        elif command == b"AUTH" and not refused:
            banner = f"device::ro.product.model=Emulation;features={self._phone._features}"
            self.send(b"CNXN", VERSION, MAX_DATA, banner.encode())
        elif command == b"OPEN":
            stream = _Stream(self, len(self._streams) + 1, first)
            self._streams[stream.number] = stream
            service = data.rstrip(b"\0").decode()
            self.send(b"OKAY", stream.number, first)
            threading.Thread(target=self._run_service, args=(service, stream), daemon=True).start()
        elif command == b"WRTE" and stream is not None:
            self.send(b"OKAY", second, first)
            stream.incoming.put(data)
        elif command == b"OKAY" and stream is not None:
            stream.may_write.release()
        elif command == b"CLSE" and stream is not None:
            stream.incoming.put(None)
            stream.may_write.release()

    def _run_service(self, service: str, stream: _Stream) -> None:
        kind, _, argument = service.partition(":")
        if kind.startswith("shell"):
            self._shell(argument, stream, packets="v2" in kind.split(","))
        elif kind == "sync":
            Sync(self._phone, stream).serve()
        self.send(b"CLSE", stream.number, stream.host_number)

    def _shell(self, command: str, stream: _Stream, *, packets: bool) -> None:
        process = self._phone.start(command)
        trouble = self._phone.troubles.vanish_in
        if trouble is not None and trouble in command:
            self._phone.vanish()
            process.kill()
        out, err = process.communicate()
        if packets:
            for kind, data in ((STDOUT, out), (STDERR, err), (EXIT, bytes([process.returncode & 0xFF]))):
                if data:
                    stream.write(struct.pack("<BI", kind, len(data)) + data)
        elif out + err:
            stream.write(out + err)


class Sync:
    """The service that copies files."""

    def __init__(self, phone: EmulatedPhone, stream: _Stream) -> None:
        self._phone, self._stream = phone, stream

    def serve(self) -> None:
        """Answers requests until QUIT or the end of the stream."""
        while len(head := self._stream.read(8)) == 8:
            request, length = head[:4], struct.unpack("<I", head[4:])[0]
            if request == b"QUIT":
                return
            path = self._stream.read(length).decode()
            {b"STAT": self._stat, b"LIST": self._list, b"SEND": self._send, b"RECV": self._receive}[request](
                path
            )

    def _stat(self, path: str) -> None:
        self._stream.write(b"STAT" + struct.pack("<3I", *self._status(Path(self._phone.local(path)))))

    def _list(self, path: str) -> None:
        for one in sorted(Path(self._phone.local(path)).iterdir()):
            name = one.name.encode()
            self._stream.write(b"DENT" + struct.pack("<4I", *self._status(one), len(name)) + name)
        self._stream.write(b"DONE" + bytes(16))

    def _receive(self, path: str) -> None:
        data = Path(self._phone.local(path)).read_bytes()
        for begin in range(0, len(data), 65536):
            chunk = data[begin : begin + 65536]
            self._stream.write(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
        self._stream.write(b"DONE" + struct.pack("<I", 0))

    def _send(self, path_and_mode: str) -> None:
        path, _, mode = path_and_mode.rpartition(",")
        data = b""
        while (head := self._stream.read(8))[:4] == b"DATA":
            data += self._stream.read(struct.unpack("<I", head[4:])[0])
        room = self._phone.troubles.storage_bytes
        if room is not None and len(data) > room:
            message = b"write failed: No space left on device"
            self._stream.write(b"FAIL" + struct.pack("<I", len(message)) + message)
            return
        if room is not None:
            self._phone.troubles.storage_bytes = room - len(data)
        local = Path(self._phone.local(path))
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(data)
        local.chmod(int(mode) & 0o777)
        self._phone.received.append(path)
        self._stream.write(b"OKAY" + bytes(4))

    @staticmethod
    def _status(path: Path) -> tuple[int, int, int]:
        if not path.exists():
            return 0, 0, 0
        found = path.stat()
        kind = stat.S_IFDIR if path.is_dir() else stat.S_IFREG
        return kind | stat.S_IMODE(found.st_mode), found.st_size, int(found.st_mtime)


def runner_program(folder: Path, name: str) -> Path:
    """A program that stands for a compiled runner: it runs a script of `runners/` with this Python."""
    script = Path(__file__).parent / "runners" / RUNNER_SCRIPTS[name]
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P {script} "$@"\n')
    program.chmod(0o755)
    return program
