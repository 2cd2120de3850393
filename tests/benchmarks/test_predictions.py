"""Predictions for each clip: reading returns what was written."""

import csv

import numpy as np

from benchmarks.predictions import write_predictions


def test_each_clip_has_its_line_and_its_logits(tiny_data, tmp_path):
    clips = tiny_data.test.select(("clip",))
    classes = clips.spec.labels[0].classes
    logits = np.random.default_rng(0).normal(size=(len(clips), len(classes))).astype(np.float32)
    logits[2, 1] = np.nan
    write_predictions(tmp_path / "predictions", "onnx.fp32", {"logits": logits}, clips)
    np.testing.assert_array_equal(np.load(tmp_path / "predictions" / "onnx.fp32.npz")["logits"], logits)
    with (tmp_path / "predictions" / "onnx.fp32.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["path"] for line in lines] == [row.path.name for row in clips.rows]
    assert [line["label"] for line in lines] == [row.labels["label"] for row in clips.rows]
    finite = [k for k in range(len(clips)) if k != 2]
    assert [lines[k]["label_prediction"] for k in finite] == [classes[logits[k].argmax()] for k in finite]
    assert (lines[2]["label_prediction"], lines[2]["label_correct"]) == ("", "0")
    correct = sum(line["label_correct"] == "1" for line in lines)
    assert correct == sum(int(logits[k].argmax() == clips.labels[k, 0]) for k in finite)


def test_the_same_logits_give_the_same_bytes(tiny_data, tmp_path):
    clips = tiny_data.test.select(("clip",))
    logits = np.ones((len(clips), len(clips.spec.labels[0].classes)), np.float32)
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_predictions(folder / "predictions", "torch", {"logits": logits}, clips)
    for kind in ("csv", "npz"):
        one, two = ((tmp_path / name / "predictions" / f"torch.{kind}").read_bytes() for name in "ab")
        assert one == two
