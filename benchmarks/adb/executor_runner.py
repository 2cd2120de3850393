"""ExecuTorch's `executor_runner`.

Sources of its flags and its output: github.com/pytorch/executorch,
`examples/portable/executor_runner/executor_runner.cpp`; on Android its messages go to the system log
(`runtime/platform/default/android.cpp`).
"""

from __future__ import annotations

import re

import numpy as np

from benchmarks.adb.invocation import MODEL, Job, NoFigures, Runner, Timing, nanoseconds


class ExecutorRunner(Runner):
    """ExecuTorch's `executor_runner`: prints the time of every inference since 2026, before only their sum."""

    name = "executor_runner"
    inputs = "inputs"
    result = None

    def command(self, job: Job) -> list[str]:
        """It has no warm-up: the first times are dropped."""
        return self._command(job, executions=job.warm_up + job.count)

    def infer_command(self, job: Job) -> list[str]:
        """One execution that writes every output to a file."""
        return [*self._command(job, executions=1), f"--output_file=outputs/{job.clip}"]

    def timing(self, printed: str, *, job: Job) -> Timing:
        """Single times after the warm-up, or the mean of all."""
        total = job.warm_up + job.count
        done = re.search(r"Model executed successfully (\d+) time\(s\) in (\S+) ms", printed)
        if done is None:
            raise NoFigures("printed no 'Model executed successfully', neither itself nor in the system log")
        if int(done[1]) != total:
            raise NoFigures(f"reported {done[1]} inferences instead of {total}")
        single = re.findall(r"Iteration (\d+) of \d+: (\S+) ms", printed)
        if not single:
            mean_ns = nanoseconds(done[2], unit_ns=1e6) / total
            return Timing(
                elapsed_ns=np.full(job.count, mean_ns),
                notes=(
                    "this executor_runner prints no single times: every value is the mean of its invocation, "
                    "warm-up included, so p90 and p99 are those of invocations",
                ),
            )
        if [int(number) for number, _ in single] != list(range(1, total + 1)):
            raise NoFigures(f"printed {len(single)} times, not those of the iterations 1 to {total}")
        return Timing(
            elapsed_ns=np.array([nanoseconds(ms, unit_ns=1e6) for _, ms in single[job.warm_up :]]),
            notes=("executor_runner does not report memory",),
        )

    def check_outputs(self, printed: str) -> None:
        """It takes inputs and writes outputs."""

    def _command(self, job: Job, *, executions: int) -> list[str]:
        files = ",".join(f"inputs/{job.clip}-{index}.bin" for index in range(len(job.file.inputs)))
        return [
            job.program,
            f"--model_path={MODEL}.pte",
            f"--method_name={job.file.entry or 'forward'}",
            f"--num_executions={executions}",
            f"--cpu_threads={job.threads}",
            f"--inputs={files}",
        ]
