"""Runs written files in LiteRT, for the tests of its writer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx, nn

from export.capture.graph import capture
from export.emit.tflite.writer import write
from export.lower import lower
from export.manifest import FileSpec, TensorInfo, WrittenFile
from export.quantize.int8_reference import calibrate, convert, prepare
from models.spec import as_tuple

CLIP = (1, 3, 8, 12, 10)
LETTERS = {5: "NCTHW", 4: "NCTH", 3: "NCT", 2: "NK"}


def file_spec_of(inputs: dict[str, Tensor], outputs: tuple[Tensor, ...]) -> FileSpec:
    """Clips as N T H W C, other tensors in torch's layout."""

    def info(name: str, tensor: Tensor) -> TensorInfo:
        dtype = {torch.int64: "int32"}.get(tensor.dtype, "float32")
        if tensor.dim() == 5 and name == "clip":
            n, c, t, h, w = tensor.shape
            return TensorInfo(name=name, shape=(n, t, h, w, c), dtype=dtype, layout="NTHWC")
        return TensorInfo(name=name, shape=tuple(tensor.shape), dtype=dtype, layout=LETTERS[tensor.dim()])

    return FileSpec(
        inputs=tuple(info(name, tensor) for name, tensor in inputs.items()),
        outputs=tuple(info(f"output{i}", tensor) for i, tensor in enumerate(outputs)),
        description={},
    )


class Written:
    """A written file in its runtime."""

    def __init__(self, file: WrittenFile) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.file = file
        self.interpreter = Interpreter(model_path=str(file.path), num_threads=1)
        self.interpreter.allocate_tensors()
        self.tensors = {detail["index"]: detail for detail in self.interpreter.get_tensor_details()}
        self.ops = self.interpreter._get_ops_details()

    def __call__(self, **inputs: Tensor) -> list[np.ndarray]:
        layouts = {info.name: info.layout for info in self.file.inputs}
        given = {}
        for name, tensor in inputs.items():
            moved = tensor.permute(0, 2, 3, 4, 1) if layouts[name] == "NTHWC" else tensor
            given[name] = (
                moved.contiguous().numpy().astype(np.int32 if tensor.dtype == torch.int64 else np.float32)
            )
        result = self.interpreter.get_signature_runner("serving_default")(**given)
        return [result[info.name] for info in self.file.outputs]

    def counts(self) -> Counter[str]:
        """Operators by kind; `DELEGATE` counts partitions."""
        return Counter(op["op_name"] for op in self.ops)

    def computed_dtypes(self) -> Counter[tuple[str, str]]:
        """(kind, result type) of every operator but the delegate."""
        return Counter(
            (op["op_name"], self.tensors[op["outputs"][0]]["dtype"].__name__)
            for op in self.ops
            if op["op_name"] != "DELEGATE"
        )

    def is_one_partition(self) -> bool:
        """Whether XNNPACK computes everything between inputs and outputs."""
        delegates = [op for op in self.ops if op["op_name"] == "DELEGATE"]
        ends = {detail["index"] for detail in self.interpreter.get_output_details()}
        return len(delegates) == 1 and set(delegates[0]["outputs"]) == ends


def written(
    model: nn.Module,
    inputs: dict[str, Tensor],
    tmp_path: Path,
    *,
    lowering: bool = False,
    scheme: str = "fp32",
) -> Written:
    example = tuple(inputs.values())
    program = capture(model, example)
    if lowering:
        program = capture(lower(program), example)
    spec = file_spec_of(inputs, as_tuple(model(*example)))
    return Written(write(program, tmp_path / "model.tflite", spec=spec, scheme=scheme))


def error_of(file: Written, model: nn.Module, inputs: dict[str, Tensor]) -> float:
    """Largest difference from torch, relative to the largest number."""
    with torch.no_grad():
        expected = as_tuple(model(*inputs.values()))
    pairs = zip(file(**inputs), expected, strict=True)
    return max(float(np.abs(given - want.numpy()).max() / want.abs().max()) for given, want in pairs)


def quantized(model: nn.Module, inputs: dict[str, Tensor], tmp_path: Path) -> tuple[fx.GraphModule, Written]:
    """The torch int8 reference of `model` and the file written from it."""
    example = tuple(inputs.values())
    prepared = prepare(lower(capture(model, example)), scheme="w8a8", qat=False)
    torch.manual_seed(0)
    calibrate(prepared, [tuple(torch.rand_like(tensor) for tensor in example) for _ in range(4)])
    reference = convert(prepared)
    spec = file_spec_of(inputs, as_tuple(model(*example)))
    program = torch.export.export(reference, example)
    return reference, Written(write(program, tmp_path / "model.tflite", spec=spec, scheme="w8a8"))


def step_of(file: Written, position: int = 0) -> float:
    """Scale of an output's int8 numbers."""
    index = file.interpreter.get_output_details()[position]["index"]
    (last,) = (op for op in file.ops if op["op_name"] == "DEQUANTIZE" and op["outputs"][0] == index)
    return file.tensors[last["inputs"][0]]["quantization"][0]
