"""Files of one network: the naive export, and Pocketreel's in float and int8 for every format."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from benchmarks.files import ExportedFile, FileTensor
from compress.command.sentence import in_a_sentence
from compress.studies.comparison.fitting import Fitted
from export.network import export_network
from export.process.child import run_in_child

MEASURED = ("onnx", "tflite", "executorch")
"""Formats whose runtimes run on every system."""

CALIBRATION = 32
"""Number of the fitted clips that calibrate int8."""
FLOAT_CLIPS = 16
"""Number of unseen clips for float files; float32 rounding is similar on all clips."""
COREML_CLIPS = 4
"""Number of unseen clips for the int8 Core ML file, whose reference interpreter is slow."""

_LIMIT_S = 1800.0

Origin = Literal["naive", "float", "int8", "peer float", "peer int8"]


@dataclass(frozen=True, kw_only=True)
class Written:
    """One file with its known facts."""

    origin: Origin
    file: ExportedFile
    facts: Mapping[str, Any]
    """`status`, `reason`, `size_bytes`, `seconds`, and for Pocketreel's files `parity` and `coverage`."""


def write_ours(fitted: Fitted, folder: Path, *, formats: Sequence[str]) -> list[Written]:
    """Exports float and int8 files in these formats, verified on unseen clips by the exporter."""
    calibration = {"clip": fitted.known[:CALIBRATION]}
    fast = [name for name in formats if name in MEASURED]
    slow = [name for name in formats if name not in MEASURED]
    jobs: tuple[tuple[Origin, str, Sequence[str], int], ...] = (
        ("float", "float", formats, FLOAT_CLIPS),
        ("int8", "int8", fast, len(fitted.unseen)),
        ("int8", "int8_coreml", slow, COREML_CLIPS),
    )
    written = []
    for origin, name, wanted, clips in jobs:
        if not wanted:
            continue
        exported = export_network(
            fitted.model,
            {"clip": torch.from_numpy(fitted.known[:1])},
            out=folder / name,
            formats=wanted,
            schemes=["w8a8" if origin == "int8" else "fp32"],
            calibration=calibration if origin == "int8" else None,
            clips={"clip": fitted.unseen[:clips]},
        )
        rows = [outcome.to_dict() for outcome in exported.outcomes]
        written += [_ours(row, origin=origin, folder=folder / name) for row in rows]
    return written


def _ours(row: Mapping[str, Any], *, origin: Origin, folder: Path) -> Written:
    runs = row["path"] is not None and (row["parity"] is None or "float" in row["parity"])
    file = ExportedFile(
        format=row["format"],
        scheme=row["scheme"],
        path=folder / row["path"] if runs else folder,
        size_bytes=row["size_bytes"] or 0,
        inputs=_tensors(row["inputs"]),
        outputs=_tensors(row["outputs"]),
        missing=None if runs else row["reason"] or row["parity"]["reason"],
    )
    known = ("status", "reason", "size_bytes", "seconds", "notes")
    coverage = None if row["coverage"] is None else _coverage(row["coverage"])
    facts = {key: row[key] for key in known} | {"parity": _parity(row["parity"]), "coverage": coverage}
    return Written(origin=origin, file=file, facts=facts)


def _parity(parity: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The figures of the output relative to the float network and the torch int8 reference."""
    if parity is None:
        return None
    against = {name: parity[name][0] for name in ("float", "reference") if parity.get(name)}
    return {"runner": parity["runner"], "count": parity["count"], **against}


def _coverage(coverage: Mapping[str, Any]) -> dict[str, Any]:
    """Shares and counts; `float_convolutions` are those outside the accelerated kernels."""
    outside = [one for one in coverage["left"] if "Conv" in one["operator"] and one["macs"]]
    kept = {key: coverage[key] for key in ("share", "macs", "partitions", "source")}
    return {**kept, "left": len(coverage["left"]), "float_convolutions": len(outside)}


def _tensors(rows: Sequence[Mapping[str, Any]]) -> tuple[FileTensor, ...]:
    return tuple(
        FileTensor(name=row["name"], shape=tuple(row["shape"]), dtype=row["dtype"], layout=row["layout"])
        for row in rows
    )


@dataclass(frozen=True, kw_only=True)
class _Foreign:
    """A job for a child process that writes a file with another tool."""

    model: nn.Module | None
    clips: np.ndarray
    source: Path
    path: Path


def write_naive(fitted: Fitted, folder: Path) -> Written:
    """The result of `torch.onnx.export(model, clip, dynamo=True)` for the same weights."""
    path = folder / "naive" / "model.onnx"
    job = _Foreign(model=fitted.model, clips=fitted.known[:1], source=path, path=path)
    return _foreign(_naive, job, fitted, origin="naive", format="onnx")


def _naive(job: _Foreign) -> None:
    assert job.model is not None
    torch.onnx.export(
        job.model,
        (torch.from_numpy(job.clips),),
        job.path,
        dynamo=True,
        input_names=["clip"],
        output_names=["logits"],
        verbose=False,
    )


def check_peers() -> None:
    """Raises `ValueError` if the packages of the peers are not installed."""
    missing = [name for name in ("openvino", "nncf") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"--peers needs {' and '.join(missing)}, which cannot be imported: pip install openvino nncf"
        )


def write_peers(fitted: Fitted, naive: Written, folder: Path) -> list[Written]:
    """The naive export in OpenVINO's format, in float and in int8 by `nncf.quantize` with defaults."""
    if naive.file.missing is not None:
        return []
    clips, source = fitted.known[:CALIBRATION], naive.file.path
    written = []
    peers: tuple[tuple[Origin, Callable[[_Foreign], None], str], ...] = (
        ("peer float", _openvino_float, "openvino_float"),
        ("peer int8", _openvino_int8, "openvino_int8"),
    )
    for origin, convert, name in peers:
        job = _Foreign(model=None, clips=clips, source=source, path=folder / name / "model.xml")
        written.append(_foreign(convert, job, fitted, origin=origin, format="openvino"))
    return written


def _openvino_float(job: _Foreign) -> None:
    import openvino

    openvino.save_model(openvino.Core().read_model(job.source), job.path, compress_to_fp16=False)


def _openvino_int8(job: _Foreign) -> None:
    import nncf
    import openvino

    clips = nncf.Dataset([clip[None] for clip in job.clips])
    model = openvino.Core().read_model(job.source)
    openvino.save_model(nncf.quantize(model, clips, subset_size=len(job.clips)), job.path)


def _foreign(
    convert: Callable[[_Foreign], None], job: _Foreign, fitted: Fitted, *, origin: Origin, format: str
) -> Written:
    job.path.parent.mkdir(parents=True, exist_ok=True)
    log = job.path.with_name("convert.log")
    try:
        reason = run_in_child(convert, job, who="the converter", log=log, time_limit_s=_LIMIT_S).reason
    except Exception as error:  # the network cannot be pickled
        reason = in_a_sentence(error)
    shape = fitted.spec.shape("clip")
    classes = len(fitted.spec.labels[0].classes)
    file = ExportedFile(
        format=format,
        scheme="w8a8" if origin == "peer int8" else "fp32",
        path=job.path,
        size_bytes=0,
        inputs=(FileTensor(name="clip", shape=shape, dtype="float32", layout="NCTHW"),),
        outputs=(FileTensor(name="logits", shape=(1, classes), dtype="float32", layout="NK"),),
        missing=reason,
    )
    facts = {"status": "failed" if reason else "exported", "reason": reason}
    return Written(origin=origin, file=file, facts=facts)
