"""Opens model files of any origin in their own runtimes, without a manifest: `.onnx`, `.tflite` and `.pt2`.

A file describes its inputs and outputs itself. Used in worker processes (`host_process`); runtimes are imported on
use. Loading a `.pt2` unpickles constants and may so run any code that its author put in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.files import ExportedFile
from benchmarks.runtimes import RUNTIMES, Run, Runtime, onnx_session

SUFFIXES = {".onnx": "onnx", ".tflite": "tflite", ".pt2": "pt2"}
"""Formats of files by the end of their name."""


@dataclass(frozen=True, kw_only=True)
class OpenTensor:
    """An input or output as the file describes it."""

    name: str
    shape: tuple[int | None, ...]
    """None stands for an axis of any size."""
    dtype: str
    """A name of NumPy."""
    scale: float = 0.0
    """Of a quantized tensor, `value = scale * (number - zero_point)`; 0 for any other."""
    zero_point: int = 0

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Real values in the type of this tensor. Raises ValueError for values that an integer type cannot hold."""
        kind = np.dtype(self.dtype)
        if not np.issubdtype(kind, np.integer):
            return np.ascontiguousarray(values, kind)
        bounds = np.iinfo(kind)
        numbers = np.rint(values / self.scale + self.zero_point) if self.scale else np.rint(values)
        if self.scale:  # the usual saturation of quantized tensors
            numbers = numbers.clip(bounds.min, bounds.max)
        if numbers.size and (numbers.min() < bounds.min or numbers.max() > bounds.max):
            raise ValueError(
                f"input {self.name!r} is {self.dtype}, but the values go from {values.min():g} to "
                f"{values.max():g}"
            )
        return np.ascontiguousarray(numbers.astype(kind))

    def real(self, numbers: np.ndarray) -> np.ndarray:
        """The values of stored numbers, float32."""
        values = numbers.astype(np.float32)
        return (values - self.zero_point) * np.float32(self.scale) if self.scale else values


@dataclass(frozen=True, kw_only=True)
class Interface:
    """The inputs and outputs of a file, and its runtime."""

    runtime: str
    """Name and version."""
    inputs: tuple[OpenTensor, ...]
    outputs: tuple[OpenTensor, ...]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An open file."""

    inputs: tuple[OpenTensor, ...]
    outputs: tuple[OpenTensor, ...]
    execute: Run
    """Stored inputs to stored outputs."""

    def run(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Real values of all inputs to those of all outputs, float32, in the order of the file."""
        given = self.execute(
            [tensor.stored(array) for tensor, array in zip(self.inputs, values, strict=True)]
        )
        return [tensor.real(np.asarray(array)) for tensor, array in zip(self.outputs, given, strict=True)]


def _open_onnx(path: Path, threads: int) -> Opened:
    import onnx
    import onnxruntime

    described = onnx.load(str(path), load_external_data=False)
    elsewhere = onnx.TensorProto.EXTERNAL
    if any(tensor.data_location == elsewhere for tensor in described.graph.initializer):
        raise ValueError(
            "its weights are in another file, which the key of the run does not cover; save the model as one file, "
            "by onnx.save(onnx.load(path), path, save_as_external_data=False)"
        )
    del described
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnx_session(onnxruntime, path, options)
    inputs, outputs = (
        tuple(_onnx_tensor(node) for node in nodes) for nodes in (session.get_inputs(), session.get_outputs())
    )

    def execute(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return session.run(None, {tensor.name: array for tensor, array in zip(inputs, arrays, strict=True)})

    return Opened(inputs=inputs, outputs=outputs, execute=execute)


def _onnx_tensor(node: Any) -> OpenTensor:
    known = {"tensor(float)": "float32", "tensor(double)": "float64"}
    plain = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return OpenTensor(name=node.name, shape=shape, dtype=known.get(node.type, plain))


def _open_tflite(path: Path, threads: int) -> Opened:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    rows = interpreter.get_input_details(), interpreter.get_output_details()
    inputs, outputs = (tuple(_tflite_tensor(row) for row in each) for each in rows)
    interpreter.allocate_tensors()
    now = [tuple(row["shape"].tolist()) for row in rows[0]]

    def execute(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        shapes = [array.shape for array in arrays]
        if shapes != now:
            for row, shape in zip(rows[0], shapes, strict=True):
                interpreter.resize_tensor_input(row["index"], shape)
            interpreter.allocate_tensors()
            now[:] = shapes
        for row, array in zip(rows[0], arrays, strict=True):
            interpreter.set_tensor(row["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(row["index"]) for row in rows[1]]

    return Opened(inputs=inputs, outputs=outputs, execute=execute)


def _tflite_tensor(row: dict[str, Any]) -> OpenTensor:
    scales, zeros = row["quantization_parameters"]["scales"], row["quantization_parameters"]["zero_points"]
    if len(scales) > 1:
        raise ValueError(f"tensor {row['name']!r} has a scale for each channel; inputs and outputs have one")
    return OpenTensor(
        name=row["name"],
        shape=tuple(None if size == -1 else int(size) for size in row["shape_signature"]),
        dtype=np.dtype(row["dtype"]).name,
        scale=float(scales[0]) if len(scales) else 0.0,
        zero_point=int(zeros[0]) if len(scales) else 0,
    )


def _open_program(path: Path, threads: int) -> Opened:
    import torch

    torch.set_num_threads(threads)
    program = torch.export.load(path)
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs, outputs = (
        tuple(_program_tensor(name, values) for name in names)
        for names in (program.graph_signature.user_inputs, program.graph_signature.user_outputs)
    )
    module = program.module()

    def execute(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            given = module(*(torch.from_numpy(array) for array in arrays))
        columns = list(given.values()) if isinstance(given, dict) else given
        return [column.numpy() for column in ([columns] if isinstance(columns, torch.Tensor) else columns)]

    return Opened(inputs=inputs, outputs=outputs, execute=execute)


def _program_tensor(name: object, values: dict[str, Any]) -> OpenTensor:
    value = values.get(str(name))
    if value is None or not hasattr(value, "shape"):
        raise ValueError(f"{name!r} is not a tensor; inputs and outputs of the program must be tensors")
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return OpenTensor(name=str(name), shape=shape, dtype=str(value.dtype).removeprefix("torch."))


READ_ONLY: dict[str, Runtime] = {
    "pt2": Runtime(
        name="torch.export",
        module="torch",
        distribution="torch",
        install="pip install torch",
        load=lambda file, threads: _open_program(file.path, threads).execute,
    ),
}
"""Runtimes of files that are read and not written."""

_OPENERS: dict[str, Callable[[Path, int], Opened]] = {
    "onnx": _open_onnx,
    "tflite": _open_tflite,
    "pt2": _open_program,
}


def runtime_of(path: Path) -> Runtime:
    """The runtime of a file, by the end of its name."""
    return (RUNTIMES | READ_ONLY)[SUFFIXES[path.suffix]]


def any_file(path: Path) -> ExportedFile:
    """A file without a manifest, for `Worker.open`."""
    return ExportedFile(
        format=SUFFIXES[path.suffix],
        scheme="",
        path=path,
        size_bytes=path.stat().st_size,
        inputs=(),
        outputs=(),
    )


def open_any(file: ExportedFile, threads: int) -> Opened:
    """Opens a file of `any_file`; raises what the runtime raises, and ValueError for one that cannot be used."""
    return _OPENERS[file.format](file.path, threads)
