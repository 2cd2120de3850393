"""Outputs of teachers on disk."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks.clips.clip_set import Augmentation
from compress.artifact import Artifact
from compress.cached_outputs import CachedOutputs, RecordShape
from compress.criterion import Outputs
from compress.folders import source
from compress.teacher import Teacher, kept_notes, outputs_of
from models.spec import ClipSpec, LabelSpec, VideoSpec
from models.teachers import MultimodalOptions, multimodal_tiny

CPU = torch.device("cpu")
ORIGINAL = source.ROOT


def test_all_logits_and_features_are_kept_as_fp16():
    torch.manual_seed(0)
    shape = RecordShape(classes=(5, 3), features={"embedding": (4, 2)})
    given = Outputs(
        logits=(torch.randn(6, 5), torch.randn(6, 3)), features={"embedding": torch.randn(6, 4, 2)}
    )
    assert shape.dtype.itemsize == 2 * (5 + 3 + 4 * 2)
    found = shape.outputs(shape.records(given), device=CPU)
    for one, other in zip(
        (*found.logits, found.features["embedding"]),
        (*given.logits, given.features["embedding"]),
        strict=True,
    ):
        assert one.dtype == torch.float32 and one.equal(other.half().float())


def test_the_probability_outside_the_top_k_is_spread_evenly():
    """Marginal smoothing by hand: 0.5 and 0.3 are kept, and 0.2 is spread over the other two classes."""
    probabilities = torch.tensor([[0.12, 0.5, 0.08, 0.3]])
    shape = RecordShape(classes=(4,), top_k=2)
    records = shape.records(Outputs(logits=(probabilities.log() + 7.0,)))
    found = shape.outputs(records, device=CPU).logits[0].exp()
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.5, 0.1, 0.3]]), rtol=1e-3, atol=0)
    (kept,) = shape.kept(records)
    assert kept == (0, pytest.approx(0.8, rel=1e-3), pytest.approx(0.8, rel=1e-3))


def test_a_column_of_few_classes_is_whole_and_indices_are_as_small_as_possible():
    shape = RecordShape(classes=(8, 600), top_k=16)
    assert shape.is_whole(0) and not shape.is_whole(1)
    assert shape.dtype.itemsize == 2 * 8 + 16 * (2 + 2) + 2
    assert RecordShape(classes=(200,), top_k=16).dtype.itemsize == 16 * (2 + 1) + 2


def test_certain_predictions_of_many_classes_stay_finite():
    logits = torch.zeros(1, 1000)
    logits[0, 3] = 200.0
    shape = RecordShape(classes=(1000,), top_k=4)
    found = shape.outputs(shape.records(Outputs(logits=(logits,))), device=CPU).logits[0]
    assert found.isfinite().all() and found.argmax() == 3
    torch.testing.assert_close(found.softmax(1)[0, 3], torch.tensor(1.0))


def test_numbers_beyond_fp16_are_refused():
    shape = RecordShape(classes=(2,))
    with pytest.raises(ValueError, match=r"logits of up to 7e\+04; they are stored in fp16, .* 65504"):
        shape.records(Outputs(logits=(torch.tensor([[7e4, 0.0]]),)))


def test_a_batch_is_read_from_a_memory_map(tmp_path):
    shape = RecordShape(classes=(4,))
    logits = torch.arange(40.0).view(10, 4)
    (tmp_path / "outputs.bin").write_bytes(shape.records(Outputs(logits=(logits,))).tobytes())
    cached = CachedOutputs.open(tmp_path / "outputs.bin", shape, clips=10)
    assert isinstance(cached.records, np.memmap) and len(cached) == 10
    assert cached.of([7, 2], device=CPU).logits[0].equal(logits[[7, 2]])
    with pytest.raises(ValueError, match="mmap length is greater than file size"):
        CachedOutputs.open(tmp_path / "outputs.bin", shape, clips=11)


def test_the_top_16_of_400_classes_take_less_than_a_thousandth_of_the_clip():
    video = VideoSpec(frames=8, size=64, resize=72)
    clip_bytes = video.frames * video.resize**2 * 3
    record_bytes = RecordShape(classes=(400,), top_k=16).dtype.itemsize
    assert (record_bytes, clip_bytes) == (66, 124416)
    views = 18
    assert views * record_bytes < 0.01 * clip_bytes


def teacher_of(spec: ClipSpec, **settings) -> Teacher:
    torch.manual_seed(0)
    model = multimodal_tiny(spec, MultimodalOptions()).eval()
    return Teacher(artifact=Artifact(model=model, spec=spec), **{"key": "weights", **settings})


def test_one_bar_covers_all_teachers_and_views(tiny_data, tmp_path, monkeypatch):
    seen = []

    class Bar:
        def __enter__(self):
            return lambda done, total: seen.append((done, total))

        def __exit__(self, *_):
            pass

    titles = []
    monkeypatch.setattr("compress.teacher.bar", lambda console, title, unit: titles.append(title) or Bar())
    teachers = [teacher_of(tiny_data.spec, key=key) for key in ("a", "b")]
    views = (Augmentation(number=0, seed=0), Augmentation(number=1, seed=0))
    found = outputs_of(
        teachers,
        tiny_data.test,
        views=views,
        features=(),
        device=CPU,
        cache=tmp_path,
        console=Console(quiet=True),
    )
    assert titles == ["outputs of the teachers"] and [set(one) for one in found] == [set(views)] * 2
    whole = 4 * len(tiny_data.test)
    assert {total for _, total in seen} == {whole} and seen[-1] == (whole, whole)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    files = sorted(tmp_path.glob("teacher/*/outputs.bin"))
    assert len(files) == 4
    classes = len(tiny_data.spec.labels[0].classes)
    assert {file.stat().st_size for file in files} == {len(tiny_data.test) * classes * 2}


def test_the_kept_probability_is_stated(tiny_data, tmp_path):
    teacher = teacher_of(tiny_data.spec, top_k=2)
    where = {"device": CPU, "cache": tmp_path, "console": Console(quiet=True)}
    cached = teacher.outputs(tiny_data.test, augmentation=None, **where)
    whole = replace(teacher, top_k=None).outputs(tiny_data.test, augmentation=None, **where)
    everything = range(len(tiny_data.test))
    mass = whole.of(everything, device=CPU).logits[0].softmax(1).topk(2).values.sum(1)
    (note,) = kept_notes(teacher, {None: cached})
    label = tiny_data.spec.labels[0]
    assert f"teacher: 2 of {len(label.classes)} classes of {label.name} are cached, with" in note
    assert f"{100 * mass.mean():.1f} % of the probability on average" in note
    assert kept_notes(teacher, {None: whole}) == ()
    files = {file.stat().st_size for file in tmp_path.glob("teacher/*/outputs.bin")}
    of_top, of_all = 2 * (2 + 1) + 2, 2 * len(label.classes)
    assert files == {len(tiny_data.test) * of_top, len(tiny_data.test) * of_all}
    video_bytes = tiny_data.test.batch(everything)[0].numel()
    assert max(files) < 0.002 * video_bytes


def test_stale_outputs_are_never_used(tiny_data, monkeypatch, tmp_path):
    """Weights, code and runtime are in the key of the teacher; the rest is in that of its outputs."""
    teacher, view = teacher_of(tiny_data.spec), Augmentation(number=0, seed=0)
    first = teacher.fingerprint(tiny_data.test, augmentation=view)
    assert first == teacher.fingerprint(tiny_data.test, augmentation=view)
    others = [
        replace(teacher, key="other weights").fingerprint(tiny_data.test, augmentation=view),
        teacher.fingerprint(tiny_data.test.subset(range(1, len(tiny_data.test))), augmentation=view),
        teacher.fingerprint(tiny_data.test, augmentation=replace(view, seed=1)),
        teacher.fingerprint(tiny_data.test, augmentation=None),
        teacher.fingerprint(tiny_data.test, augmentation=view, features=("embedding",)),
        replace(teacher, top_k=2).fingerprint(tiny_data.test, augmentation=view),
    ]
    for name in ("compress/cached_outputs.py", "benchmarks/clips/augmentation.py"):
        root = tmp_path / name.replace("/", "_")
        for package in source.PACKAGES:
            shutil.copytree(ORIGINAL / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
        (root / name).write_text((root / name).read_text() + "NEW = 1\n")
        monkeypatch.setattr(source, "ROOT", root)
        others.append(teacher.fingerprint(tiny_data.test, augmentation=view))
    assert len({first, *others}) == 1 + len(others)


def test_another_label_column_is_a_field_of_the_same_record():
    spec = (LabelSpec(name="x", classes=("a", "b")), LabelSpec(name="y", classes=("a", "b", "c")))
    shape = RecordShape(classes=tuple(len(label.classes) for label in spec))
    records = shape.records(Outputs(logits=(torch.ones(2, 2), torch.zeros(2, 3))))
    assert records.dtype.names == ("logits0", "logits1") and records.nbytes == 2 * 2 * 5
