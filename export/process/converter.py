"""The helper behind `export.process.child`: `python -m export.process.converter WRITER`.

It imports the libraries of the module WRITER (nothing where that is empty) and takes tasks from stdin, a line of
JSON each: `folder`, which holds `task.pickle`, the function and its argument; `log`, the file that the task prints
to; the working directory and the environment of the program. A process of its own does the task and leaves
`ended.pickle` (an `Ended`) in the folder, unless it crashes. The helper says that process's number when it begins,
and its exit code when it has ended.
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
"""Whether processes are forked: Apple's frameworks do not work in a process that was."""

_PATIENCE_S = 180.0
"""How long a helper waits for another task: its libraries hold hundreds of megabytes."""


def main(writer: str, parent: int) -> None:
    """Does tasks until there are no more, or until the program has ended.

    That is the process `parent`; 0 where the thread that started us may end before it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then ends us
    if parent:
        end_with_parent(parent)
    _end_with_program()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    if writer:
        with suppress(Exception):  # the task says it better
            _prepare(writer)
    while line := _next_line():
        helper = os.getpid()
        child = os.fork() if FORKS else 0
        if child == 0:
            if FORKS:
                end_with_parent(helper)
            else:
                _say(answers, os.getpid())
            _do(json.loads(line))
        _say(answers, child)
        _say(answers, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _prepare(writer: str) -> None:
    from export.job import prepare

    prepare(writer)


def _next_line() -> bytes:
    """The next task; nothing when the program has ended or has had no more for a while."""
    if FORKS and not select.select([sys.stdin], [], [], _PATIENCE_S)[0]:
        return b""
    return sys.stdin.buffer.readline()


def _say(answers: BinaryIO, number: int) -> None:
    answers.write(b"%d\n" % number)
    answers.flush()


def _do(task: dict[str, Any]) -> None:
    """Does one task, with which this process ends."""
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
    except BaseException as error:  # sys.exit() and the like, too: there is a reason to say
        traceback.print_exc()
        reason = in_a_sentence(error)
    ended = Ended(value=value, reason=reason, peak_rss_bytes=peak_rss_bytes())
    (folder / ENDED_FILE).write_bytes(pickle.dumps(ended))
    sys.stdout.flush()
    sys.stderr.flush()
    # The work is done: what the backends' exit handlers do with the process (crash it, at times) is no result.
    os._exit(0)


def peak_rss_bytes() -> int | None:
    """Largest resident memory of this process so far, `None` where the system does not say."""
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
    """Ends this process when the program is gone, also while it imports or waits for a task.

    The program holds the other end of our standard input, which says so without being read.
    """
    end = select.poll()
    end.register(0, 0)

    def watch() -> None:
        end.poll()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # the program is gone
        main(sys.argv[1], int(sys.argv[2]))
