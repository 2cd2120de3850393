"""Other quantizers on the float network of `compress.studies.quantization`, each with its defaults for int8."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export.emit.onnx.session import open_session

Calls = list[dict[str, np.ndarray]]
"""Inputs of single clips by name."""


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


def plain_pt2e(lowered: torch.fx.GraphModule, batches: list[tuple[Tensor, ...]]) -> torch.fx.GraphModule:
    """PT2E with ExecuTorch's `XNNPACKQuantizer`, per channel, on the lowered graph of one clip."""
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
    converted: torch.fx.GraphModule = convert_pt2e(prepared)
    return converted


def logits_of_file(path: Path, calls: Calls) -> np.ndarray:
    """First output of an ONNX file in ONNX Runtime on one thread, for every call."""
    session = open_session(path)
    return np.concatenate([session.run(None, call)[0] for call in calls])


def latencies_ms(files: Mapping[str, Path], call: dict[str, np.ndarray], *, rounds: int) -> dict[str, float]:
    """Median latency of each ONNX file on one thread; all files run in every round, which spreads noise evenly."""

    sessions = {name: open_session(path) for name, path in files.items()}
    times: dict[str, list[float]] = {name: [] for name in files}
    for session in sessions.values():
        session.run(None, call)
    for _ in range(rounds):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(None, call)
            times[name].append(1e3 * (time.perf_counter() - started))
    return {name: float(np.median(values)) for name, values in times.items()}
