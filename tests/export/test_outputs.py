"""Outputs of every kind in every format: without axes, integers, booleans, inputs, the same one twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.network import export_network

FORMATS = ("onnx", "tflite", "executorch", "coreml")
WHOLE = {"onnx": "int64", "tflite": "int32", "executorch": "int64", "coreml": "int32"}
FLAG = {"onnx": "bool", "tflite": "bool", "executorch": "bool", "coreml": "int32"}


class Every(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 5)
        self.table = nn.Parameter(torch.randn(2, 3))

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        logits = self.head(clip.mean((2, 3, 4)))
        values, places = logits.topk(2)
        return {
            "mean": logits.mean(),
            "values": values,
            "places": places,
            "best": logits.argmax(-1),
            "moved": (clip > 0.5).any(),
            "bright": clip.mean((3, 4)) > 0.5,
            "given": clip,
            "flat": clip.flatten(2),
            "logits": logits,
            "again": logits,
            "table": self.table,
        }


@pytest.mark.slow
def test_every_kind_of_output_in_every_format(tmp_path: Path) -> None:
    torch.manual_seed(0)
    exported = export_network(Every(), ["1x3x2x4x5"], out=tmp_path, formats=FORMATS)
    assert exported.correct, [(one.format, one.reason) for one in exported.outcomes]
    for row in json.loads(exported.manifest.read_text())["files"]:
        name, outputs = row["format"], {info["name"]: info for info in row["outputs"]}
        assert [outputs[key]["dtype"] for key in ("places", "best")] == [WHOLE[name]] * 2
        assert [outputs[key]["dtype"] for key in ("moved", "bright")] == [FLAG[name]] * 2
        assert all(
            outputs[key]["dtype"] == "float32" for key in ("mean", "values", "given", "again", "table")
        )
        assert outputs["mean"]["shape"] == ([1] if name == "coreml" else [])
        assert ("output 'mean' has shape (1,)" in " ".join(row["notes"])) == (name == "coreml")
        file = tmp_path / row["path"]
        given = dtypes_in(file, name)
        assert {key: given[key] for key in outputs} == {key: info["dtype"] for key, info in outputs.items()}


def dtypes_in(file: Path, name: str) -> dict[str, str]:
    """Types of the outputs, from the file or its runtime."""
    if name == "onnx":
        import onnxruntime

        kinds = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(bool)": "bool"}
        session = onnxruntime.InferenceSession(str(file))
        return {one.name: kinds[one.type] for one in session.get_outputs()}
    clip = np.random.rand(1, 3, 2, 4, 5).astype(np.float32)
    if name == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(model_path=str(file)).get_signature_runner()
        return {key: str(value.dtype) for key, value in runner(clip=clip.transpose(0, 2, 3, 4, 1)).items()}
    if name == "executorch":
        from executorch.runtime import Runtime

        content = file.read_bytes()  # the program reads it in place
        program = Runtime.get().load_program(content)
        method = program.load_method("forward")
        found = method.execute([torch.from_numpy(clip)])
        names = Every()(torch.from_numpy(clip))
        return {key: str(value.numpy().dtype) for key, value in zip(names, found, strict=True)}
    from export.emit.coreml.interpret import run_program

    return {key: str(value.dtype) for key, value in run_program(file, {"clip": clip}).items()}


def test_a_network_without_outputs_is_refused_in_a_sentence(tmp_path: Path) -> None:
    class Nothing(nn.Module):
        def forward(self, clip: Tensor) -> tuple[()]:
            return ()

    with pytest.raises(ValueError, match="the network returns no tensor; let its forward return"):
        export_network(Nothing(), ["1x3x2x4x5"], out=tmp_path, formats=["onnx"])
