"""Runs one writer in a process of its own: `python -m export.worker FOLDER`.

Converters crash, print and take memory that they never give back; here that ends with the process. FOLDER holds
`job.pickle` (a `Job`); the worker leaves `result.pickle` (a `Result`) there, unless it crashes.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path

from export.job import JOB_FILE, RESULT_FILE, Job, Result
from export.manifest import WrittenFile

_MESSAGE_LENGTH = 300


def main(folder: Path) -> None:
    """Does the job in `folder`."""
    _end_with_parent()
    written, reason = None, None
    try:
        written = _write(pickle.loads((folder / JOB_FILE).read_bytes()))
    except Exception as error:
        traceback.print_exc()
        reason = _sentence(error)
    result = Result(written=written, reason=reason, peak_rss_bytes=peak_rss_bytes())
    (folder / RESULT_FILE).write_bytes(pickle.dumps(result))
    sys.stdout.flush()
    sys.stderr.flush()
    # The work is done: what the backends' exit handlers do with the process (crash it, at times) is no result.
    os._exit(0)


def _write(job: Job) -> WrittenFile:
    import torch
    import torch.ao.quantization.fx._decomposed  # registers the operators of int8 graphs, which loading needs

    program = torch.export.load(job.program)
    if job.lowering is not None:
        assert program.example_inputs is not None
        lowered = import_module(job.lowering).lower(program)
        program = torch.export.export(lowered, program.example_inputs[0])
    return import_module(job.module).write(program, job.path, spec=job.spec, scheme=job.scheme)


def _sentence(error: BaseException) -> str:
    """The error in one line, with the one that caused it all where its own message leaves that out."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    sentence = _line(error)
    return sentence if root is error or str(root) in sentence else f"{sentence} (because of {_line(root)})"


def _line(error: BaseException) -> str:
    """The error's type and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = lines[0] if lines else "no message"
    shortened = message if len(message) <= _MESSAGE_LENGTH else message[: _MESSAGE_LENGTH - 3] + "..."
    return f"{type(error).__name__}: {shortened}"


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
