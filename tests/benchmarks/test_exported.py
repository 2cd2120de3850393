"""Reading an export: its checks, and their messages."""

import json

import pytest

from benchmarks.exported import content_hash, read_export
from benchmarks.latency import measure_latency
from export.manifest import sha256_of
from tests.benchmarks.small_exports import ALL_INPUTS, VIDEO_ONLY, failed_row, onnx_export, write_manifest


@pytest.fixture
def export_dir(tmp_path):
    return onnx_export(tmp_path / "export")


def edit(export_dir, change):
    path = export_dir / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_gives_spec_and_files(export_dir):
    exported = read_export(export_dir)
    assert exported.spec == VIDEO_ONLY
    (file,) = exported.files
    assert (file.format, file.scheme, file.title, file.missing) == (
        "onnx",
        "fp32",
        "onnx/fp32/model.onnx",
        None,
    )
    assert file.inputs[0].shape == (1, 3, 4, 6, 6)
    assert file.size_bytes == file.path.stat().st_size


def test_a_file_that_was_not_exported_keeps_its_reason(tmp_path):
    write_manifest(tmp_path, spec=VIDEO_ONLY, files=[failed_row("tflite", reason="no kernel")])
    assert read_export(tmp_path).files[0].missing == "not exported: no kernel"


def test_a_file_that_is_wrong_is_not_measured(export_dir):
    edit(export_dir, lambda it: it["files"][0].update(status="wrong", reason="the file differs"))
    (file,) = read_export(export_dir).files
    assert file.missing == "misses its pass criterion: the file differs"


def test_an_export_of_which_only_the_shapes_are_known_is_measured_but_not_for_accuracy(tmp_path):
    export_dir = onnx_export(tmp_path / "export", ALL_INPUTS)
    edit(export_dir, lambda it: it.update(spec=None))
    edit(export_dir, lambda it: it["files"][0]["inputs"][2].update(value_range=[0, 3]))
    exported = read_export(export_dir)
    assert exported.spec is None and exported.files[0].inputs[2].value_range == (0, 3)
    with pytest.raises(ValueError, match="specifies only the shapes of its inputs"):
        exported.clip_spec()
    (latency,) = measure_latency(read_export(export_dir), rounds=1)
    assert latency.p50_ms > 0


def test_a_folders_digest_is_the_exporters(tmp_path):
    package = tmp_path / "model.mlpackage"
    for name in ("Manifest.json", "Data/weights/w.bin", "Data/a"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(name)
    assert content_hash(package) == sha256_of(package)


def test_no_such_folder(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no such folder; give the folder with an export's manifest.json"
    ):
        read_export(tmp_path / "nowhere")


def test_a_folder_without_manifest_points_at_one_below(export_dir):
    with pytest.raises(FileNotFoundError, match=r"is not an export: .*; did you mean .*/export\?"):
        read_export(export_dir.parent)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON .*: export again"), ("[]", "contains a list, not the manifest")],
)
def test_a_manifest_that_is_none(export_dir, content, message):
    (export_dir / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_export(export_dir)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=7), "schema_version is 7; this version of Pocketreel reads 1"),
        (lambda m: m.pop("spec"), r"a field is missing or of the wrong type \(KeyError\('spec'\)\)"),
        (lambda m: m.update(files=[]), "lists no files"),
        (lambda m: m["files"][0].update(format="gguf"), "format 'gguf' is unknown; known are onnx, tflite"),
        (
            lambda m: m["files"][0].update(sha256="0"),
            "onnx/fp32/model.onnx is not the file that manifest.json",
        ),
        (lambda m: m["files"][0]["outputs"][0].update(name="y"), "the outputs y, but its spec has logits"),
        (
            lambda m: m["files"][0]["outputs"][0].update(shape=[1, 2]),
            r"shape \[1, 2\], but its spec has 3 classes",
        ),
        (lambda m: m["files"][0].update(scheme={}), "{} is not text"),
        (
            lambda m: m["spec"]["video"].update(resize={}),
            r"spec\.video\.resize: Input should be a valid integer",
        ),
        (lambda m: m["spec"]["video"].update(resize=5), r"spec\.video\.resize is 5, not in 6\.\.4096"),
        (lambda m: m["spec"]["video"].update(stride=0), r"spec\.video\.stride is 0, not in 1\.\."),
        (lambda m: m["spec"]["video"].update(frames=10**7), "input 'clip' has more than 134217728 elements"),
        (lambda m: m["spec"]["video"].update(std=[0.0, 1.0, 1.0]), r"spec\.video\.std is 0\.0"),
        (
            lambda m: m["spec"]["labels"][0].update(classes=[]),
            "label columns with distinct names and classes",
        ),
    ],
)
def test_a_manifest_that_is_wrong(export_dir, change, message):
    edit(export_dir, change)
    with pytest.raises(ValueError, match=message):
        read_export(export_dir)


def test_a_file_that_is_gone(export_dir):
    (export_dir / "onnx/fp32/model.onnx").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"lists onnx/fp32/model.onnx, which is missing: export again"
    ):
        read_export(export_dir)


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (["onyx"], "format 'onyx' is unknown; known are onnx, tflite, executorch, coreml"),
        (["tflite"], "has no file in format 'tflite'; it lists onnx"),
    ],
)
def test_formats_that_are_not_there(export_dir, formats, message):
    with pytest.raises(ValueError, match=message):
        read_export(export_dir, formats=formats)
