"""NNCF's quantization of a real float file, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from compress.folders.locks import held
from export.capture.inputs import parse_inputs
from export.network import export_network
from export.nncf_onnx import Accuracy, main, predictor, quantize_with_nncf, write_float
from export.samples import random_samples
from tests.export.user_nets import clips

pytest.importorskip("nncf")
onnx = pytest.importorskip("onnx")

SHAPE = "1x3x4x16x16"


@pytest.fixture(scope="module")
def samples() -> list[dict[str, np.ndarray]]:
    """Calls of the network."""
    arrays = random_samples(parse_inputs([SHAPE]), count=4).arrays["clip"]
    return [{"clip": np.array(array)} for array in arrays]


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float file."""
    inputs = parse_inputs([SHAPE])
    path = tmp_path_factory.mktemp("nncf") / "float.onnx"
    return write_float(clips().eval(), inputs, random_samples(inputs, count=1), path)


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_every_convolution_is_int8_and_matches_float(floats, samples, tmp_path):
    written = quantize_with_nncf(floats, samples, out=tmp_path / "int8.onnx")
    nodes = onnx.load(written).graph.node
    reads = {output for node in nodes if node.op_type == "DequantizeLinear" for output in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert convolutions and all({*node.input[:2]} <= reads for node in convolutions)
    want, given = (np.stack([predictor(path)(sample)[0] for sample in samples]) for path in (floats, written))
    assert 0 < np.abs(given - want).max() < 0.05 * np.abs(want).max()


@pytest.mark.slow
def test_it_is_a_scheme_of_onnx_files(samples, tmp_path):
    calls = {"clip": np.stack([sample["clip"] for sample in samples])}
    given = {"out": tmp_path / "out", "formats": ["onnx"], "schemes": ["w8a8_nncf"]}
    with pytest.raises(ValueError, match="scheme w8a8_nncf needs inputs that set the ranges of its integers"):
        export_network(clips().eval(), [SHAPE], **given)
    (file,) = export_network(clips().eval(), [SHAPE], calibration=calls, **given).outcomes
    assert file.status == "exported" and file.parity.against["float"][0].sqnr_db > 20
    assert any(note.startswith("quantized by NNCF with 4 calibration inputs") for note in file.notes)
    assert file.coverage is not None and "DequantizeLinear" in operators(tmp_path / "out" / file.path)
    assert not list((tmp_path / "out").rglob("float.onnx"))


@pytest.mark.slow
def test_accuracy_control_takes_layers_back_to_float(floats, samples, tmp_path):
    """A metric by which only the float file is good enough."""
    want = np.stack([predictor(floats)(sample)[0] for sample in samples])

    def measure(predict) -> float:
        given = np.stack([predict(sample)[0] for sample in samples])
        return float(1 - np.abs(given - want).max() / np.abs(want).max())

    plain = quantize_with_nncf(floats, samples, out=tmp_path / "plain.onnx")
    held = quantize_with_nncf(
        floats, samples, out=tmp_path / "held.onnx", accuracy=Accuracy(measure=measure, max_drop=1e-6)
    )
    rounded = [sum("Quantize" in name or "QLinear" in name for name in operators(p)) for p in (plain, held)]
    assert rounded[1] < rounded[0]
    assert measure(predictor(held)) >= measure(predictor(plain))


def test_what_cannot_be_quantized_is_refused(floats, samples, tmp_path):
    with pytest.raises(ValueError, match="there is no calibration sample; give at least one"):
        quantize_with_nncf(floats, [], out=tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=r"a calibration sample has the inputs .* takes \{'clip': \(1, 3, 4"):
        quantize_with_nncf(floats, [{"clip": np.zeros((1, 3), np.float32)}], out=tmp_path / "a.onnx")


def command(*options: object) -> tuple[int, str]:
    app = Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [str(option) for option in options])
    return result.exit_code, result.output


@pytest.mark.slow
def test_the_command_reports_the_parity_of_the_file(tmp_path, samples):
    np.save(tmp_path / "clips.npy", np.stack([sample["clip"][0] for sample in samples]))
    code, printed = command(
        *("tests/export/user_nets.py:clips", "--shape", SHAPE),
        *("--calibration", tmp_path / "clips.npy", "--out", tmp_path / "out"),
    )
    assert code == 0, printed
    assert "dB to torch, top-1 agreement" in printed and "on 4 calibration inputs" in printed
    assert (tmp_path / "out" / "int8.onnx").is_file()


def test_the_command_refuses_wrong_arguments_with_2(tmp_path):
    code, printed = command(
        *("tests/export/user_nets.py:clips", "--shape", SHAPE),
        *("--calibration", tmp_path / "none.npy", "--out", tmp_path / "out"),
    )
    assert code == 2 and "there is no such file" in printed.replace("\n", " ")


@pytest.mark.parametrize(
    ("shape", "out", "message"),
    [
        ("1x4x4x16x16", "out", "the network does not accept the inputs clip"),
        (SHAPE, "clips.npy", "is not a folder"),
    ],
)
def test_a_network_that_does_not_take_its_inputs_and_an_out_that_is_a_file(tmp_path, shape, out, message):
    np.save(tmp_path / "clips.npy", np.zeros([int(size) for size in shape.split("x")], "float32"))
    code, printed = command(
        *("tests/export/user_nets.py:clips", "--shape", shape),
        *("--calibration", tmp_path / "clips.npy", "--out", tmp_path / out),
    )
    assert code == 2 and message in printed.replace("\n", " "), printed


def test_a_folder_that_another_export_holds_is_refused(tmp_path, samples):
    np.save(tmp_path / "clips.npy", np.stack([sample["clip"][0] for sample in samples]))
    with held(tmp_path / "out"):
        code, printed = command(
            *("tests/export/user_nets.py:clips", "--shape", SHAPE),
            *("--calibration", tmp_path / "clips.npy", "--out", tmp_path / "out"),
        )
    assert code == 2 and "is in use by process" in printed.replace("\n", " "), printed
    assert not (tmp_path / "out" / "float.onnx").exists()
