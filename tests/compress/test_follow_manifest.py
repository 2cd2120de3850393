"""`manifest.json` is complete: a script written from it alone computes the same numbers."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.clips.cache import open_clips
from benchmarks.clips.rows import ClipRow
from compress.sources.synthetic import SyntheticData, write_synthetic
from compress.steps.reference_clip import write_reference, write_video
from export.capture.graph import capture
from export.capture.stepping import stepper
from export.description import describe
from export.files import Variant, export_files
from export.manifest import file_spec, sha256_of
from models.audiovisual import audiovisual_tiny
from models.mobilenet2plus1d_causal import mobilenet2plus1d_causal_tiny
from models.mobilenet3d import MobileNet3dOptions, mobilenet3d_tiny
from models.spec import AudioSpec, ClipSpec, LabelSpec, TextSpec, VideoSpec
from tests.export.small_nets import SmallNet

ODD = Path(__file__).parents[2] / ".." / "shared" / "data" / "odd_clips"
REAL = (
    "decord__tests__test_data__video_0.mov",
    "moviepy__media__smpte-2997.mp4",
    "moviepy__media__doc_medias__example.mp4",
)
CAPTION = "A red-ball MOVES, don't_stop 2x!"


def script():
    """The script as an application has it: a file, no module of a package."""
    spec = importlib.util.spec_from_file_location("follow", Path(__file__).with_name("follow_manifest.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


follow = script()


def clip_spec(*, audio=None, text=False, **video):
    return ClipSpec(
        video=VideoSpec(**{"frames": 4, "size": 32, "resize": 36, **video}),
        audio=audio,
        text=TextSpec(length=6, vocabulary=("a", "red", "ball", "moves")) if text else None,
        labels=(LabelSpec(name="motion", classes=("left", "right", "up")),),
    )


STUDENTS = {
    "picture": (clip_spec(), lambda spec: mobilenet3d_tiny(spec, MobileNet3dOptions())),
    "sound": (
        clip_spec(audio=AudioSpec(mels=16, bins=16)),
        lambda spec: audiovisual_tiny(spec, MobileNet3dOptions()),
    ),
    "text": (clip_spec(audio=AudioSpec(), text=True), SmallNet),
}


def test_the_script_imports_nothing_of_this_project():
    text = Path(follow.__file__).read_text()
    assert not [name for name in ("benchmarks", "compress", "export.", "models") if f"import {name}" in text]
    assert "from benchmarks" not in text and "from export" not in text and "from models" not in text


def exported(name, out):
    spec, build = STUDENTS[name]
    torch.manual_seed(0)
    network = build(spec).eval()
    described = file_spec(spec, provenance={})
    export_files(
        [Variant(scheme="fp32", program=capture(network, spec.example()))],
        described,
        formats=["onnx", "tflite"],
        out=out,
    )
    write_reference(out, networks={"fp32": network}, spec=described, clips=spec)
    return json.loads((out / "manifest.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
def test_the_reference_clip_gives_its_tensors_and_the_answers_of_every_file(tmp_path, name):
    manifest = exported(name, tmp_path)
    reference = manifest["reference"]
    made = follow.inputs(manifest, tmp_path / reference["video"]["path"], reference["caption"] or "")
    assert sorted(made) == sorted(one["name"] for one in reference["inputs"])
    for one in reference["inputs"]:
        stored = np.load(tmp_path / one["path"])
        assert list(stored.shape) == one["shape"]
        tolerance = 0 if one["name"] == "text" else manifest[one["name"]]["tolerance"]
        assert np.abs(made[one["name"]].astype(float) - stored).max() <= tolerance, one["name"]
    expected = {one["format"]: np.load(tmp_path / one["path"]) for one in reference["outputs"]}
    assert expected.keys() == {"torch", "onnx", "tflite"}
    stored = {one["name"]: np.load(tmp_path / one["path"]) for one in reference["inputs"]}
    for row in manifest["files"]:
        # From its own tensors a file gives its own answers; from those of the script, nearly.
        np.testing.assert_allclose(
            follow.run(tmp_path, row, stored)["logits"], expected[row["format"]], atol=1e-5
        )
        largest = np.abs(expected["torch"]).max()
        np.testing.assert_allclose(
            follow.run(tmp_path, row, made)["logits"], expected["torch"], atol=2e-2 * largest
        )
    listed = (*reference["inputs"], *reference["outputs"])
    assert all(sha256_of(tmp_path / one["path"]) == one["sha256"] for one in listed)


@pytest.mark.slow
def test_a_network_that_streams_has_the_answers_of_both_programs(tmp_path):
    spec = clip_spec()
    torch.manual_seed(0)
    network = mobilenet2plus1d_causal_tiny(spec, MobileNet3dOptions()).eval()
    described = file_spec(spec, provenance={})
    frames = stepper(network, spec.example()[0], described)
    program = capture(network, spec.example())
    export_files(
        [Variant(scheme="fp32", program=program, step=frames)],
        described,
        formats=["onnx", "tflite"],
        out=tmp_path,
    )
    write_reference(
        tmp_path, networks={"fp32": network}, spec=described, clips=spec, steps={"fp32": frames.spec}
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    answers = {
        (one["format"], one["program"]): np.load(tmp_path / one["path"])
        for one in manifest["reference"]["outputs"]
    }
    assert answers.keys() == {
        ("torch", "clip"), ("onnx", "clip"), ("onnx", "step"), ("tflite", "clip"), ("tflite", "step")
    }  # fmt: skip
    for answer in answers.values():
        np.testing.assert_allclose(answer, answers["torch", "clip"], rtol=1e-4, atol=1e-5)


RULES = {
    "uniform": clip_spec(audio=AudioSpec(mels=16, bins=16), text=True),
    "strided": clip_spec(sampling="strided", stride=3, frames=3, size=48, resize=63, text=True, audio=AudioSpec(
        sample_rate_hz=22_050, window=512, hop=220, mels=48, bins=70, mean=-3, std=2
    )),
}  # fmt: skip


def follows(spec, video, cache):
    """Asserts that the script comes to the reader's tensors of a video."""
    row = ClipRow(path=video, split="test", labels={"motion": "up"}, text=CAPTION)
    read = open_clips([row], spec, cache=cache, missing_audio="silence").batch([0])
    manifest = json.loads(json.dumps(describe(spec, provenance={})))
    made = follow.inputs(manifest, video, CAPTION)
    for name, tensor in zip(spec.inputs, read, strict=True):
        tolerance = 0 if name == "text" else manifest[name]["tolerance"]
        assert made[name].shape == tuple(tensor.shape)
        assert np.abs(made[name].astype(float) - tensor.numpy()).max() <= tolerance, (video.name, name)


@pytest.mark.parametrize("rule", RULES)
def test_the_script_follows_generated_videos(tmp_path, rule):
    config = SyntheticData.model_validate(
        {"source": "synthetic", "clips": {"train": 16, "validation": 8, "test": 8}, "difficulty": 0.5}
    )
    write_synthetic(config, tmp_path, workers=0, report=lambda done, total: None)
    for video in sorted((tmp_path / "test").glob("*.mp4"))[:3]:
        follows(RULES[rule], video, tmp_path)


@pytest.mark.skipif(not ODD.is_dir(), reason="needs ../shared/data/odd_clips")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", REAL)
def test_the_script_follows_real_videos(tmp_path, rule, name):
    follows(RULES[rule], ODD / name, tmp_path)


def reference_tensors(tmp_path, spec):
    write_video(tmp_path / "clip.mp4")
    row = ClipRow(path=tmp_path / "clip.mp4", split="test", labels={"motion": "up"}, text=CAPTION)
    read = open_clips([row], spec, cache=tmp_path).batch([0])
    return {name: tensor.numpy() for name, tensor in zip(spec.inputs, read, strict=True)}


@pytest.mark.parametrize(
    ("input_", "wrong"),
    [
        ("clip", {"triangles": "plain bilinear"}),
        ("clip", {"untagged": {"matrix": "bt709", "range": "limited"}}),
        ("clip", {"size": 31}),
        ("audio", {"hop": 200}),
        ("audio", {"floor": 1e-10}),
    ],
)
def test_the_reference_clip_tells_usual_mistakes(tmp_path, monkeypatch, input_, wrong):
    spec = RULES["uniform"]
    manifest = json.loads(json.dumps(describe(spec, provenance={})))
    right = reference_tensors(tmp_path, spec)[input_]
    if "triangles" in wrong:
        monkeypatch.setattr(follow, "triangles", plain_bilinear)
    else:
        manifest[input_] |= wrong
    made = follow.inputs(manifest, tmp_path / "clip.mp4", CAPTION)[input_]
    made = np.pad(made, [(0, there - here) for here, there in zip(made.shape, right.shape, strict=True)])
    assert np.abs(made - right).max() > 10 * manifest[input_]["tolerance"]


def plain_bilinear(m, n, shift=0.0):
    """What `bilinear` without antialiasing is: two values each, however far the reduction goes."""
    at = (np.arange(n) + 0.5) * m / n - 0.5 + shift
    left = np.floor(at).astype(int)
    weights = np.zeros((n, m))
    np.add.at(weights, (np.arange(n), left.clip(0, m - 1)), 1 - (at - left))
    np.add.at(weights, (np.arange(n), (left + 1).clip(0, m - 1)), at - left)
    return weights


def test_the_reference_video_has_the_same_bytes_each_time(tmp_path):
    write_video(tmp_path / "one.mp4")
    write_video(tmp_path / "two.mp4")
    assert sha256_of(tmp_path / "one.mp4") == sha256_of(tmp_path / "two.mp4")
    assert (tmp_path / "one.mp4").stat().st_size < 120_000


@pytest.mark.slow
def test_the_reference_has_the_same_bytes_each_time(tmp_path):
    first, second = (exported("picture", tmp_path / name)["reference"] for name in ("one", "two"))
    assert [one["sha256"] for one in first["inputs"]] == [one["sha256"] for one in second["inputs"]]
    assert [one["sha256"] for one in first["outputs"]] == [one["sha256"] for one in second["outputs"]]
