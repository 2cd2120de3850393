"""Other quantizers on the float network of `compress.studies.quantization`, each with its defaults for int8.

A quantizer that is not installed has no row: AI Edge Quantizer and coreai-opt are not requirements of Pocketreel.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

Calls = list[dict[str, np.ndarray]]
"""Inputs of single clips by name, as the file takes them."""
Batches = list[tuple[Tensor, ...]]
"""Inputs of single clips in the order of the network."""


class FileQuantizer(NamedTuple):
    """Quantizes a float file of Pocketreel's."""

    format: str
    module: str
    install: str
    make: Callable[[Path, Calls, Path], None]
    """Called with the float file, calibration clips and the path of the result."""


class NetworkQuantizer(NamedTuple):
    """Quantizes the network of torch, whose result is evaluated in torch."""

    module: str
    install: str
    make: Callable[[GraphModule, Batches], torch.nn.Module]
    """Called with the lowered graph of one clip and calibration clips."""


def made_or_reason(quantizer: FileQuantizer | NetworkQuantizer, *given: Any) -> tuple[Any, str]:
    """What `make` returns, or the reason why a quantizer of others gave nothing."""
    if importlib.util.find_spec(quantizer.module.partition(".")[0]) is None:
        return None, f"not installed: {quantizer.install}"
    try:
        return quantizer.make(*given), ""
    # Any other package may fail in any way on a network that it does not support; the study reports how.
    except Exception as error:
        return None, f"{type(error).__name__}: {str(error).splitlines()[0]}"


def onnxruntime_static(floats: Path, calls: Calls, out: Path) -> None:
    """ONNX Runtime's static quantization: QDQ, uint8 activations by their extremes, int8 weights per channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Gives one call after the other."""

        def __init__(self) -> None:
            self._left = iter(calls)

        def get_next(self) -> dict[str, np.ndarray] | None:
            """The next call; None at the end."""
            return next(self._left, None)

    quantize_static(
        floats,
        out,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def nncf_default(floats: Path, calls: Calls, out: Path) -> None:
    """NNCF's post-training quantization without Pocketreel's passes, with its own defaults but for one.

    By default the inputs of depthwise layers have a scale per channel, with which ONNX Runtime refuses to run them.
    """
    import nncf
    import onnx

    nncf.set_log_level(40)  # errors only
    parameters = nncf.quantization.advanced_parameters
    whole_tensors = nncf.AdvancedQuantizationParameters(
        activations_quantization_params=parameters.QuantizationParameters(per_channel=False)
    )
    model = nncf.quantize(
        onnx.load(floats), nncf.Dataset(calls), subset_size=len(calls), advanced_parameters=whole_tensors
    )
    onnx.save(model, out)


def ai_edge_static(floats: Path, calls: Calls, out: Path) -> None:
    """AI Edge Quantizer's recipe for static int8: weights per channel, activations by their extremes."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    (signature,) = Interpreter(str(floats)).get_signature_list()
    made = quantizer.Quantizer(str(floats), recipe.static_wi8_ai8())
    ranges = made.calibrate({signature: calls}, num_threads=1)
    made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).export_model(str(out))


def plain_pt2e(lowered: GraphModule, batches: Batches) -> GraphModule:
    """PT2E with ExecuTorch's `XNNPACKQuantizer`, per channel."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    graph = torch.export.export(lowered, batches[0]).module(check_guards=False)
    prepared = prepare_pt2e(graph, quantizer)
    with torch.no_grad():
        for batch in batches:
            prepared(*batch)
    converted: GraphModule = convert_pt2e(prepared)
    return converted


def coreai_default(lowered: GraphModule, batches: Batches) -> torch.nn.Module:
    """Apple's coreai-opt with its default configuration: int8 weights and activations."""
    from coreai_opt.common import ExportBackend
    from coreai_opt.quantization import Quantizer, QuantizerConfig

    quantizer = Quantizer(lowered, QuantizerConfig())
    prepared = quantizer.prepare(batches[0])
    with quantizer.calibration_mode(), torch.no_grad():
        for batch in batches:
            prepared(*batch)
    finished: torch.nn.Module = quantizer.finalize(backend=ExportBackend.Torch)
    return finished


FILE_QUANTIZERS: Mapping[str, FileQuantizer] = {
    "NNCF": FileQuantizer("onnx", "nncf", "pip install nncf", nncf_default),
    "ONNX Runtime static": FileQuantizer(
        "onnx", "onnxruntime.quantization", "pip install onnxruntime", onnxruntime_static
    ),
    "AI Edge Quantizer": FileQuantizer(
        "tflite", "ai_edge_quantizer", "pip install ai-edge-quantizer", ai_edge_static
    ),
}
NETWORK_QUANTIZERS: Mapping[str, NetworkQuantizer] = {
    "plain PT2E": NetworkQuantizer("torchao", "pip install torchao", plain_pt2e),
    "coreai-opt": NetworkQuantizer("coreai_opt", "pip install coreai-opt", coreai_default),
}
