"""Folders of runs with chosen answers: the files that a run writes, with a small ONNX file that runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.clips.clip_set import ClipSet
from benchmarks.clips.rows import ClipRow
from benchmarks.predictions import keep_predictions
from compress.folders.keys import Key
from models.spec import ClipSpec
from tests.reports import artifact, realistic_report
from tests.specs import small_spec

TEXT = small_spec("text")


def logits_of(truth: np.ndarray, wrong: Sequence[int] = (), *, margin: float = 2.0) -> np.ndarray:
    """Logits `N 3` that are right except for the clips `wrong`."""
    predicted = truth.copy()
    predicted[list(wrong)] = (predicted[list(wrong)] + 1) % 3
    return np.eye(3, dtype=np.float32)[predicted] * np.float32(margin)


def truth_of(clips: int) -> np.ndarray:
    """Class indices of the clips."""
    return np.arange(clips) % 3


def write_run(
    folder: Path,
    answers: Mapping[str, np.ndarray],
    *,
    clips: int,
    spec: ClipSpec = TEXT,
    clips_per_file: int = 1,
    work: int = 1,
    coverage: float = 1.0,
    environment: str = "Linux",
    content: int = 0,
) -> Path:
    """A run that has measured files and networks by name (`onnx.w8a8`) with these logits, in every label column.

    `work` is the number of products of 256 x 256 matrices in a file; another `content` stands for other clips.
    """
    report = realistic_report()
    report["environment"]["system"] = environment
    report["files"], rows = [], []
    for name in answers:
        form, scheme = name.split(".")[:2]
        if form == "torch":
            continue
        data = _onnx(work)
        path = folder / "export" / form / scheme / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        row = {**artifact(form, ".onnx", top1=0.9, p50_ms=1.0), "scheme": scheme, "size_bytes": len(data)}
        report["files"].append(row)
        rows.append(_manifest_row(form, scheme, data, spec=spec, coverage=coverage))
    manifest = {"schema_version": 1, "spec": spec.to_dict(), "files": rows}
    (folder / "export" / "manifest.json").write_text(json.dumps(manifest))
    (folder / "report.json").write_text(json.dumps(report))
    truth = torch.from_numpy(truth_of(clips))[:, None].repeat(1, len(spec.labels))
    clip_set = ClipSet(
        spec=spec,
        rows=[_clip(number, clips_per_file) for number in range(clips)],
        labels=truth,
        values={"text": np.full((clips, 6), content)},
        places=np.arange(clips),
    )
    predictions = {name: dict.fromkeys(spec.outputs, logits) for name, logits in answers.items()}
    key = Key.of(
        {"clips": clip_set.digest, "answers": [logits.tobytes().hex() for logits in answers.values()]}
    )
    keep_predictions(folder / "predictions", predictions, clip_set, key=key)
    return folder


def _clip(number: int, clips_per_file: int) -> ClipRow:
    file, part = divmod(number, clips_per_file)
    spans = {} if clips_per_file == 1 else {"start_s": float(part), "end_s": part + 1.0}
    return ClipRow(path=Path(f"/clips/{file:04d}.mp4"), split="test", labels={}, **spans)


def _manifest_row(
    form: str, scheme: str, data: bytes, *, spec: ClipSpec, coverage: float
) -> dict[str, object]:
    tokens = {"name": "text", "shape": [1, 6], "dtype": "int64", "layout": "NL", "value_range": [0, 4]}
    outputs = [{"name": name, "shape": [1, 3], "dtype": "float32", "layout": "NK"} for name in spec.outputs]
    return {
        "format": form,
        "scheme": scheme,
        "status": "exported",
        "path": f"{form}/{scheme}/model.onnx",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "inputs": [tokens],
        "outputs": outputs,
        "coverage": {"macs": 100, "share": coverage},
        "step": None,
    }


def _onnx(work: int) -> bytes:
    """An ONNX file of tokens `1 6` to logits `1 3`, with `work` matrix products in between."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    square = np.eye(256, dtype=np.float32)
    values = {"widen": np.ones((6, 256), np.float32), "square": square, "narrow": square[:, :3]}
    nodes = [
        helper.make_node("Cast", ["text"], ["tokens"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["tokens", "widen"], ["row"]),
        helper.make_node("Add", ["square", "row"], ["x0"]),
        *(helper.make_node("MatMul", [f"x{k}", "square"], [f"x{k + 1}"]) for k in range(work)),
        helper.make_node("ReduceMean", [f"x{work}"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("MatMul", ["mean", "narrow"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("text", TensorProto.INT64, [1, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()
