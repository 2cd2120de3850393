"""Tiny real exports: one matrix product over the flattened inputs, whose logits NumPy can check.

Every element of a clip has a weight of its own, so that a wrong axis order gives wrong logits.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from models.spec import AudioSpec, ClipSpec, LabelSpec, TextSpec, VideoSpec

VIDEO_ONLY = ClipSpec(
    video=VideoSpec(frames=4, size=6, resize=8),
    labels=(LabelSpec(name="move", classes=("left", "right", "up")),),
)
ALL_INPUTS = ClipSpec(
    video=VideoSpec(frames=4, size=6, resize=8),
    audio=AudioSpec(mels=5, bins=7),
    text=TextSpec(length=3, vocabulary=("a", "b")),
    labels=(
        LabelSpec(name="move", classes=("left", "right", "up")),
        LabelSpec(name="colour", classes=("red", "blue")),
    ),
)
_DEFAULT_LAYOUTS = {"clip": "NCTHW", "audio": "NCMB", "text": "NL"}


def weights(spec: ClipSpec) -> dict[tuple[str, str], np.ndarray]:
    """A matrix `elements K` for each (input, output)."""
    generator = np.random.default_rng(5)
    return {
        (name, output): generator.normal(size=(int(np.prod(spec.shape(name))), len(label.classes))).astype(
            "float32"
        )
        for name in spec.inputs
        for output, label in zip(spec.outputs, spec.labels, strict=True)
    }


def expected_logits(spec: ClipSpec, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What every file must give for canonical inputs of N clips: `N K` per output."""
    matrices = weights(spec)
    return {
        output: sum(
            inputs[name].reshape(len(inputs[name]), -1).astype("float32") @ matrices[name, output]
            for name in spec.inputs
        )
        for output in spec.outputs
    }


def example(spec: ClipSpec, *, clips: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Canonical random inputs of N clips by name."""
    tensors = spec.example(batch=clips, seed=seed)
    return {name: tensor.numpy() for name, tensor in zip(spec.inputs, tensors, strict=True)}


def write_onnx(
    path: Path,
    spec: ClipSpec,
    *,
    layouts: dict[str, str] | None = None,
    text_dtype: str = "int64",
    matrices: dict[tuple[str, str], np.ndarray] | None = None,
) -> list[dict[str, Any]]:
    """Writes the network through `onnx.helper`; gives the manifest's `inputs`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rows = input_rows(spec, layouts=layouts, text_dtype=text_dtype)
    matrices = matrices or weights(spec)
    nodes, constants, graph_inputs = [], [], []
    for row in rows:
        name, layout = row["name"], row["layout"]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(row["dtype"]))
        graph_inputs.append(helper.make_tensor_value_info(name, kind, row["shape"]))
        back = [layout.index(axis) for axis in _DEFAULT_LAYOUTS[name]]
        nodes += [
            helper.make_node("Transpose", [name], [f"{name}_canonical"], perm=back),
            helper.make_node("Cast", [f"{name}_canonical"], [f"{name}_float"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", [f"{name}_float"], [f"{name}_flat"]),
        ]
    for output in spec.outputs:
        parts = []
        for name in spec.inputs:
            constants.append(numpy_helper.from_array(matrices[name, output], f"{name}_{output}_weights"))
            parts.append(f"{name}_{output}")
            nodes.append(
                helper.make_node("MatMul", [f"{name}_flat", f"{name}_{output}_weights"], [parts[-1]])
            )
        nodes.append(helper.make_node("Sum", parts, [output]))
    graph_outputs = [
        helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, len(label.classes)])
        for output, label in zip(spec.outputs, spec.labels, strict=True)
    ]
    graph = helper.make_graph(nodes, "small", graph_inputs, graph_outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return rows


def write_tflite(path: Path, spec: ClipSpec) -> list[dict[str, Any]]:
    """Writes the network through TensorFlow, clip as `N T H W C` and text as int32."""
    import tensorflow as tf

    rows = input_rows(spec, layouts={"clip": "NTHWC"}, text_dtype="int32")
    matrices = weights(spec)

    def forward(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        flat = {}
        for row in rows:
            back = [row["layout"].index(axis) for axis in _DEFAULT_LAYOUTS[row["name"]]]
            canonical = tf.transpose(tf.cast(inputs[row["name"]], tf.float32), back)
            flat[row["name"]] = tf.reshape(canonical, (1, -1))
        return {
            output: tf.add_n([flat[name] @ matrices[name, output] for name in spec.inputs])
            for output in spec.outputs
        }

    signature = {
        row["name"]: tf.TensorSpec(row["shape"], getattr(tf, row["dtype"]), name=row["name"]) for row in rows
    }
    module = tf.Module()
    module.forward = tf.function(forward)
    concrete = module.forward.get_concrete_function(**signature)
    with tempfile.TemporaryDirectory() as saved:
        tf.saved_model.save(module, saved, signatures={"serving_default": concrete})
        data = tf.lite.TFLiteConverter.from_saved_model(saved).convert()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return rows


def write_executorch(path: Path, spec: ClipSpec) -> list[dict[str, Any]]:
    """Writes the network through ExecuTorch with its XNNPACK delegate."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    matrices = {key: torch.from_numpy(value) for key, value in weights(spec).items()}

    class Small(torch.nn.Module):
        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            named = zip(spec.inputs, inputs, strict=True)
            flat = {name: given.float().reshape(1, -1) for name, given in named}
            return tuple(
                sum(flat[name] @ matrices[name, output] for name in spec.inputs) for output in spec.outputs
            )

    program = torch.export.export(Small().eval(), spec.example())
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(edge.to_executorch().buffer)
    return input_rows(spec)


def input_rows(
    spec: ClipSpec, *, layouts: dict[str, str] | None = None, text_dtype: str = "int64"
) -> list[dict[str, Any]]:
    """The manifest's `inputs` of a file with these axis orders."""
    rows = []
    for name in spec.inputs:
        layout = (layouts or {}).get(name, _DEFAULT_LAYOUTS[name])
        sizes = dict(zip(_DEFAULT_LAYOUTS[name], spec.shape(name), strict=True))
        rows.append(
            {
                "name": name,
                "shape": [sizes[axis] for axis in layout],
                "dtype": text_dtype if name == "text" else "float32",
                "layout": layout,
            }
        )
    return rows


def file_row(
    export_dir: Path, *, format: str, path: str, inputs: list[dict[str, Any]], spec: ClipSpec
) -> dict[str, Any]:
    """One row of the manifest's `files` for a file on disk."""
    data = (export_dir / path).read_bytes()
    return {
        "format": format,
        "path": path,
        "scheme": "fp32",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "inputs": inputs,
        "outputs": [
            {"name": name, "shape": [1, len(label.classes)], "dtype": "float32", "layout": "NK"}
            for name, label in zip(spec.outputs, spec.labels, strict=True)
        ],
        "status": "exported",
        "reason": None,
    }


def write_manifest(export_dir: Path, *, spec: ClipSpec, files: list[dict[str, Any]]) -> None:
    """Writes `manifest.json` around the rows of `files`."""
    manifest = {"schema_version": 1, "spec": spec.to_dict(), "files": files}
    (export_dir / "manifest.json").write_text(json.dumps(manifest))


def failed_row(format: str, *, reason: str) -> dict[str, Any]:
    """One row of the manifest's `files` for a file that could not be written."""
    return {"format": format, "path": None, "scheme": "fp32", "status": "failed", "reason": reason}


def onnx_export(export_dir: Path, spec: ClipSpec = VIDEO_ONLY) -> Path:
    """An export with one ONNX file."""
    inputs = write_onnx(export_dir / "onnx/fp32/model.onnx", spec)
    row = file_row(export_dir, format="onnx", path="onnx/fp32/model.onnx", inputs=inputs, spec=spec)
    write_manifest(export_dir, spec=spec, files=[row])
    return export_dir


def onnx_with_broken_neighbours(export_dir: Path) -> Path:
    """An export with a good ONNX file, a TFLite file cut in half, a Core ML package, and one never written."""
    spec = VIDEO_ONLY
    rows = [
        file_row(
            export_dir,
            format="onnx",
            path="onnx/fp32/model.onnx",
            inputs=write_onnx(export_dir / "onnx/fp32/model.onnx", spec),
            spec=spec,
        )
    ]
    for format, path in (("tflite", "tflite/fp32/model.tflite"), ("coreml", "coreml/fp32/model.mlpackage")):
        (export_dir / path).parent.mkdir(parents=True)
        (export_dir / path).write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))
        rows.append(file_row(export_dir, format=format, path=path, inputs=input_rows(spec), spec=spec))
    rows.append(failed_row("executorch", reason="operator aten.fft has no kernel"))
    write_manifest(export_dir, spec=spec, files=rows)
    return export_dir


def write_endless_onnx(path: Path) -> None:
    """A valid file with the tensors of `VIDEO_ONLY` whose inference never ends."""
    import onnx
    from onnx import TensorProto, helper

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["before"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [1, 3]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [1, 3]),
        ],
    )
    nodes = [
        helper.make_node("ReduceMean", ["clip", "axes"], ["begin"], keepdims=0),
        helper.make_node("Loop", ["", "yes", "begin"], ["logits"], body=body),
    ]
    graph = helper.make_graph(
        nodes,
        "endless",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, VIDEO_ONLY.shape("clip"))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
            helper.make_tensor("axes", TensorProto.INT64, [3], [2, 3, 4]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def write_videos(folder: Path, *, count: int) -> list[Path]:
    """H.264 files of twelve 16 x 16 frames, each in colours of its own."""
    import av

    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(7)
    paths = [folder / f"{index}.mp4" for index in range(count)]
    for path in paths:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("h264", rate=12)
            stream.width = stream.height = 16
            stream.pix_fmt = "yuv420p"
            for _ in range(12):
                colours = generator.integers(0, 256, size=(2, 2, 3), dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(
                    np.kron(colours, np.ones((8, 8, 1), np.uint8)), format="rgb24"
                )
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return paths
