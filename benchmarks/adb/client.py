"""The `adb` client of the user: commands and files for one phone, and the remedy for each of its refusals."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.device import Unavailable

_LIMIT_S = 60.0
_TRANSFER_LIMIT_S = 600.0
_END = "pocketreel-exit"
"""Marks the end of a command's output, followed by its exit code; without it the connection broke."""

_REMEDIES = {
    "unauthorized": (
        "has not authorised this computer: unlock it and accept the question 'Allow USB debugging?'; if it does "
        "not ask, revoke the authorisations in its developer options and connect it again"
    ),
    "authorizing": "is waiting for authorisation: unlock it and accept the question 'Allow USB debugging?'",
    "offline": "is offline: connect it again (over Wi-Fi with `adb connect ADDRESS`), or run `adb kill-server`",
    "no permissions": (
        "cannot be opened by this user: install the udev rules (Debian: android-sdk-platform-tools-common) and "
        "connect it again; see https://developer.android.com/tools/device"
    ),
}
"""What a state that `adb devices` lists means for the user."""


class TimedOut(Unavailable):
    """A command did not end within its limit."""


@dataclass(frozen=True)
class Output:
    """Output of a command on the phone, standard error included, and its exit code."""

    text: str
    code: int


class Adb:
    """One phone behind `adb -s SERIAL`.

    Every method raises `Unavailable` if the client or the phone cannot be used; the message states the remedy.
    """

    def __init__(self, program: str, serial: str) -> None:
        self._program = program
        self.serial = serial

    def shell(self, script: str, *, limit_s: float = _LIMIT_S) -> Output:
        """Runs a script in the phone's shell.

        The exit code travels in the output, since old phones do not report it otherwise. Raises `TimedOut` after
        `limit_s`.
        """
        marked = f"(\n{script}\n) 2>&1; code=$?; echo; echo {_END} $code"
        done = self._run("shell", marked, limit_s=limit_s)
        text = done.stdout.decode(errors="replace").replace("\r\n", "\n")
        found = re.search(rf"\n?^{_END} (\d+)\s*\Z", text, re.MULTILINE)
        if found is None:
            raise self._refusal(done)
        return Output(text[: found.start()], int(found[1]))

    def push(self, local: Path, remote: str) -> None:
        """Copies a file, or a folder with its content, to the phone."""
        done = self._run("push", str(local), remote, limit_s=_TRANSFER_LIMIT_S)
        if done.returncode != 0:
            self._check_storage(_words(done), what=local.name, remote=remote)
            raise self._refusal(done)

    def pull(self, remote: str, local: Path) -> None:
        """Copies a file, or a folder with its content, from the phone."""
        done = self._run("pull", remote, str(local), limit_s=_TRANSFER_LIMIT_S)
        if done.returncode != 0:
            raise self._refusal(done)

    def make_folder(self, remote: str) -> None:
        """Makes a folder on the phone, with those above it."""
        made = self.shell(f"mkdir -p {shlex.quote(remote)}")
        if made.code != 0:
            self._check_storage(made.text, what="a folder", remote=remote)
            raise Unavailable(f"{self}: cannot make the folder {remote} ({made.text.strip()})")

    def __str__(self) -> str:
        return f"phone {self.serial}"

    def _check_storage(self, text: str, *, what: str, remote: str) -> None:
        if "No space left" in text:
            raise Unavailable(
                f"{self}: its storage is full, {what} could not be written to {remote}; free some space there, "
                "or give another `folder`"
            )
        if "Permission denied" in text or "Read-only file system" in text:
            raise Unavailable(
                f"{self}: {remote} cannot be written ({text.strip()}); give a `folder` that `adb shell` may write "
                "and run programs in, such as /data/local/tmp/pocketreel"
            )

    def _run(self, *arguments: str, limit_s: float) -> subprocess.CompletedProcess[bytes]:
        return _run(self._program, "-s", self.serial, *arguments, limit_s=limit_s)

    def _refusal(self, done: subprocess.CompletedProcess[bytes]) -> Unavailable:
        """Why a command did not run to its end, by the state of the phone now."""
        states = list_phones(self._program)
        state = states.get(self.serial)
        if state is None:
            return Unavailable(
                f"{self}: the connection was lost ({_words(done) or 'no message'}); check the cable or the "
                "network, that the phone is on, and connect it again"
            )
        if state != "device":
            return _bad_state(self.serial, state)
        return Unavailable(
            f"{self}: `adb {done.args[3]}` failed: {_words(done) or 'the connection was closed without a message'}"
        )


def find_phone(program: str, serial: str | None) -> Adb:
    """The phone with this serial number, or the only one that is connected.

    Raises `Unavailable` if `adb` is not installed, and for no phone, several phones without `serial`, or a phone
    that is not authorised, offline or otherwise not ready.
    """
    states = list_phones(program)
    listed = ", ".join(f"{name} ({state})" for name, state in states.items())
    if serial is None:
        if not states:
            raise Unavailable(
                "adb sees no phone: switch on USB debugging in its developer options and connect it, or run "
                "`adb connect ADDRESS` for a phone in the network"
            )
        if len(states) > 1:
            raise Unavailable(f"adb sees several phones: {listed}; give one of them as `serial`")
        (serial,) = states
    if serial not in states:
        raise Unavailable(
            f"adb sees no phone with the serial number {serial!r}; it sees {listed or 'none'}; connect the phone "
            "(over Wi-Fi with `adb connect ADDRESS`), or correct `serial`"
        )
    if states[serial] != "device":
        raise _bad_state(serial, states[serial])
    return Adb(program, serial)


def list_phones(program: str) -> dict[str, str]:
    """State by serial number of every phone that `adb devices` lists. Raises `Unavailable`."""
    done = _run(program, "devices", limit_s=_LIMIT_S)
    if done.returncode != 0:
        raise Unavailable(f"`{program} devices` failed: {_words(done)}; try `{program} kill-server`")
    lines = done.stdout.decode(errors="replace").partition("List of devices attached")[2].splitlines()
    rows = [re.split(r"\t|\s{2,}", line.strip(), maxsplit=1) for line in lines if line.strip()]
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def _bad_state(serial: str, state: str) -> Unavailable:
    known = next((key for key in _REMEDIES if state.startswith(key)), None)
    if known is None:
        return Unavailable(f"phone {serial} is in the state {state!r}, not started up: start Android on it")
    return Unavailable(f"phone {serial} {_REMEDIES[known]}")


def _run(program: str, *arguments: str, limit_s: float) -> subprocess.CompletedProcess[bytes]:
    command = [program, *arguments]
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise TimedOut(
            f"`{' '.join(command[:4])}` did not end within {limit_s:g} s; check the connection, or run "
            f"`{program} kill-server`"
        ) from None
    except OSError as error:
        raise Unavailable(
            f"the adb client {program!r} cannot be started ({error.strerror}): install the Android platform tools "
            "(Debian: apt install adb; else https://developer.android.com/tools/releases/platform-tools), or give "
            "its path as `adb`"
        ) from error


def _words(done: subprocess.CompletedProcess[bytes]) -> str:
    """What the client said, in one line, without its reports of progress."""
    text = (done.stderr + b"\n" + done.stdout).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and "%]" not in line]
    return "; ".join(lines[-3:])
