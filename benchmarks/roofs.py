"""Roofs of a device: the multiply-adds per second and the memory bandwidth that ONNX Runtime reaches on it.

A matrix product in float, one in int8, and a tensor larger than most caches that is written and read. The share of
a file in the roof says how well its network uses the processor. Williams, Waterman and Patterson, Roofline: an
insightful visual performance model, Communications of the ACM 52 (2009).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.device import Device, SessionFailed, Unavailable
from benchmarks.files import ExportedFile, FileTensor
from benchmarks.steady import inferences_in, warm_up

ROWS, COLUMNS = 256, 512
"""The product is `ROWS x COLUMNS` times `COLUMNS x COLUMNS`: large enough for fast kernels, and so short that some
inferences are not interrupted on a busy machine."""
ELEMENTS = 2**24
"""Number of float32 values that are written and read: 64 MiB."""
_TIME_S = 1.0
_MOST_INFERENCES = 1000


@dataclass(frozen=True, kw_only=True)
class Roofs:
    """Roofs of one device with a number of threads; None with the reason in `absent`."""

    float_macs_per_s: float | None
    int8_macs_per_s: float | None
    bytes_per_s: float | None
    """Memory traffic of writing and reading a tensor."""
    absent: str | None = None
    runtime: str | None = None
    """Name and version of the runtime."""
    measured: str | None = None
    """When they were measured, in UTC, as ISO 8601."""
    notes: tuple[str, ...] = ()

    def share(self, *, macs: int | None, scheme: str, latency_ms: float | None) -> float | None:
        """Share of a file's multiply-adds per second in the roof of its arithmetic; None if one is unknown.

        It may exceed 1 in a runtime that is faster than ONNX Runtime.
        """
        roof = self.int8_macs_per_s if scheme.startswith("w8a8") else self.float_macs_per_s
        if roof is None or macs is None or latency_ms is None:
            return None
        return macs / (latency_ms / 1e3) / roof


def measure_roofs(
    device: Device, *, threads: int = 1, columns: int = COLUMNS, elements: int = ELEMENTS
) -> Roofs:
    """The roofs of a device, by ONNX files that run on it as exported files do.

    Each is that of the fastest inference within a second, since a roof is what can be reached.
    """
    macs = ROWS * columns * columns
    try:
        onnx = _onnx()
        with tempfile.TemporaryDirectory(prefix="pocketreel-roofs-") as folder:
            float_s, int8_s, traffic_s = (
                _fastest_s(device, _file(onnx, Path(folder), name, graph, shape), shape, threads=threads)
                for name, graph, shape in (
                    ("float", _float_product(onnx, columns), (ROWS, columns)),
                    ("int8", _int8_product(onnx, columns), (ROWS, columns)),
                    ("traffic", _traffic(onnx, elements), (1, 1)),
                )
            )
    except (Unavailable, SessionFailed) as error:
        return no_roofs(str(error))
    return Roofs(
        float_macs_per_s=macs / float_s,
        int8_macs_per_s=macs / int8_s,
        bytes_per_s=2 * 4 * elements / traffic_s,
        measured=datetime.now(UTC).isoformat(timespec="minutes"),
    )


def runtime_on(device: Device, *, threads: int = 1) -> str:
    """Name and version of the runtime on a device, of a file that is loaded there.

    Raises `Unavailable` and `SessionFailed`.
    """
    onnx = _onnx()
    with tempfile.TemporaryDirectory(prefix="pocketreel-roofs-") as folder, ExitStack() as sessions:
        file = _file(onnx, Path(folder), "runtime", _float_product(onnx, 1), (1, 1))
        return sessions.enter_context(device.open(file)).load(threads=threads)


def no_roofs(reason: str) -> Roofs:
    """The roofs of a device that has none."""
    return Roofs(float_macs_per_s=None, int8_macs_per_s=None, bytes_per_s=None, absent=reason)


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise Unavailable(
            "the roofs need the package onnx: pip install '.[onnx]' in a checkout of Pocketreel"
        ) from None
    return onnx


def _fastest_s(device: Device, file: ExportedFile, shape: tuple[int, int], *, threads: int) -> float:
    with ExitStack() as sessions:
        session = sessions.enter_context(device.open(file))
        session.load(threads=threads)
        session.hold({"x": np.random.default_rng(0).uniform(0, 255, shape).astype("float32")})
        latency_s = warm_up(session).latency_s
        count = inferences_in(_TIME_S, latency_s=latency_s, most=_MOST_INFERENCES)
        return float(session.time_runs(count).min()) / 1e9


def _float_product(onnx: Any, columns: int) -> tuple[list[Any], list[Any]]:
    weights = np.random.default_rng(1).normal(size=(columns, columns)).astype("float32")
    return [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], [_constant(onnx, weights)]


def _int8_product(onnx: Any, columns: int) -> tuple[list[Any], list[Any]]:
    """Inputs are float, as those of all files; their conversion is a small part of the work."""
    weights = np.random.default_rng(1).integers(-127, 128, (columns, columns)).astype("int8")
    nodes = [
        onnx.helper.make_node("Cast", ["x"], ["integers"], to=onnx.TensorProto.UINT8),
        onnx.helper.make_node("MatMulInteger", ["integers", "w"], ["sums"]),
        onnx.helper.make_node("Cast", ["sums"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    return nodes, [_constant(onnx, weights)]


def _traffic(onnx: Any, elements: int) -> tuple[list[Any], list[Any]]:
    """Writes a tensor and reads it again; the large tensor is made on the device."""
    nodes = [
        onnx.helper.make_node("Expand", ["x", "w"], ["large"]),
        onnx.helper.make_node("ReduceSum", ["large"], ["y"], keepdims=1),
    ]
    return nodes, [_constant(onnx, np.array([1, elements], dtype="int64"))]


def _constant(onnx: Any, values: np.ndarray) -> Any:
    return onnx.numpy_helper.from_array(values, "w")


def _file(
    onnx: Any, folder: Path, name: str, graph: tuple[list[Any], list[Any]], shape: Sequence[int]
) -> ExportedFile:
    """Writes a graph from `x` to `y`, which have the same shape."""
    nodes, constants = graph
    tensors = [onnx.helper.make_tensor_value_info(one, onnx.TensorProto.FLOAT, list(shape)) for one in "xy"]
    made = onnx.helper.make_graph(nodes, name, tensors[:1], tensors[1:], constants)
    path = folder / f"roof_{name}.onnx"
    onnx.save(
        onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), path
    )
    ends = [FileTensor(name=one, shape=tuple(shape), dtype="float32", layout="NC") for one in "xy"]
    return ExportedFile(
        format="onnx",
        scheme=f"roof_{name}",
        path=path,
        size_bytes=path.stat().st_size,
        inputs=(ends[0],),
        outputs=(ends[1],),
    )
