"""Files of networks with one input, written in this process and run in their runtime."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from export import EXPORTERS
from export.capture.graph import capture
from export.lower import lower
from export.manifest import FileSpec, TensorInfo, WrittenFile
from export.quantize.int8_reference import calibrate, convert, prepare
from models.spec import as_tuple


def graph_of(model: nn.Module, x: Tensor, *, scheme: str) -> fx.GraphModule:
    """The reference for a file of `model`: the lowered network, or its int8 reference."""
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
    outputs = as_tuple(graph(x))
    names = ["y"] if len(outputs) == 1 else [f"y{number}" for number in range(len(outputs))]
    x_info, *y_infos = (
        TensorInfo(name=name, shape=tuple(t.shape), dtype="float32", layout="NCTHW"[: t.dim()])
        for name, t in (("x", x), *zip(names, outputs, strict=True))
    )
    spec = FileSpec(inputs=(x_info,), outputs=tuple(y_infos), description={})
    program = torch.export.export(graph, (x,))
    return import_module(exporter.module).write(
        program, folder / f"model{exporter.extension}", spec=spec, scheme=scheme
    )


def _of_tflite(path: Path, x: Tensor) -> list[Tensor]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    signatures = interpreter.get_signature_list()
    if signatures:  # whose outputs have names; the list of details has another order
        ((key, signature),) = signatures.items()
        run = interpreter.get_signature_runner(key)
        found = run(**{signature["inputs"][0]: x.numpy()})
        return [torch.from_numpy(found[name]) for name in sorted(found, key=_number)]
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x.numpy())
    interpreter.invoke()
    details = interpreter.get_output_details()
    return [torch.from_numpy(interpreter.get_tensor(one["index"])) for one in details]


def _number(name: str) -> tuple[int, str]:
    return len(name), name


def _of_executorch(path: Path, x: Tensor) -> list[Tensor]:
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")
    return [one.clone() for one in method.execute([x])]


def _of_onnx(path: Path, x: Tensor) -> list[Tensor]:
    from export.emit.onnx.session import open_session

    return [torch.from_numpy(one) for one in open_session(str(path)).run(None, {"x": x.numpy()})]


ALL_ANSWERS: dict[str, Callable[[Path, Tensor], list[Tensor]]] = {
    "tflite": _of_tflite,
    "executorch": _of_executorch,
    "onnx": _of_onnx,
}
"""Outputs of a file of each format for an input."""


def _only(format: str) -> Callable[[Path, Tensor], Tensor]:
    def answer(path: Path, x: Tensor) -> Tensor:
        (given,) = ALL_ANSWERS[format](path, x)
        return given

    return answer


ANSWERS = {format: _only(format) for format in ALL_ANSWERS}
"""The same for files with one output."""
