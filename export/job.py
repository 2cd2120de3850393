"""One writer's job, handed to a process of its own (`export.worker`), and what came of it."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from export.manifest import FileSpec, WrittenFile

JOB_FILE, RESULT_FILE = "job.pickle", "result.pickle"

TIME_LIMIT_S = 3600.0
"""A writer that takes longer hangs: the largest networks take minutes."""

_PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one writer is asked to do."""

    module: str
    """Module that holds `write`."""
    program: Path
    """File that `torch.export.save` wrote: a captured float network, or the int8 reference."""
    path: Path
    spec: FileSpec
    scheme: str
    lowering: str | None
    """Module that lowers the program before it is written; `None` for a program that is lowered already."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of it: a file, or the reason why there is none."""

    written: WrittenFile | None
    reason: str | None
    peak_rss_bytes: int | None


def run_job(job: Job, *, log: Path, time_limit_s: float = TIME_LIMIT_S) -> Result:
    """Runs the writer in a child process; a crash, or no end in time, becomes a `Result` with a reason."""
    with tempfile.TemporaryDirectory(prefix="pocketreel-job-") as name:
        folder = Path(name)
        (folder / JOB_FILE).write_bytes(pickle.dumps(job))
        # -P and PYTHONPATH: the child imports this very package, whatever lies in the working directory.
        paths = [str(_PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TQDM_DISABLE": "1"}
        with log.open("wb") as output:
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
                reason = f"the converter had not ended after {time_limit_s:g} s"
                return Result(written=None, reason=reason, peak_rss_bytes=None)
            finally:
                child.kill()
                child.wait()
                assert child.stdin is not None
                child.stdin.close()
        result = folder / RESULT_FILE
        if child.returncode == 0 and result.exists():
            return pickle.loads(result.read_bytes())
    return Result(written=None, reason=_crash(child.returncode), peak_rss_bytes=None)


def _crash(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "the converter's process was killed (SIGKILL), most often for want of memory"
    if returncode < 0:
        return f"the converter crashed its process with {signal.Signals(-returncode).name}"
    return f"the converter ended its process with exit code {returncode} and no result"
