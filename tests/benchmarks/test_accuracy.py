"""Accuracy of files on real clips, and messages for files and clips that do not fit."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import accuracy as accuracy_module
from benchmarks.accuracy import evaluate
from benchmarks.clips.cache import open_clips
from benchmarks.clips.rows import read_manifest
from benchmarks.exported import read_export
from benchmarks.top1 import Accuracy
from models.spec import LabelSpec
from tests.benchmarks.small_exports import (
    VIDEO_ONLY,
    expected_logits,
    file_row,
    onnx_export,
    onnx_with_broken_neighbours,
    weights,
    write_manifest,
    write_onnx,
    write_videos,
)

TWO_COLUMNS = replace(
    VIDEO_ONLY, labels=(*VIDEO_ONLY.labels, LabelSpec(name="colour", classes=("red", "blue")))
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Ten clips with two label columns."""
    root = tmp_path_factory.mktemp("clips")
    moves, colours = VIDEO_ONLY.labels[0].classes, ("red", "blue")
    with (root / "manifest.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "split", "move", "colour"])
        for index, path in enumerate(write_videos(root, count=10)):
            table.writerow([path.name, "test", moves[index % 3], colours[index % 2]])
    rows = read_manifest(root / "manifest.csv", labels=["move", "colour"])
    return open_clips(rows, TWO_COLUMNS, cache=root / "cache")


@pytest.fixture
def export_dir(tmp_path):
    return onnx_export(tmp_path, TWO_COLUMNS)


def test_logits_and_shares_are_those_of_the_clips(export_dir, clips, monkeypatch):
    monkeypatch.setattr(accuracy_module, "_CHUNK_BYTES", 3 * clips.batch([0])[0].nbytes)
    told = []
    (found,) = evaluate(
        read_export(export_dir), clips, progress=lambda what, done, total: told.append((what, done, total))
    )
    expected = expected_logits(TWO_COLUMNS, {"clip": clips.batch(range(len(clips)))[0].numpy()})
    assert list(found.logits) == ["logits_move", "logits_colour"]
    for name, logits in expected.items():
        np.testing.assert_allclose(found.logits[name], logits, rtol=1e-4, atol=1e-4)
    right = {
        label.name: int((logits.argmax(axis=1) == clips.labels[:, column].numpy()).sum())
        for column, (label, logits) in enumerate(zip(TWO_COLUMNS.labels, expected.values(), strict=True))
    }
    assert {name: one.top1 for name, one in found.per_label.items()} == {
        name: count / 10 for name, count in right.items()
    }
    assert found.first == Accuracy(correct=right["move"], total=10)
    plain = found.to_dict()
    assert plain["top1"] == right["move"] / 10 and plain["ci95"] == found.first.interval
    assert plain["per_label"]["colour"]["correct"] == right["colour"]
    assert (found.clips, found.unavailable, found.failed, found.notes) == (10, None, False, ())
    assert found.runtime.startswith("ONNX Runtime 1.")
    assert told == [("accuracy", done, 10) for done in (3, 6, 9, 10)]


def test_a_file_that_cannot_run_does_not_stop_the_others(tmp_path, clips):
    one_column = replace(clips.spec, labels=VIDEO_ONLY.labels)
    moves = open_clips(clips.rows, one_column, cache=tmp_path / "cache")
    found = {one.format: one for one in evaluate(read_export(onnx_with_broken_neighbours(tmp_path)), moves)}
    assert found["onnx"].clips == 10
    assert found["tflite"].failed
    assert "LiteRT failed in 'load'" in found["tflite"].unavailable
    assert found["tflite"].first is None and found["tflite"].to_dict()["top1"] is None
    assert "operator aten.fft has no kernel" in found["executorch"].unavailable


def test_logits_that_are_no_numbers_count_as_wrong(tmp_path, clips):
    matrices = weights(TWO_COLUMNS)
    matrices["clip", "logits_colour"][:] = np.nan
    inputs = write_onnx(tmp_path / "onnx/fp32/model.onnx", TWO_COLUMNS, matrices=matrices)
    row = file_row(tmp_path, format="onnx", path="onnx/fp32/model.onnx", inputs=inputs, spec=TWO_COLUMNS)
    write_manifest(tmp_path, spec=TWO_COLUMNS, files=[row])
    (found,) = evaluate(read_export(tmp_path), clips)
    assert found.per_label["colour"].top1 == 0
    assert found.notes == ("colour: 10 clips have non-finite logits and count as wrong",)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (
            {
                "labels": (
                    replace(TWO_COLUMNS.labels[0], classes=("up", "left", "right")),
                    TWO_COLUMNS.labels[1],
                )
            },
            "labels",
        ),
        ({"video": replace(TWO_COLUMNS.video, frames=8)}, "video"),
    ],
)
def test_clips_prepared_otherwise_are_refused(tmp_path, clips, change, name):
    export_dir = onnx_export(tmp_path, replace(TWO_COLUMNS, **change))
    with pytest.raises(
        ValueError, match=f"the clips differ from what the files expect in {name}: clips have"
    ):
        evaluate(read_export(export_dir), clips)


def test_normalisation_inside_the_file_is_not_the_clips_matter(tmp_path, clips):
    other = replace(TWO_COLUMNS, video=replace(TWO_COLUMNS.video, mean=(0.4, 0.4, 0.4)))
    (found,) = evaluate(read_export(onnx_export(tmp_path, other)), clips)
    assert found.clips == 10
