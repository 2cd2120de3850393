import json
import re
import sys
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from compress.folders.ledger import FolderRefused, Ledger
from export import EXPORTERS, Exporter
from export.files import Variant, export_files
from export.manifest import file_spec, sha256_of
from models.spec import ClipSpec
from tests.export.networks import Function
from tests.export.small_nets import captured, clip_spec, int8_graph, program_of

WRITERS = {
    "crashing": "import os, signal\ndef write(*a, **k):\n    print('about to crash', flush=True)\n"
    "    os.kill(os.getpid(), signal.SIGSEGV)\n",
    "leaving": "import os\ndef write(*a, **k):\n    os._exit(7)\n",
    "raising": "def write(program, path, *, spec, scheme, step=None):\n    path.write_text('half a file')\n"
    "    raise NotImplementedError('aten.foo has no kernel\\nand a long explanation')\n",
    "needy": "from export import require\ndef write(*a, **k):\n    require('onnx', 'no_such_backend')\n",
}


@pytest.fixture
def broken_formats(tmp_path, monkeypatch):
    """Formats whose writers are real modules that fail, each in another way."""
    folder = tmp_path / "writers"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    for name, text in WRITERS.items():
        (folder / f"{name}_writer.py").write_text(text)
        exporter = Exporter(
            extension=".bin",
            runtime="none",
            schemes=("fp32",),
            extra="onnx",
            distributions=(),
            module=f"{name}_writer",
            runner="no_runner",
        )
        monkeypatch.setitem(EXPORTERS, name, exporter)
    return list(WRITERS)


@pytest.mark.slow
def test_one_failure_costs_its_own_format_only(tmp_path, broken_formats):
    spec, out = clip_spec(), tmp_path / "export"
    (out / "raising" / "fp32").mkdir(parents=True)
    (out / "raising" / "fp32" / "model.bin").write_text("from the time before")
    (out / "raising" / "fp32" / "notes.md").write_text("mine")
    Ledger(folder=out, kind="export", files={"raising/fp32/model.bin": None}).save()
    reported = []
    outcomes = export_files(
        [Variant(scheme="fp32", program=captured(spec))],
        file_spec(spec, provenance={"recipe": "small"}),
        formats=[*broken_formats, "onnx"],
        out=out,
        progress=lambda name, done, total: reported.append((name, done, total)),
        workers=1,
    )
    # The costliest format first.
    assert reported == [(f"{name} fp32", done, 5) for done, name in enumerate(["onnx", *broken_formats])]
    reasons = {outcome.format: outcome.reason for outcome in outcomes}
    assert reasons == {
        "crashing": "the converter crashed its process with SIGSEGV",
        "leaving": "the converter ended its process with exit code 7 and no result",
        "raising": "NotImplementedError: aten.foo has no kernel",
        "needy": "ImportError: writing .onnx files needs no_such_backend, which cannot be imported "
        "(No module named 'no_such_backend'); install it, in a checkout of Pocketreel, with: "
        "pip install '.[onnx]'",
        "onnx": None,
    }
    assert "about to crash" in (out / "crashing" / "fp32" / "convert.log").read_text()
    assert "and a long explanation" in (out / "raising" / "fp32" / "convert.log").read_text()
    assert not (out / "raising" / "fp32" / "model.bin").exists(), (
        "neither half a file nor one of an earlier export"
    )
    assert (out / "raising" / "fp32" / "notes.md").read_text() == "mine"
    assert not list(out.glob(".*.partial")) and Ledger.read(out).fault() is None

    manifest = json.loads((out / "manifest.json").read_text())
    assert [row["status"] for row in manifest["files"]] == ["failed"] * 4 + ["exported"]
    row = manifest["files"][-1]
    assert row["sha256"] == sha256_of(out / row["path"])
    assert row["size_bytes"] == (out / row["path"]).stat().st_size
    assert row["seconds"] > 0 and row["peak_rss_bytes"] > 2**20
    assert row["inputs"][0]["layout"] == "NCTHW"
    assert ClipSpec.from_dict(manifest["spec"]) == spec

    alone = json.loads((out / "onnx" / "fp32" / "model.json").read_text())
    assert alone["file"] == {**row, "path": "model.onnx", "log": "convert.log"}
    assert alone["labels"] == manifest["labels"] and alone["provenance"] == {"recipe": "small"}


@pytest.mark.slow
def test_an_int8_network_with_three_inputs_and_two_label_columns_reaches_its_writer(tmp_path):
    import onnxruntime

    spec = clip_spec(audio=True, text=True, heads=2)
    (outcome,) = export_files(
        [Variant(scheme="w8a8", program=program_of(int8_graph(spec), spec))],
        file_spec(spec, provenance={}),
        formats=["onnx"],
        out=tmp_path,
    )
    assert outcome.reason is None
    session = onnxruntime.InferenceSession(tmp_path / outcome.path)
    feeds = dict(zip(spec.inputs, (tensor.numpy() for tensor in spec.example()), strict=True))
    logits = session.run(list(spec.outputs), feeds)
    assert [array.shape for array in logits] == [(1, 5), (1, 2)]
    assert all(np.isfinite(array).all() for array in logits)


def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path):
    spec = clip_spec()
    program, described = captured(spec), file_spec(spec, provenance={})

    def export(formats, scheme):
        export_files(
            [Variant(scheme=scheme, program=program)], described, formats=formats, out=tmp_path / "out"
        )

    with pytest.raises(
        ValueError, match="format 'onxx' is unknown; allowed: onnx, tflite, executorch, coreml"
    ):
        export(["onnx", "onxx"], "fp32")
    with pytest.raises(ValueError, match=r"scheme 'w3' is unknown; allowed: fp32, .*, w8a8_nncf, p4$"):
        export(["onnx"], "w3")
    with pytest.raises(ValueError, match="scheme 'w8a8' was given a float graph"):
        export(["onnx"], "w8a8")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_network_that_cannot_be_lowered_costs_no_other_format(tmp_path, monkeypatch):
    """Each format lowers for its own runtime, in its writer's process."""
    (tmp_path / "own_lowering.py").write_text(
        "def lower(program):\n    raise NotImplementedError('fold at net.py:3 cannot be lowered')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(EXPORTERS, "tflite", replace(EXPORTERS["tflite"], lowering="own_lowering"))
    spec = clip_spec()
    refused, written = export_files(
        [Variant(scheme="fp32", program=captured(spec))],
        file_spec(spec, provenance={}),
        formats=["tflite", "onnx"],
        out=tmp_path / "export",
    )
    assert refused.reason == "NotImplementedError: fold at net.py:3 cannot be lowered"
    assert written.reason is None


def test_an_int8_graph_is_not_written_as_float(tmp_path):
    spec = clip_spec()
    with pytest.raises(
        ValueError, match="scheme 'fp32' was given an int8 graph; such a graph is written as w8a8"
    ):
        export_files(
            [Variant(scheme="fp32", program=program_of(int8_graph(spec), spec))],
            file_spec(spec, provenance={}),
            formats=["onnx"],
            out=tmp_path,
        )


class Pair(NamedTuple):
    """A class that is not registered with torch for saving."""

    logits: Tensor
    aux: Tensor


def test_a_program_that_cannot_be_saved_fails_in_every_format_with_the_reason(tmp_path):
    spec = clip_spec()
    (tmp_path / "manifest.json").write_text("of the time before")
    Ledger(folder=tmp_path, kind="export", files={"manifest.json": None}).save()
    program = torch.export.export(Function(lambda clip: Pair(clip.mean((2, 3, 4)), clip)), spec.example())
    outcomes = export_files(
        [Variant(scheme="fp32", program=program)],
        file_spec(spec, provenance={}),
        formats=["onnx", "tflite"],
        out=tmp_path,
    )
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert "NotImplementedError: Can't serialize" in outcomes[0].reason
    assert "Traceback" in (tmp_path / outcomes[0].log).read_text()
    assert len(json.loads((tmp_path / "manifest.json").read_text())["files"]) == 2


@pytest.mark.parametrize(
    "name", ["manifest.json", "onnx/fp32/model.onnx", "onnx/fp32/convert.log", ".onnx.fp32.partial/model"]
)
def test_files_of_others_are_never_replaced(tmp_path, name):
    spec, mine = clip_spec(), tmp_path / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    if not name.startswith("manifest"):
        Ledger(folder=tmp_path, kind="export").save()
    with pytest.raises(FolderRefused, match=f"{re.escape(name)} was not written by Pocketreel, but would"):
        export_files(
            [Variant(scheme="fp32", program=captured(spec))],
            file_spec(spec, provenance={}),
            formats=["onnx"],
            out=tmp_path,
        )
    assert mine.read_text() == "mine"


@pytest.mark.slow
def test_an_export_replaces_its_own_files_alone_and_lists_them(tmp_path):
    spec = clip_spec()

    def export():
        (outcome,) = export_files(
            [Variant(scheme="fp32", program=captured(spec))],
            file_spec(spec, provenance={}),
            formats=["onnx"],
            out=tmp_path,
        )
        assert outcome.reason is None

    export()
    for name in ("mine.txt", "onnx/fp32/mine.txt"):
        (tmp_path / name).write_text("mine")
    (tmp_path / ".onnx.fp32.partial").mkdir()
    (tmp_path / ".onnx.fp32.partial" / "mine.txt").write_text("mine")
    (tmp_path / ".onnx.fp32.partial" / "model.json").touch()  # a file of a killed export
    ledger = Ledger.read(tmp_path)
    ledger.writing = (".onnx.fp32.partial/model*",)
    ledger.save()
    export()
    assert len(list(tmp_path.rglob("mine.txt"))) == 3
    assert not (tmp_path / ".onnx.fp32.partial" / "model.json").exists()
    ledger = Ledger.read(tmp_path)
    assert ledger.fault() is None
    assert sorted(ledger.files) == [
        "manifest.json",
        *(f"onnx/fp32/{n}" for n in ("convert.log", "model.json", "model.onnx")),
    ]


def test_importing_the_package_loads_no_backend():
    import subprocess

    code = (
        "import sys, export.files;"
        "heavy = {'onnx', 'onnxruntime', 'tensorflow', 'coremltools', 'executorch', 'torchao'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
