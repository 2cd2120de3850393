"""Files of networks with one input and one output, written in this process and run by their runtime."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from export import EXPORTERS
from export.capture import capture
from export.lower import lower
from export.manifest import FileSpec, TensorInfo, WrittenFile
from export.reference import calibrate, convert, prepare


def graph_of(model: nn.Module, x: Tensor, *, scheme: str) -> fx.GraphModule:
    """What a file of `model` has to compute: the lowered network, or its int8 reference."""
    model(x)
    graph = lower(capture(model.eval(), (x,)))
    if scheme != "w8a8":
        return graph
    prepared = prepare(graph)
    calibrate(prepared, [(torch.randn_like(x) * x.std(),) for _ in range(3)] + [(x,)])
    return convert(prepared)


def write(graph: fx.GraphModule, x: Tensor, folder: Path, *, format: str, scheme: str) -> WrittenFile:
    """A file of `graph`."""
    exporter = EXPORTERS[format]
    values = {"x": x, "y": graph(x)}
    x_info, y_info = (
        TensorInfo(name=name, shape=tuple(t.shape), dtype="float32", layout="NCTHW"[: t.dim()])
        for name, t in values.items()
    )
    spec = FileSpec(inputs=(x_info,), outputs=(y_info,), description={})
    program = torch.export.export(graph, (x,))
    return import_module(exporter.module).write(
        program, folder / f"model{exporter.extension}", spec=spec, scheme=scheme
    )


def _of_tflite(path: Path, x: Tensor) -> Tensor:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x.numpy())
    interpreter.invoke()
    return torch.from_numpy(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def _of_executorch(path: Path, x: Tensor) -> Tensor:
    from executorch.runtime import Runtime

    return Runtime.get().load_program(path).load_method("forward").execute([x])[0].clone()


def _of_onnx(path: Path, x: Tensor) -> Tensor:
    from export.onnx_session import open_session

    return torch.from_numpy(open_session(str(path)).run(None, {"x": x.numpy()})[0])


ANSWERS: dict[str, Callable[[Path, Tensor], Tensor]] = {
    "tflite": _of_tflite,
    "executorch": _of_executorch,
    "onnx": _of_onnx,
}
"""What a file of each format answers to an input."""
