"""The prebuilt runners of the runtimes: their command lines, the files they read, and what they print.

Read in these sources; flags and output formats are theirs:

- LiteRT `benchmark_model`: github.com/google-ai-edge/LiteRT, `tflite/tools/benchmark/benchmark_model.cc` and
  `benchmark_tflite_model.cc`, and the other tool of that name, `litert/tools/benchmark_litert_model.h`, which takes
  no inputs; the line of statistics in `tsl/util/stats_calculator.h` of github.com/openxla/xla.
- ExecuTorch `executor_runner`: github.com/pytorch/executorch,
  `examples/portable/executor_runner/executor_runner.cpp`; on Android its messages go to the system log
  (`runtime/platform/default/android.cpp`).
- ONNX Runtime `onnxruntime_perf_test`: github.com/microsoft/onnxruntime, `onnxruntime/test/perftest/`:
  `command_args_parser.cc`, `performance_runner.cc` and `README.md`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.device import Memory, Unavailable
from benchmarks.files import ExportedFile, FileTensor

MODEL = "model"
"""Name of the exported file in its folder on the phone, without its suffix."""
_NO_MEMORY = Memory(peak_rss_bytes=None, model_rss_bytes=None)


class NoFigures(ValueError):
    """The output of a runner does not have the figures of a complete run."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One invocation: `count` measured inferences after `warm_up` others, in the folder of the file."""

    program: str
    file: ExportedFile
    threads: int
    count: int
    warm_up: int
    clip: int = 0
    """The clip whose inputs are read."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one invocation reported: times in nanoseconds, memory, and a note on what the times are."""

    elapsed_ns: np.ndarray
    """One value per inference; a single value where the runner prints only a statistic of them."""
    memory: Memory = _NO_MEMORY
    notes: tuple[str, ...] = ()


class Runner(Protocol):
    """A runner, for the files of one format."""

    name: str
    """Name of the program, and of the setting that has its path."""
    inputs: str
    """Folder that has the inputs, in the folder of the file."""
    result: str | None
    """File that the program writes its times to; None if it prints them."""

    def write_inputs(
        self, folder: Path, values: Mapping[str, np.ndarray], *, file: ExportedFile, clip: int
    ) -> None:
        """Writes the canonical inputs (`1 ...`) of one clip in the form that the program reads."""

    def command(self, job: Job) -> list[str]:
        """Program and arguments that time a file."""

    def infer_command(self, job: Job) -> list[str]:
        """Program and arguments that run one clip and write `outputs/CLIP-OUTPUT.bin`. Raises `Unavailable` with
        the reason if the program cannot."""

    def timing(self, printed: str, *, job: Job) -> Timing:
        """Reads the figures. Raises `NoFigures`."""

    def check_outputs(self, printed: str) -> None:
        """Raises `Unavailable` if the program said that it does not take inputs or write outputs."""


class BenchmarkModel(Runner):
    """LiteRT's `benchmark_model`: prints statistics of all inferences, no single times."""

    name = "benchmark_model"
    inputs = "inputs"
    result = None

    def write_inputs(
        self, folder: Path, values: Mapping[str, np.ndarray], *, file: ExportedFile, clip: int
    ) -> None:
        """Raw bytes of each input."""
        _write_raw(folder, values, file=file, clip=clip)

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
        elapsed_ns = np.array([_nanoseconds(statistics.get(which), unit_ns=1e3)])
        name = "average" if which == "avg" else "median"
        notes: tuple[str, ...] = (
            f"benchmark_model prints no single times: each value is the {name} of one invocation, so p90 and p99 "
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


class ExecutorRunner(Runner):
    """ExecuTorch's `executor_runner`: prints the time of every inference since 2026, before only their sum."""

    name = "executor_runner"
    inputs = "inputs"
    result = None

    def write_inputs(
        self, folder: Path, values: Mapping[str, np.ndarray], *, file: ExportedFile, clip: int
    ) -> None:
        """Raw bytes of each input."""
        _write_raw(folder, values, file=file, clip=clip)

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
            mean_ns = _nanoseconds(done[2], unit_ns=1e6) / total
            return Timing(
                elapsed_ns=np.array([mean_ns]),
                notes=(
                    "this executor_runner prints no single times: each value is the mean of one invocation, "
                    "warm-up included, so p90 and p99 are those of invocations",
                ),
            )
        if [int(number) for number, _ in single] != list(range(1, total + 1)):
            raise NoFigures(f"printed {len(single)} times, not those of the iterations 1 to {total}")
        return Timing(
            elapsed_ns=np.array([_nanoseconds(ms, unit_ns=1e6) for _, ms in single[job.warm_up :]]),
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


class PerfTest(Runner):
    """ONNX Runtime's `onnxruntime_perf_test`: writes the time of every inference to a file; gives no outputs."""

    name = "onnxruntime_perf_test"
    inputs = "test_data_set_0"
    result = "times.csv"

    def write_inputs(
        self, folder: Path, values: Mapping[str, np.ndarray], *, file: ExportedFile, clip: int
    ) -> None:
        """One `TensorProto` per input, which the program finds beside the file."""
        for index, tensor in enumerate(file.inputs):
            array = tensor.arrange(values[tensor.name])
            (folder / f"input_{index}.pb").write_bytes(_tensor_proto(tensor, array))

    def command(self, job: Job) -> list[str]:
        """It runs one warm-up of its own before those that are dropped here."""
        runs = job.warm_up - 1 + job.count
        options = ["-m", "times", "-r", str(runs), "-x", str(job.threads), "-y", "1"]
        return [job.program, *options, f"./{MODEL}.onnx", self.result]

    def infer_command(self, job: Job) -> list[str]:
        """Not possible."""
        raise Unavailable(
            f"accuracy of {job.file.title}: onnxruntime_perf_test gives no outputs; measure accuracy on `host` or "
            "over ssh"
        )

    def timing(self, printed: str, *, job: Job) -> Timing:
        """Rows `name,seconds,peak working set in bytes,CPU usage in percent,number`."""
        rows = re.findall(r"^[^,\n]*,([^,\n]+),(\d+),-?\d+,(\d+)$", printed, re.MULTILINE)
        total = job.warm_up - 1 + job.count
        if [int(number) for *_, number in rows] != list(range(total)):
            raise NoFigures(
                f"wrote {len(rows)} times to {self.result}, not those of the runs 0 to {total - 1}"
            )
        elapsed_ns = [_nanoseconds(seconds, unit_ns=1e9) for seconds, *_ in rows[job.warm_up - 1 :]]
        memory = Memory(peak_rss_bytes=int(rows[-1][1]), model_rss_bytes=None)
        return Timing(elapsed_ns=np.array(elapsed_ns), memory=memory)

    def check_outputs(self, printed: str) -> None:
        """Never asked: `infer_command` refuses."""


RUNNERS: dict[str, Runner] = {
    "tflite": BenchmarkModel(),
    "executorch": ExecutorRunner(),
    "onnx": PerfTest(),
}
"""Runners by format."""


def _ignores_inputs(printed: str) -> bool:
    return re.search(r"Unconsumed cmdline flags:.*--input_layer", printed) is not None


def _nanoseconds(text: str | None, *, unit_ns: float) -> float:
    try:
        value = float(text or "") * unit_ns
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise NoFigures(f"printed the time {text!r}, which is not a positive number")
    return value


def _write_raw(folder: Path, values: Mapping[str, np.ndarray], *, file: ExportedFile, clip: int) -> None:
    for index, tensor in enumerate(file.inputs):
        (folder / f"{clip}-{index}.bin").write_bytes(tensor.arrange(values[tensor.name]).tobytes())


_PROTO_TYPES = {"float32": 1, "int32": 6, "int64": 7, "float16": 10}


def _tensor_proto(tensor: FileTensor, array: np.ndarray) -> bytes:
    """A serialized `TensorProto`: fields 1 dims, 2 data_type, 8 name, 9 raw_data (little-endian).

    Written here because the package onnx is not installed with this one. Source: onnx/onnx.proto of
    github.com/onnx/onnx, and https://protobuf.dev/programming-guides/encoding/
    """
    name, data = tensor.name.encode(), array.astype(array.dtype.newbyteorder("<")).tobytes()
    dims = b"".join(b"\x08" + _varint(size) for size in array.shape)
    return (
        dims
        + b"\x10"
        + _varint(_PROTO_TYPES[tensor.dtype])
        + b"\x42"
        + _varint(len(name))
        + name
        + b"\x4a"
        + _varint(len(data))
        + data
    )


def _varint(number: int) -> bytes:
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F)
    return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])
