"""A process that has imported what commands import, and runs whole commands in processes forked off it.

`python -m benchmarks.run ...` takes seconds to import torch; a fork of this process takes milliseconds. Everything
else is as it is on the command line: a process that reads the arguments, one that works, and the pipe between them.
Cases come as lines of JSON on standard input; what came of each goes back the same way.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from compress.command import supervise
from compress.command.lifetime import adopt_orphans, kill_tree, memory_bytes
from tests.warm import Forked, become

LIMIT_S = 60.0
LIMIT_BYTES = 2 * 10**9
_WATCHED_BYTES = 4 * 10**9
"""Of all processes of a command together: it is ended before the machine has no memory left."""


def _begin(case: dict[str, Any]) -> int:
    """Forks the process that the user starts."""
    pid = os.fork()
    if pid:
        return pid
    os.chdir(case["folder"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    printed = os.open(case["printed"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, standard in ((nothing, 0), (printed, 1), (printed, 2)):
        os.dup2(number, standard)
    os.closerange(3, 256)
    os.environ.update(case["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stand_in = SimpleNamespace(Popen=Forked, TimeoutExpired=subprocess.TimeoutExpired)
    supervise.subprocess = stand_in  # type: ignore[attr-defined]
    become(case["module"], case["arguments"])


def _run(case: dict[str, Any]) -> dict[str, Any]:
    begin_s = time.monotonic()
    pid, pause_s, fault = _begin(case), 0.005, None
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        seconds = time.monotonic() - begin_s
        if done:
            break
        if fault is None and seconds > LIMIT_S:
            fault = f"it had not ended after {LIMIT_S:.0f} s"
        elif fault is None and pause_s > 0.2 and (held := memory_bytes(pid)) > _WATCHED_BYTES:
            fault = f"its processes held {held / 1e9:.1f} GB"
        if fault is not None:
            kill_tree(pid)
        time.sleep(pause_s)
        pause_s = min(0.25, pause_s * 1.3)
    left = _left_behind()
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "peak_bytes": used.ru_maxrss * 1024,
        "fault": fault or left,
    }


def _left_behind() -> str | None:
    """What is still there five seconds after the end of a command, and is ended now."""
    until_s = time.monotonic() + 5
    while children := psutil.Process().children(recursive=True):
        for one in children:
            if one.status() == psutil.STATUS_ZOMBIE and one.ppid() == os.getpid():
                os.waitpid(one.pid, 0)
        if time.monotonic() > until_s:
            told = f"processes are left: {[one.cmdline() for one in children]}"
            for one in children:
                one.kill()
            return told
        time.sleep(0.01)
    return None


def main(modules: Sequence[str]) -> None:
    """Imports the modules, and runs cases until standard input ends."""
    adopt_orphans()
    for module in modules:
        importlib.import_module(module)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"ready": str(Path.cwd())}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
