"""The process that computes one function: `python -m export.worker FOLDER`, started by `export.child`.

FOLDER holds `task.pickle`, the function and its argument; the worker leaves `ended.pickle` (an `Ended`) there,
unless it crashes.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from export.child import ENDED_FILE, TASK_FILE, Ended, in_a_sentence


def main(folder: Path) -> None:
    """Does the task in `folder`."""
    _end_with_parent()
    value: Any = None
    reason = None
    try:
        function, argument = pickle.loads((folder / TASK_FILE).read_bytes())
        value = function(argument)
    except Exception as error:
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


def _end_with_parent() -> None:
    """Ends this process when its parent is gone: the parent holds the other end of our standard input."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
