"""LiteRT's `benchmark_model`.

Sources of its flags and its output: github.com/google-ai-edge/LiteRT, `tflite/tools/benchmark/benchmark_model.cc`
and `benchmark_tflite_model.cc`; the other tool of that name, `litert/tools/benchmark_litert_model.h`, which takes
no inputs; and `xla/tsl/util/stats_calculator.h` of github.com/openxla/xla.
"""

from __future__ import annotations

import math
import re

import numpy as np

from benchmarks.adb.invocation import MODEL, Job, NoFigures, Runner, Timing, nanoseconds
from benchmarks.device import Memory, Unavailable


class BenchmarkModel(Runner):
    """LiteRT's `benchmark_model`: prints statistics of all inferences, no single times."""

    name = "benchmark_model"
    inputs = "inputs"
    result = None

    def command(self, job: Job) -> list[str]:
        """Fixed numbers of runs; its limits of time are out of the way."""
        tensors = job.file.inputs
        names = ",".join(tensor.name.replace(":", "::") for tensor in tensors)
        shapes = ":".join(",".join(map(str, tensor.shape)) for tensor in tensors)
        files = ",".join(
            f"{tensor.name.replace(':', '::')}:inputs/{job.clip}-{index}.bin"
            for index, tensor in enumerate(tensors)
        )
        command = [
            job.program,
            f"--graph={MODEL}.tflite",
            f"--num_threads={job.threads}",
            f"--num_runs={job.count}",
            f"--warmup_runs={job.warm_up}",
            "--min_secs=0",
            "--warmup_min_secs=0",
            "--max_secs=86400",
            f"--input_layer={names}",
            f"--input_layer_shape={shapes}",
            f"--input_layer_value_files={files}",
        ]
        if job.file.entry is not None:
            command.append(f"--signature_to_run_for={job.file.entry}")
        elif job.file.step is not None and job.file.step.path == job.file.path:
            command.append("--signature_to_run_for=serving_default")
        return command

    def infer_command(self, job: Job) -> list[str]:
        """Inputs and outputs have only their order in the file, which the manifest does not tell."""
        if len(job.file.outputs) > 1:
            raise Unavailable(
                f"accuracy of {job.file.title}: benchmark_model writes its {len(job.file.outputs)} outputs without "
                "names; measure accuracy on `host` or over ssh"
            )
        sizes = [math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize for tensor in job.file.inputs]
        if len(set(sizes)) < len(sizes):
            raise Unavailable(
                f"accuracy of {job.file.title}: benchmark_model takes inputs by their order, and two of them have "
                "the same size, so that a wrong order would not be noticed; measure accuracy on `host` or over ssh"
            )
        return [*self.command(job), f"--output_filepath=outputs/{job.clip}-0.bin"]

    def timing(self, printed: str, *, job: Job) -> Timing:
        """The median of the last line of statistics, in microseconds; the average of old releases."""
        lines = re.findall(r"\bcount=(\d+) (.*)", printed)
        if len(lines) < 2:
            raise NoFigures("printed no statistics (`count=... median=...`) of its warm-up and its runs")
        count, text = int(lines[-1][0]), lines[-1][1]
        if count != job.count:
            raise NoFigures(f"reported {count} inferences instead of {job.count}")
        statistics = dict(re.findall(r"(\w+)=([-+.\w]+)", text))
        which = "median" if "median" in statistics else "avg" if "avg" in statistics else "curr"
        elapsed_ns = np.full(count, nanoseconds(statistics.get(which), unit_ns=1e3))
        name = "average" if which == "avg" else "median"
        notes: tuple[str, ...] = (
            f"benchmark_model prints no single times: every value is the {name} of its invocation, so p90 and p99 "
            "are those of invocations",
        )
        if _ignores_inputs(printed):
            notes += ("this benchmark_model takes no inputs: it runs on random values of its own",)
        grown = re.search(
            r"Memory footprint delta from the start of the tool \(MB\): .*overall=([\d.]+)", printed
        )
        grown = grown or re.search(r"Overall footprint:\s+([\d.]+) MB", printed)
        memory = Memory(
            peak_rss_bytes=None, model_rss_bytes=None if grown is None else round(float(grown[1]) * 2**20)
        )
        return Timing(elapsed_ns=elapsed_ns, memory=memory, notes=notes)

    def check_outputs(self, printed: str) -> None:
        """The tool of `litert/tools` warns of flags that it does not know, and goes on."""
        if _ignores_inputs(printed):
            raise Unavailable(
                "accuracy: this benchmark_model takes no inputs and writes no outputs (that of litert/tools); "
                "build the one of tflite/tools/benchmark, or measure accuracy on `host` or over ssh"
            )


def _ignores_inputs(printed: str) -> bool:
    return re.search(r"Unconsumed cmdline flags:.*--input_layer", printed) is not None
