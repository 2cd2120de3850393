"""Runs a function in a process of its own: what crashes, prints or takes memory there ends with that process."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TASK_FILE, ENDED_FILE = "task.pickle", "ended.pickle"

_MESSAGE_LENGTH = 500

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""What torch's ONNX exporter colours words of its messages with, for a terminal that does not show them."""

_PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a task ended: with what its function returned, or with the reason why it returned nothing."""

    value: Any
    reason: str | None
    peak_rss_bytes: int | None
    """Most memory that the process held; `None` when it crashed."""


def run_in_child(
    function: Callable[[Any], Any], argument: object, *, who: str, log: Path, time_limit_s: float
) -> Ended:
    """`function(argument)`, computed by `export.worker`, which prints to the end of the file `log`.

    `function` is a module's own, found again by its name; `argument` and what it returns are pickled. An exception,
    a crash, or no end in time becomes an `Ended` with a reason, in which `who` names the part that failed.
    """
    with tempfile.TemporaryDirectory(prefix="pocketreel-child-") as name:
        folder = Path(name)
        (folder / TASK_FILE).write_bytes(pickle.dumps((function, argument)))
        # -P and PYTHONPATH: the child imports this very package, whatever lies in the working directory.
        paths = [str(_PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TQDM_DISABLE": "1"}
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "export.worker", str(folder)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            try:
                child.wait(time_limit_s)
            except subprocess.TimeoutExpired:
                return _no_value(f"{who} had not ended after {time_limit_s:g} s")
            finally:
                child.kill()
                child.wait()
                assert child.stdin is not None
                child.stdin.close()
        ended = folder / ENDED_FILE
        if child.returncode == 0 and ended.exists():
            result: Ended = pickle.loads(ended.read_bytes())
            return result
    return _no_value(f"{who} {_crash(child.returncode)}")


def in_a_sentence(error: BaseException) -> str:
    """The error in one line, with the one that caused it all where its own message leaves that out."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    sentence, first = _line(error), _line(root)
    return sentence if str(root) in sentence or first in sentence else f"{sentence} (because of {first})"


def _line(error: BaseException) -> str:
    """The error's type and the first line of its message."""
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    message = lines[0] if lines else "no message"
    shortened = message if len(message) <= _MESSAGE_LENGTH else message[: _MESSAGE_LENGTH - 3] + "..."
    return f"{type(error).__name__}: {shortened}"


def _no_value(reason: str) -> Ended:
    return Ended(value=None, reason=reason, peak_rss_bytes=None)


def _crash(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "was killed (SIGKILL), most often for want of memory"
    if returncode < 0:
        return f"crashed its process with {signal.Signals(-returncode).name}"
    return f"ended its process with exit code {returncode} and no result"
