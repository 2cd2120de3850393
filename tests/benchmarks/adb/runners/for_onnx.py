"""Stands for ONNX Runtime's `onnxruntime_perf_test`: runs the file in onnxruntime and writes what that one writes.

Form of arguments and output: onnxruntime/test/perftest/command_args_parser.cc and performance_runner.cc.
"""

import os
import resource
import signal
import sys
import time
from pathlib import Path

import onnx
import onnxruntime
from onnx import numpy_helper

options = dict(zip(sys.argv[1:-2:2], sys.argv[2:-2:2], strict=True))
assert options.keys() == {"-m", "-r", "-x", "-y"} and options["-m"] == "times", options
model, result = map(Path, sys.argv[-2:])
settings = onnxruntime.SessionOptions()
settings.intra_op_num_threads, settings.inter_op_num_threads = int(options["-x"]), int(options["-y"])
try:
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
except Exception as error:
    print(error, file=sys.stderr)
    sys.exit(255)
feeds = {}
for path in sorted((model.parent / "test_data_set_0").glob("input_*.pb")):
    tensor = onnx.TensorProto.FromString(path.read_bytes())
    feeds[tensor.name] = numpy_helper.to_array(tensor)
trouble = os.environ.get("TROUBLE")
session.run(None, feeds)
if trouble == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if trouble == "hangs":
    time.sleep(600)
times = []
for _ in range(int(options["-r"])):
    begin = time.perf_counter()
    session.run(None, feeds)
    times.append(time.perf_counter() - begin)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
if trouble == "garbage":
    sys.stdout.buffer.write(b"\xff\xfe\x1b[2J P50 Latency: -nan s\nhealthd: battery l=83 v=4,1\n\x00\n")
    sys.stdout.flush()
print(f"Session creation time cost: 0.01 s\nTotal inference requests: {len(times)}")
print(
    f"Average inference time cost: {sum(times) / len(times) * 1000:.6g} ms\nPeak working set size: {peak} bytes"
)
with result.open("a") as stream:
    for number, seconds in enumerate(times[:-1] if trouble == "loses_a_line" else times):
        written = "-nan" if trouble == "not_a_number" else f"{seconds:.6g}"
        stream.write(f"{model.absolute().parent.name},{written},{peak},97,{number}\n")
