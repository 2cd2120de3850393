"""The helper of `export.process.child`: `python -m export.process.converter WRITER`.

It imports the libraries of the module WRITER (none if it is empty) and reads tasks from stdin, one line of JSON
each: `folder`, which holds `task.pickle`, the function and its argument; `log`, the file for the output of the
task; the working directory and the environment of the program. A separate process runs the task and writes
`ended.pickle` (an `Ended`) into the folder, unless it crashes. The helper writes the id of that process when it
begins, and its exit code when it has ended.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from compress.command.lifetime import end_with_parent
from compress.command.sentence import in_a_sentence
from export.process.child import ENDED_FILE, TASK_FILE, Ended

FORKS = hasattr(os, "fork") and sys.platform != "darwin"
"""Whether processes are forked: Apple's frameworks do not work in a forked process."""

_PATIENCE_S = 180.0
"""How long an idle helper waits for a task: its libraries hold hundreds of megabytes."""


def main(writer: str, parent: int) -> None:
    """Runs tasks until there are no more, or until the program has ended.

    The program is the process `parent`; 0 if the thread that started this process may end first.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then ends this process
    if parent:
        end_with_parent(parent)
    _end_with_program()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keeps the output of libraries out of the replies
    if writer:
        with suppress(Exception):  # the task reports it better
            _prepare(writer)
    while line := _next_line():
        helper = os.getpid()
        child = os.fork() if FORKS else 0
        if child == 0:
            if FORKS:
                end_with_parent(helper)
            else:
                _reply(replies, os.getpid())
            _do(json.loads(line))
        _reply(replies, child)
        _reply(replies, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _prepare(writer: str) -> None:
    from export.job import prepare

    prepare(writer)


def _next_line() -> bytes:
    """The next task; nothing if the program has ended or has sent none for a while."""
    if FORKS and not select.select([sys.stdin], [], [], _PATIENCE_S)[0]:
        return b""
    return sys.stdin.buffer.readline()


def _reply(replies: BinaryIO, number: int) -> None:
    replies.write(b"%d\n" % number)
    replies.flush()


def _do(task: dict[str, Any]) -> None:
    """Runs one task and ends this process."""
    with Path(task["log"]).open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.chdir(task["working_directory"])
    os.environ.clear()
    os.environ.update(task["environment"])
    folder = Path(task["folder"])
    value: Any = None
    reason = None
    try:
        function, argument = pickle.loads((folder / TASK_FILE).read_bytes())
        value = function(argument)
    except BaseException as error:  # sys.exit() and the like, too: they have a reason to report
        traceback.print_exc()
        reason = in_a_sentence(error)
    ended = Ended(value=value, reason=reason, peak_rss_bytes=peak_rss_bytes())
    (folder / ENDED_FILE).write_bytes(pickle.dumps(ended))
    sys.stdout.flush()
    sys.stderr.flush()
    # The work is done: crashes in the exit handlers of backends do not count.
    os._exit(0)


def peak_rss_bytes() -> int | None:
    """Largest resident memory of this process so far, `None` if the system does not report it."""
    # Linux first: there `ru_maxrss` still counts the parent's memory from before exec.
    status = Path("/proc/self/status")
    if status.exists():
        peaks = [line.split() for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(peaks[0][1]) * 1024 if peaks else None
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def _end_with_program() -> None:
    """Ends this process when the program has ended, also during an import or while waiting for a task.

    The program holds the other end of stdin, so its end is detected without reading.
    """
    end = select.poll()
    end.register(0, 0)

    def watch() -> None:
        end.poll()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # the program has ended
        main(sys.argv[1], int(sys.argv[2]))
