"""ONNX Runtime's `onnxruntime_perf_test`.

Sources of its options and its output: github.com/microsoft/onnxruntime, `onnxruntime/test/perftest/`:
`command_args_parser.cc`, `performance_runner.cc` and `README.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.adb.invocation import MODEL, Job, NoFigures, Runner, Timing, nanoseconds
from benchmarks.device import Memory, Unavailable
from benchmarks.files import ExportedFile, FileTensor


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
        elapsed_ns = [nanoseconds(seconds, unit_ns=1e9) for seconds, *_ in rows[job.warm_up - 1 :]]
        memory = Memory(peak_rss_bytes=int(rows[-1][1]), model_rss_bytes=None)
        return Timing(elapsed_ns=np.array(elapsed_ns), memory=memory)

    def check_outputs(self, printed: str) -> None:
        """Never asked: `infer_command` refuses."""


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
