"""The runtimes of exported files: how files of each format are loaded and run.

Used in worker processes. torch and runtimes are imported only on use, because imports count in the peak memory that
a worker reports.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.device import Unavailable
from benchmarks.files import ExportedFile
from benchmarks.private import executorch, litert
from compress.command.processor import lacks_vnni

_CLIP_SIGNATURE = "serving_default"
"""Name of the program for clips in a LiteRT file with several programs."""

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""Runs a file: inputs to outputs, both in the order, layout and dtype of `manifest.json`."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The runtime of one format: its name, its distribution, and its loader."""

    name: str
    module: str
    """Imported by `start`, before `load`, so that the memory of the library is not attributed to the file."""
    distribution: str
    install: str
    """Command that installs it."""
    load: Callable[[ExportedFile, int], Run]
    """`load(file, threads)`; raises what the runtime raises, and ValueError if the file differs from the
    manifest."""
    system: str | None = None
    """The only supported `platform.system()`; None = all."""
    elsewhere: str = ""
    """Message on other systems."""
    notes: tuple[str, ...] = ()
    """Notes on every figure."""
    importing: Callable[[], AbstractContextManager[None]] = nullcontext
    """Context in which `module` is imported."""

    def start(self) -> str:
        """Imports the runtime; returns its name and version. Raises `Unavailable` with a remedy."""
        if self.system is not None and platform.system() != self.system:
            raise Unavailable(self.elsewhere)
        try:
            with self.importing():
                importlib.import_module(self.module)
        except ImportError as error:
            raise Unavailable(f"{self.name} cannot be imported ({error}): {self.install}") from error
        return f"{self.name} {version(self.distribution)}"


def onnx_session(onnxruntime: Any, path: Path, options: Any) -> Any:
    """A session whose integer products are exact, also on x86 processors without VNNI.

    There ONNX Runtime is told to run int8 weights as uint8, in exact and slower kernels
    (`docs/export-manifest.md`). Raises ValueError for a file that it cannot open so, although it can otherwise:
    its outputs could be wrong on this processor. This project writes no such files.
    """
    exact, providers = "session.x64quantprecision", ["CPUExecutionProvider"]
    if not lacks_vnni():
        return onnxruntime.InferenceSession(path, options, providers=providers)
    options.add_session_config_entry(exact, "1")
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:
        options.add_session_config_entry(exact, "0")
        onnxruntime.InferenceSession(path, options, providers=providers)  # raises what is wrong with the file
        raise ValueError(
            "this processor has no VNNI, and ONNX Runtime cannot open the file with exact integer products "
            f"({exact} = 1: {error}); its outputs could be wrong here: run it on a processor with VNNI or on ARM"
        ) from error


def _load_onnx(file: ExportedFile, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnx_session(onnxruntime, file.path, options)
    _check_names(
        file,
        inputs=[node.name for node in session.get_inputs()],
        outputs=[node.name for node in session.get_outputs()],
    )
    input_names = [tensor.name for tensor in file.inputs]
    output_names = [tensor.name for tensor in file.outputs]

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return session.run(output_names, dict(zip(input_names, arrays, strict=True)))

    return run


def _load_tflite(file: ExportedFile, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file.path), num_threads=threads)
    signatures = list(interpreter.get_signature_list())
    wanted = file.entry or (signatures[0] if len(signatures) == 1 else _CLIP_SIGNATURE)
    if wanted not in signatures:
        raise ValueError(
            f"the file has the signatures {', '.join(signatures) or 'none'}; {wanted!r} must name its inputs and "
            "outputs"
        )
    signature = interpreter.get_signature_runner(wanted)
    inputs, outputs = signature.get_input_details(), signature.get_output_details()
    _check_names(file, inputs=list(inputs), outputs=list(outputs))
    input_indices = [inputs[tensor.name]["index"] for tensor in file.inputs]
    output_indices = [outputs[tensor.name]["index"] for tensor in file.outputs]

    return litert.runner(interpreter, signature, inputs=input_indices, outputs=output_indices)


def _load_executorch(file: ExportedFile, threads: int) -> Run:
    import torch
    from executorch.runtime import Runtime as ExecuTorch

    given_threads = executorch.use_threads(threads)
    if given_threads != threads:
        raise Unavailable(f"ExecuTorch uses {given_threads} threads instead of the requested {threads}")
    method = ExecuTorch.get().load_program(file.path).load_method(file.entry or "forward")
    _check_count("inputs", described=len(file.inputs), found=method.metadata.num_inputs())
    _check_count("outputs", described=len(file.outputs), found=method.metadata.num_outputs())

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [logits.numpy() for logits in method.execute([torch.from_numpy(array) for array in arrays])]

    return run


def _load_coreml(file: ExportedFile, _: int) -> Run:
    import coremltools

    model = coremltools.models.MLModel(str(file.path), compute_units=coremltools.ComputeUnit.ALL)
    description = model.get_spec().description
    _check_names(
        file,
        inputs=[feature.name for feature in description.input],
        outputs=[feature.name for feature in description.output],
    )
    input_names = [tensor.name for tensor in file.inputs]
    output_names = [tensor.name for tensor in file.outputs]

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        logits = model.predict(dict(zip(input_names, arrays, strict=True)))
        return [logits[name] for name in output_names]

    return run


def _load_openvino(file: ExportedFile, threads: int) -> Run:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # Its default is bfloat16 where the processor supports it, which is not comparable with the others.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = openvino.Core().compile_model(file.path, "CPU", settings)
    request = model.create_infer_request()
    outputs = [model.output(tensor.name) for tensor in file.outputs]

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        given = request.infer(list(arrays))
        return [given[output] for output in outputs]

    return run


def _check_names(file: ExportedFile, *, inputs: list[str], outputs: list[str]) -> None:
    for what, tensors, found in (("inputs", file.inputs, inputs), ("outputs", file.outputs, outputs)):
        described = [tensor.name for tensor in tensors]
        if sorted(described) != sorted(found):
            raise ValueError(
                f"manifest.json describes the {what} {', '.join(described)}, but the file has "
                f"{', '.join(found)}; export again"
            )


def _check_count(what: str, *, described: int, found: int) -> None:
    if described != found:
        raise ValueError(
            f"manifest.json describes {described} {what}, but the file has {found}; export again"
        )


_EXTRA = "pip install '.[{}]' in a checkout of Pocketreel"
"""Installs the runtime of one format, by the extra of its name."""

RUNTIMES: dict[str, Runtime] = {
    "onnx": Runtime(
        name="ONNX Runtime",
        module="onnxruntime",
        distribution="onnxruntime",
        install=_EXTRA.format("onnx"),
        load=_load_onnx,
    ),
    "tflite": Runtime(
        name="LiteRT",
        module="ai_edge_litert.interpreter",
        distribution="ai-edge-litert",
        install=_EXTRA.format("tflite"),
        load=_load_tflite,
    ),
    "executorch": Runtime(
        name="ExecuTorch",
        module="executorch.runtime",
        importing=executorch.without_exporter,
        distribution="executorch",
        install=_EXTRA.format("executorch"),
        load=_load_executorch,
    ),
    "coreml": Runtime(
        name="Core ML",
        module="coremltools",
        distribution="coremltools",
        install=_EXTRA.format("coreml"),
        load=_load_coreml,
        system="Darwin",
        elsewhere="Core ML runs on Apple systems only; the file is converted, not measured",
        notes=("Core ML chooses its compute units and threads itself",),
    ),
}
"""Runtimes by format. A new format is one line here and one loader."""

PEERS: dict[str, Runtime] = {
    "openvino": Runtime(
        name="OpenVINO",
        module="openvino",
        distribution="openvino",
        install="pip install openvino",
        load=_load_openvino,
        notes=("a runtime for desktop processors, measured for comparison; not an export format",),
    ),
}
"""Runtimes that are measured for comparison, by a name in place of a format."""
