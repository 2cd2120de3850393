"""Exports of any network, by `pocketreel export` and by `export_network`."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from compress.folders.ledger import COPY, LEDGER, LOCK
from export import EXPORTERS, Exporter
from export.network import check_network, export_network
from export.run import main
from tests.commands import run_command_line
from tests.export.user_nets import (
    Changing,
    Clips,
    Labelled,
    Named,
    NotANumber,
    Scenery,
    Undecided,
    WeightNormed,
    clips,
    clips_and_words,
)

ROOT = Path(__file__).resolve().parents[2]
NETS = "tests.export.user_nets"
SHAPE = "1x3x4x16x16"

APP = typer.Typer()
APP.command()(main)

WRITERS = {
    "crashing": "import os\ndef write(*a, **k):\n    os.abort()\n",
    "lying": "from export.emit.onnx import writer\n"
    "def write(program, path, *, spec, scheme, step=None):\n"
    "    for name, weight in program.state_dict.items():\n"
    "        if 'linear' in name or 'classifier' in name:\n            weight.data.mul_(3)\n"
    "    return writer.write(program, path, spec=spec, scheme=scheme)\n",
}


@pytest.fixture
def bad_writers(tmp_path, monkeypatch):
    """A format whose converter crashes, and an ONNX writer whose files are wrong."""
    for name, text in WRITERS.items():
        (tmp_path / f"{name}_writer.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    crashing = Exporter(
        extension=".bin",
        runtime="none",
        schemes=("fp32", "w8a8"),
        extra="onnx",
        distributions=(),
        module="crashing_writer",
        runner="no_runner",
    )
    monkeypatch.setitem(EXPORTERS, "crashing", crashing)
    monkeypatch.setitem(EXPORTERS, "onnx", replace(EXPORTERS["onnx"], module="lying_writer"))


def command(*arguments):
    """Runs the command in this process: exit code, and its output on both streams."""
    ended = CliRunner().invoke(APP, [str(argument) for argument in arguments])
    return ended.exit_code, ended.stdout + ended.stderr


def rows_of(out):
    return {row["format"]: row for row in json.loads((out / "manifest.json").read_text())["files"]}


@pytest.mark.slow
def test_the_command_writes_files_that_are_right(tmp_path):
    network = clips()
    save_file({name: 2 * value for name, value in network.state_dict().items()}, tmp_path / "net.safetensors")
    arguments = [f"{NETS}:clips", "--shape", SHAPE, "--formats", "onnx,coreml", "--out", tmp_path / "out"]
    arguments += ["--weights", tmp_path / "net.safetensors"]
    done = run_command_line(["export.run", *arguments], env={**os.environ, "COLUMNS": "120"})
    assert done.returncode == 0, done.stdout + done.stderr
    written = {path.name for path in (tmp_path / "out").iterdir()}
    own = {LEDGER, COPY, LOCK}  # the ledger of the export folder, and its lock
    assert written - own == {"coreml", "manifest.json", "onnx"} and LEDGER in written
    row = rows_of(tmp_path / "out")["onnx"]
    assert row["status"] == "exported" and row["path"] == "onnx/fp32/model.onnx"
    (parity,) = row["parity"]["float"]
    assert parity["output"] == "logits" and parity["relative_error"] < 1e-5 and parity["top1_agreement"] == 1
    assert row["parity"]["count"] == 8 and row["parity"]["source"] == "8 random inputs (smooth, seed 0)"
    assert (row["inputs"][0]["name"], row["inputs"][0]["layout"]) == ("clip", "NCTHW")
    heading, values = done.stdout.splitlines()[:2]
    assert heading.split() == ["file", "outcome", "size", "parity", "coverage", "seconds"]
    assert values.split()[:2] == ["onnx.fp32", "exported"]
    package = rows_of(tmp_path / "out")["coreml"]
    assert package["status"] == "exported" and package["parity"]["float"][0]["relative_error"] < 1e-5
    if sys.platform == "linux":
        assert "coreml.fp32 was run by: reference, not Apple's runtime" in done.stdout


@pytest.mark.slow
def test_three_outcomes_are_distinguished_and_none_stops_the_others(tmp_path, bad_writers):
    arguments = [f"{NETS}:clips", "--shape", SHAPE, "--formats", "crashing,onnx,tflite"]
    code, printed = command(*arguments, "--out", tmp_path / "out")
    assert code == 3
    rows = rows_of(tmp_path / "out")
    assert {name: row["status"] for name, row in rows.items()} == {
        "crashing": "failed",
        "onnx": "wrong",
        "tflite": "exported",
    }
    assert rows["crashing"]["reason"] == "the converter crashed its process with SIGABRT"
    assert "crashing.fp32 failed: the converter crashed its process with SIGABRT" in printed
    assert "onnx.fp32 is wrong: the file differs from the float network: its largest error is" in printed
    assert rows["onnx"]["path"] == "onnx/fp32/model.onnx"
    assert (tmp_path / "out" / "onnx" / "fp32" / "model.onnx").is_file()
    assert rows["tflite"]["inputs"][0]["layout"] == "NTHWC"


class Uneven(nn.Module):
    """Channels whose activations reach from 6 down to 0.06, all of which the sum counts alike."""

    def __init__(self):
        super().__init__()
        sizes = torch.logspace(0, -2, 8)
        self.first, self.second = nn.Conv2d(8, 8, 1, groups=8), nn.Conv2d(8, 8, 1, groups=8, bias=False)
        self.first.weight.data = 6 * sizes.reshape(8, 1, 1, 1)
        self.first.bias.data.zero_()
        self.second.weight.data = 1 / sizes.reshape(8, 1, 1, 1)

    def forward(self, x):
        return self.second(nn.functional.relu6(self.first(x))).mean((2, 3))


@pytest.mark.slow
def test_small_channels_keep_their_levels_in_int8(tmp_path):
    arrays = np.random.default_rng(0).random((20, 8, 4, 4), "float32")
    network = Uneven()
    exported = export_network(
        network, ["1x8x4x4"], out=tmp_path, formats=["onnx"], schemes=["w8a8"], calibration={"clip": arrays}
    )
    (row,) = exported.outcomes
    assert "activation equalization of 1 pair of layers" in row.notes
    assert row.parity.against["float"][0].sqnr_db > 50  # 32 dB without it: the last channel has two levels
    assert network.second.weight[7].item() == pytest.approx(100), "the given network is not changed"


@pytest.mark.slow
def test_an_int8_file_that_is_wrong_comes_with_its_layers(tmp_path, bad_writers):
    np.save(tmp_path / "clips.npy", np.random.default_rng(0).random((20, 3, 4, 16, 16), "float32"))
    arguments = [
        f"{NETS}:clips",
        "--shape",
        SHAPE,
        "--formats",
        "onnx,tflite",
        "--schemes",
        "w8a8",
        "--layers",
    ]
    code, printed = command(*arguments, "--calibration", tmp_path / "clips.npy", "--out", tmp_path / "out")
    assert code == 3, printed
    rows = rows_of(tmp_path / "out")
    assert rows["tflite"]["status"] == "exported" and not rows["tflite"]["layers"]
    assert rows["tflite"]["parity"]["source"] == "8 of 20 inputs of clips.npy"
    assert rows["tflite"]["parity"]["reference"][0]["sqnr_db"] > 20
    assert rows["onnx"]["status"] == "wrong"
    assert "the file differs from the torch int8 reference" in rows["onnx"]["reason"]
    assert "they explain the quantization cost, not what is wrong with the file" in rows["onnx"]["notes"][-1]
    ranked = [layer["alone_sqnr_db"] for layer in rows["onnx"]["layers"]]
    assert ranked == sorted(ranked)
    assert {"depthwise", "classifier"} <= {layer["module"] for layer in rows["onnx"]["layers"]}
    assert "quantization cost by layer, worst first" in printed and "depthwise" in printed
    provenance = json.loads((tmp_path / "out" / "manifest.json").read_text())["provenance"]
    assert provenance["calibration"] == "20 inputs of clips.npy"


class Dense(nn.Module):
    """Four linear layers, the inner two with weights of 4 bits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(*(nn.Linear(64, 64) for _ in range(4)))

    def forward(self, x):
        return self.layers(x)


@pytest.mark.slow
def test_groups_of_int4_weights_are_written_noted_and_recorded(tmp_path):
    (file,) = export_network(
        Dense(), ["1x64"], out=tmp_path, formats=["onnx"], schemes=["w4"], group_size=16
    ).outcomes
    assert file.status == "exported", file.reason
    assert any(
        note.startswith("group_size 16: 2 of 2 int4 weights have a scale per group") for note in file.notes
    )
    assert json.loads((tmp_path / "manifest.json").read_text())["provenance"]["group_size"] == 16


def test_a_check_finds_groups_that_a_runtime_lacks():
    given = {"formats": ["tflite"], "scheme": "w4"}
    assert check_network(Dense(), ["1x64"], **given, group_size=32) == ()
    (found, *_) = check_network(Dense(), ["1x64"], **given, group_size=16)
    assert found.severity == "refused" and "w4 without group_size" in found.instead


@pytest.mark.slow
def test_several_inputs_and_outputs_of_any_shape_by_one_call(tmp_path):
    inputs = {"clip": torch.rand(1, 3, 4, 16, 16), "text": torch.tensor([[0, 6, 3, 1]])}
    exported = export_network(
        clips_and_words().train(), inputs, out=tmp_path / "out", formats=["onnx", "tflite"]
    )
    assert exported.correct and exported.rank_layers is None
    for outcome in exported.outcomes:
        assert outcome.parity.wrong is None
        logits, per_frame = outcome.parity.against["float"]
        assert logits.top1_agreement == 1 and per_frame.top1_agreement == 1
        assert [info.name for info in outcome.outputs] == ["output_0", "output_1"]
    assert [outcome.inputs[1].dtype for outcome in exported.outcomes] == ["int64", "int32"]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["fp32", "w8a8"])
def test_clips_that_come_out_are_compared_in_the_axis_order_of_torch(tmp_path, scheme):
    calibration = "random" if scheme == "w8a8" else None
    exported = export_network(
        Scenery(), [SHAPE], out=tmp_path, formats=["tflite"], schemes=[scheme], calibration=calibration
    )
    assert exported.correct, exported.outcomes
    (info,) = exported.outcomes[0].outputs
    assert info.layout == "NTHWC" and info.shape == (1, 4, 16, 16, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "names"),
    [(Named(), ("logits", "mean")), (WeightNormed(), ("logits",)), (Changing(), ("logits",))],
    ids=["named outputs", "weight norm", "clip changed in place"],
)
def test_ways_of_writing_networks_reach_the_files(tmp_path, network, names):
    (outcome,) = export_network(network, [SHAPE], out=tmp_path, formats=["onnx"]).outcomes
    assert outcome.status == "exported", outcome.reason
    assert tuple(info.name for info in outcome.outputs) == names


def test_a_network_that_cannot_be_captured_fails_in_every_format_with_its_line(tmp_path):
    reported = []
    exported = export_network(
        Undecided(), [SHAPE], out=tmp_path, formats=["onnx", "tflite"], progress=lambda *a: reported.append(a)
    )
    assert [outcome.status for outcome in exported.outcomes] == ["failed"] * 2
    for outcome in exported.outcomes:
        assert "cannot be captured as one graph at " in outcome.reason
        assert "user_nets.py" in outcome.reason and "`if clip.mean() > 0.5:`" in outcome.reason
        assert "Traceback" in (tmp_path / outcome.log).read_text()
    assert [step[1:] for step in reported] == [(done, 4) for done in range(4)]
    names = [step[0] for step in reported]
    assert names[:2] == ["torch", "capture"]
    # Formats are written side by side: a name may have that of the other beside it.
    assert {name for step in names[2:] for name in step.split(", ")} == {"onnx fp32", "tflite fp32"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--formats", "onxx"], "format 'onxx' is unknown; allowed: .*; did you mean 'onnx'?"),
        (["--formats", "onnx,onnx"], "format 'onnx' is given twice"),
        (["--shape", "3,4,5"], "shape '3,4,5' cannot be read: give"),
        (["--schemes", "w8a8"], "scheme w8a8 needs inputs that set the ranges.*or 'random'"),
        (["--layers"], "--layers ranks the layers of int8 networks; the scheme is fp32"),
        (["--group-size", "64"], "group_size is for scheme w4 only; given: fp32; add w4, or omit group_size"),
        (["--schemes", "w4", "--group-size", "4"], "group_size is 4; allowed: 8 to 65536 weights"),
        (["--schemes", "w8", "--group-size", "64", "--check"], "group_size is for scheme w4 only; given: w8"),
        (["--calibration", "none.npy"], "calibration none.npy: there is no such file"),
        (["--weights", "none.pt"], "--weights none.pt: there is no such file"),
        (["--target", "arm"], "target 'arm' is unknown; allowed: x86-64-amx, .*, arm64, apple, wasm"),
        (["--forms", "none.json"], "none.json: no such file; give the manifest.json of an export"),
        (
            ["--shape", "1x4x4x16x16"],
            "the network does not accept the inputs clip .*RuntimeError.*give --shape once",
        ),
    ],
)
def test_wrong_arguments_end_with_2_and_write_nothing(tmp_path, options, message):
    given = [] if "--shape" in options else ["--shape", SHAPE]
    code, printed = command(f"{NETS}:clips", *given, *options, "--out", tmp_path / "out")
    assert code == 2
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(" ".join(printed.split()))
    assert not (tmp_path / "out").exists()


def test_an_unwritable_out_exits_with_2_before_the_network_runs(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        code, printed = command(f"{NETS}:NotANumber", "--shape", SHAPE, "--out", out)
        assert code == 2 and "file is not a folder, so nothing can be written to" in " ".join(printed.split())
    monkeypatch.setattr("os.access", lambda path, mode: mode == os.F_OK and path.exists())
    code, printed = command(f"{NETS}:NotANumber", "--shape", SHAPE, "--out", tmp_path / "closed")
    assert code == 2 and "is not writable: choose another folder" in " ".join(printed.split())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            NotANumber(),
            "the float network itself returns NaN or infinite values in output 0 for 8 random inputs",
        ),
        (Labelled(), "the network returns str; let it return tensors"),
    ],
)
def test_networks_that_give_nothing_to_compare_are_refused(tmp_path, network, message):
    with pytest.raises(ValueError, match=message):
        export_network(network, [SHAPE], out=tmp_path / "out", formats=["onnx"])


def test_arguments_of_the_call_are_checked(tmp_path):
    with pytest.raises(
        ValueError, match=r"calibration: input 'clip' has shape .*it must be N x 3 x 4 x 16 x 16"
    ):
        export_network(
            Clips(),
            [SHAPE],
            out=tmp_path,
            formats=["onnx"],
            calibration={"clip": np.zeros((2, 3), "float32")},
        )
    with pytest.raises(ValueError, match="clips is 'some'; give a Path, arrays by input name, or 'random'"):
        export_network(Clips(), [SHAPE], out=tmp_path, formats=["onnx"], clips="some")
    with pytest.raises(ValueError, match="no format is given; allowed: onnx"):
        export_network(Clips(), [SHAPE], out=tmp_path, formats=[])
    with pytest.raises(ValueError, match="an input is called 'logits', as the output is"):
        export_network(Clips(), [f"logits={SHAPE}"], out=tmp_path, formats=["onnx"])
    (tmp_path / "onnx" / "fp32").mkdir(parents=True)
    (tmp_path / "onnx" / "fp32" / "model.onnx").write_text("mine")
    with pytest.raises(ValueError, match=r"onnx/fp32/model.onnx was not written by Pocketreel"):
        export_network(Clips(), [SHAPE], out=tmp_path, formats=["onnx"])
    assert (tmp_path / "onnx" / "fp32" / "model.onnx").read_text() == "mine"


def test_the_help_states_that_user_code_is_run():
    code, printed = command("--help")
    assert code == 0 and "runs its Python code" in " ".join(printed.replace("│", " ").split())
