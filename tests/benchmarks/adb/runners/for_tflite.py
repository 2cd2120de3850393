"""Stands for LiteRT's `benchmark_model`: runs the file in ai_edge_litert and prints what that one prints.

Form of arguments and output: tflite/tools/benchmark/benchmark_model.cc and benchmark_tflite_model.cc; with
`TROUBLE=no_inputs` that of litert/tools/benchmark_litert_model.h, a tool of the same name. The statistics are those
of tsl/util/stats_calculator.h.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

trouble = os.environ.get("TROUBLE")
flags = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
print("INFO: STARTING!")
if trouble == "no_inputs":
    unknown = [one for one in sys.argv[1:] if one.startswith(("--input_layer", "--output_filepath"))]
    print(f"WARN: Unconsumed cmdline flags: {' '.join(unknown)}")
try:
    interpreter = Interpreter(flags["graph"], num_threads=int(flags["num_threads"]))
except ValueError as error:
    print(f"ERROR: Failed to load model {flags['graph']}\nERROR: {error}\nERROR: Benchmarking failed.")
    sys.exit(1)
interpreter.allocate_tensors()
details = interpreter.get_input_details()
if trouble == "no_inputs":
    values = [np.zeros(one["shape"], one["dtype"]) for one in details]
else:
    shapes = [tuple(map(int, shape.split(","))) for shape in flags["input_layer_shape"].split(":")]
    files = [one.split(":")[1] for one in flags["input_layer_value_files"].split(",")]
    values = []
    for one, shape, path in zip(details, shapes, files, strict=True):
        data = Path(path).read_bytes()
        expected = int(np.prod(one["shape"])) * np.dtype(one["dtype"]).itemsize
        if tuple(one["shape"]) != shape or len(data) != expected:
            print(
                f"FATAL: The size of {path} is {len(data)} bytes. It should be {expected} bytes.",
                file=sys.stderr,
            )
            os.abort()
        values.append(np.frombuffer(data, one["dtype"]).reshape(shape))


def run(count):
    times_us = []
    for _ in range(count):
        for one, value in zip(details, values, strict=True):
            interpreter.set_tensor(one["index"], value)
        begin = time.perf_counter()
        interpreter.invoke()
        times_us.append(int((time.perf_counter() - begin) * 1e6))
    if not times_us:
        print("INFO: count=0 p5=0 median=0 p95=0")
        return
    ordered = sorted(times_us)
    p5, median, p95 = (ordered[len(ordered) * share // 100] for share in (5, 50, 95))
    spread = f"min={ordered[0]} max={ordered[-1]} avg={np.mean(times_us):g} std={np.std(times_us):.0f}"
    same = f"curr={times_us[-1]}{'(all same)' if count > 1 else ''}"
    text = same if ordered[0] == ordered[-1] else f"first={times_us[0]} curr={times_us[-1]} {spread}"
    print(f"INFO: count={count} {text} p5={p5} median={median} p95={p95}\n")


run(int(flags["warmup_runs"]))
run(int(flags["num_runs"]))
print("INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=3.25")
if "output_filepath" in flags and trouble != "no_inputs":
    outputs = [interpreter.get_tensor(one["index"]).tobytes() for one in interpreter.get_output_details()]
    Path(flags["output_filepath"]).write_bytes(b"".join(outputs))
