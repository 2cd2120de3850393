"""Stands for ExecuTorch's `executor_runner`: runs the file in the Python binding and prints what that one prints.

Form of arguments and output: examples/portable/executor_runner/executor_runner.cpp. As on Android, its messages go
to the system log (runtime/platform/default/android.cpp), here a file that the emulated `logcat` reads.
"""

import os
import sys
import time
from pathlib import Path

import torch
from executorch.runtime import Runtime

flags = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
log = Path(os.environ["EMULATED_LOG"], str(os.getpid())).open("w")  # noqa: SIM115 (open until the end)
method = Runtime.get().load_program(Path(flags["model_path"])).load_method(flags["method_name"])
print(f"Using method {flags['method_name']}", file=log)
inputs = []
for number, path in enumerate(flags["inputs"].split(",")):
    meta = method.metadata.input_tensor_meta(number)
    dtype = {6: torch.float32, 4: torch.int64}[meta.dtype()]
    inputs.append(torch.frombuffer(bytearray(Path(path).read_bytes()), dtype=dtype).reshape(meta.sizes()))
count, total_ms = int(flags["num_executions"]), 0.0
for number in range(1, count + 1):
    begin = time.perf_counter()
    outputs = method.execute(inputs)
    elapsed_ms = (time.perf_counter() - begin) * 1e3
    total_ms += elapsed_ms
    print(f"Iteration {number} of {count}: {elapsed_ms:f} ms", file=log)
print(f"Model executed successfully {count} time(s) in {total_ms:f} ms.", file=log)
for number, output in enumerate(outputs):
    if "output_file" in flags:
        Path(f"{flags['output_file']}-{number}.bin").write_bytes(output.numpy().tobytes())
    print(f"OutputX {number}: tensor(sizes={list(output.shape)})")
