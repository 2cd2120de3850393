"""The runners of the runtimes, prebuilt programs whose paths the user gives."""

from __future__ import annotations

from benchmarks.adb.benchmark_model import BenchmarkModel
from benchmarks.adb.executor_runner import ExecutorRunner
from benchmarks.adb.invocation import Runner
from benchmarks.adb.perftest import PerfTest

RUNNERS: dict[str, Runner] = {
    "tflite": BenchmarkModel(),
    "executorch": ExecutorRunner(),
    "onnx": PerfTest(),
}
"""Runners by format."""
