import json

import pytest

from export import EXPORTERS, require
from export.description import describe
from export.manifest import file_spec, sha256_of, size_bytes_of
from models.spec import ClipSpec
from tests.export.small_nets import CLASSES, clip_spec


@pytest.mark.parametrize("name", EXPORTERS)
def test_layout_and_token_type_follow_the_format(name):
    exporter = EXPORTERS[name]
    spec = clip_spec(frames=4, size=16, audio=True, text=True, heads=2)
    made = file_spec(
        spec, clip_layout=exporter.clip_layout, token_dtype=exporter.token_dtype, provenance={"run": "r"}
    )
    clip, audio, text = made.inputs
    assert clip.shape == {"NCTHW": (1, 3, 4, 16, 16), "NTHWC": (1, 4, 16, 16, 3)}[clip.layout]
    assert clip.mean == spec.video.mean and clip.normalised_by == "the file"
    assert (audio.layout, audio.shape, audio.normalised_by) == ("NCMB", (1, 1, 8, 12), "the caller")
    assert (text.layout, text.shape, text.dtype) == ("NL", (1, 6), exporter.token_dtype)
    assert [(info.name, info.shape) for info in made.outputs] == [
        ("logits_column0", (1, 5)),
        ("logits_column1", (1, 2)),
    ]
    assert made.classes[0] == CLASSES


def test_tflite_takes_frames_channels_last_and_small_tokens():
    assert (EXPORTERS["tflite"].clip_layout, EXPORTERS["tflite"].token_dtype) == ("NTHWC", "int32")


def test_description_is_json_that_gives_the_spec_back():
    spec = clip_spec(audio=True, text=True, heads=2)
    read = json.loads(json.dumps(describe(spec, provenance={"recipe": "small"}), allow_nan=False))
    assert ClipSpec.from_dict(read["spec"]) == spec
    assert read["schema_version"] == 1
    assert read["provenance"] == {"recipe": "small"}
    assert read["labels"][0] == {"name": "column0", "classes": list(CLASSES)}


def test_description_of_a_clip_only_network_has_no_sound_and_no_text():
    described = describe(clip_spec(), provenance={})
    assert described["audio"] is None and described["text"] is None
    assert described["clip"]["size"] == 16


def test_fields_that_do_not_apply_are_left_out():
    made = file_spec(clip_spec(), clip_layout="NCTHW", token_dtype="int64", provenance={})
    assert made.outputs[0].to_dict() == {
        "name": "logits",
        "shape": (1, 5),
        "dtype": "float32",
        "layout": "NK",
    }


def test_digest_and_size_of_files_and_folders(tmp_path):
    package = tmp_path / "model.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data" / "weights.bin").write_bytes(b"123")
    (package / "Manifest.json").write_bytes(b"{}")
    first = sha256_of(package)
    assert size_bytes_of(package) == 5
    assert len(first) == 64
    (package / "Data" / "weights.bin").rename(package / "Data" / "moved.bin")
    assert sha256_of(package) != first
    assert sha256_of(package / "Manifest.json") != first
    assert size_bytes_of(package / "Manifest.json") == 2


def test_a_missing_backend_names_its_pip_line():
    with pytest.raises(ImportError, match=r"writing \.onnx files needs no_such_backend.*'\.\[onnx\]'"):
        require("onnx", "no_such_backend")


def test_rules_name_the_numbers_of_the_network():
    described = describe(clip_spec(audio=True, text=True), provenance={})
    assert (
        "i = 0..3, is the one shown at start + (i + 0.5) * (end - start) / 4" in described["clip"]["rule"][0]
    )
    assert "f = 18 / min(W * aspect, H)" in described["clip"]["rule"][1]
    assert "cut out 16 x 16 from row (h - 18) // 2 + 1" in described["clip"]["rule"][5]
    assert "Give (x - -4) / 4" in described["audio"]["rule"][-1]
    assert "Keep the first 6 numbers" in described["text"]["rule"][-1]
