"""Baselines: written by one option, read only as they were written, and refused for other clips."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from compress.folders.ledger import FolderRefused
from compress.gating.baseline import check_same_clips, read_baseline, write_baseline
from compress.gating.measured import read_measured, run_folder_of
from tests.measured_runs import logits_of, truth_of, write_run
from tests.specs import small_spec

ANSWERS = {"onnx.w8a8": logits_of(truth_of(12)), "torch.w8a8": logits_of(truth_of(12), [0])}


@pytest.fixture
def run(tmp_path):
    return read_measured(write_run(tmp_path / "run", ANSWERS, clips=12))


@pytest.fixture
def folder(run, tmp_path):
    write_baseline(run, tmp_path / "baseline")
    return tmp_path / "baseline"


def other(tmp_path, **settings):
    answers = {"onnx.w8a8": logits_of(truth_of(settings.get("clips", 12)))}
    return read_measured(write_run(tmp_path / "other", answers, **{"clips": 12, **settings}))


def test_a_baseline_has_all_that_is_needed_to_compare_again(run, folder):
    shutil.rmtree(run.folder)
    read, about = read_baseline(folder)
    for name, columns in run.answers.items():
        assert np.array_equal(read.answers[name]["label"], columns["label"])
    (file,) = read.exported.files
    assert file.path.is_relative_to(folder) and file.path.read_bytes()
    assert about["clips"] == {"count": 12, "files": 12, "digest": run.clips.digest}
    assert about["environment"] == run.report["environment"]
    assert read.report == run.report and read.coverage == run.coverage


def test_a_baseline_is_replaced_by_its_own_option_only(run, folder, tmp_path):
    (tmp_path / "new").mkdir()
    new = other(tmp_path / "new", work=3)
    write_baseline(new, folder)
    read, _ = read_baseline(folder)
    assert read.sha256 == new.sha256 != run.sha256
    assert "torch.w8a8" not in read.answers and not folder.with_name("baseline.partial").exists()


def test_an_empty_folder_is_filled(run, tmp_path):
    for name in ("baseline", "baseline.partial"):
        (tmp_path / name).mkdir()
    write_baseline(run, tmp_path / "baseline")
    assert read_baseline(tmp_path / "baseline")[0].sha256 == run.sha256


def test_files_of_others_are_never_replaced(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(FolderRefused, match="files that are not a baseline, which are never changed"):
        write_baseline(run, tmp_path / "mine")
    with pytest.raises(FolderRefused, match="is inside the run"):
        write_baseline(run, run.folder / "baseline")
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderRefused, match="is a file; give a folder"):
        write_baseline(run, tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(FolderRefused, match="symbolic link"):
        write_baseline(run, tmp_path / "link")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


def test_a_missing_baseline_says_how_to_write_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="write one from a run that you trust with --update-baseline"):
        read_baseline(tmp_path)


@pytest.mark.parametrize("name", ["report.json", "export/onnx/w8a8/model.onnx", "predictions/onnx.w8a8.csv"])
def test_a_changed_baseline_is_refused(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(ValueError, match="not as it was written; restore it, or write it again"):
        read_baseline(folder)


def test_a_baseline_of_a_later_version_is_refused(folder):
    from compress.folders.ledger import Ledger
    from compress.folders.writing import read_sealed_json, write_sealed_json

    about = read_sealed_json(folder / "baseline.json")
    write_sealed_json(folder / "baseline.json", {**about, "schema_version": 9})
    Ledger.read(folder).finish()
    with pytest.raises(ValueError, match="schema_version is 9; this version of Pocketreel reads 1"):
        read_baseline(folder)


def test_pickles_are_not_loaded(run):
    path = run.folder / "predictions" / "onnx.w8a8.npz"
    np.savez(path, logits=np.array([{"a": 1}], dtype=object))
    from compress.folders.ledger import Ledger

    Ledger.read(path.parent).finish()
    with pytest.raises(ValueError, match=r"onnx\.w8a8\.npz: cannot be read as the logits of this export"):
        read_measured(run.folder)


def test_logits_of_another_shape_are_refused(run):
    from compress.folders.ledger import Ledger

    path = run.folder / "predictions" / "onnx.w8a8.npz"
    np.savez(path, logits=np.zeros((12, 5), np.float32))
    Ledger.read(path.parent).finish()
    with pytest.raises(ValueError, match=r"has float32 \[12, 5\]; expected is float32 \[12, 3\]"):
        read_measured(run.folder)


def test_changed_predictions_of_a_run_are_refused(run):
    path = run.folder / "predictions" / "onnx.w8a8.csv"
    path.write_text(path.read_text().replace("c", "d"))
    with pytest.raises(ValueError, match="the predictions are not those that were measured; measure again"):
        read_measured(run.folder)


def test_a_run_without_a_report_or_predictions_is_refused(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="give the folder of a finished run"):
        run_folder_of(tmp_path)
    assert run_folder_of(run.folder / "report.json") == run.folder
    shutil.rmtree(run.folder / "predictions")
    with pytest.raises(FileNotFoundError, match="there are no predictions for each clip"):
        read_measured(run.folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clips": 15}, r"the clips differ: the run has 15 \(digest \w{12}\), the baseline 12 \(digest"),
        ({"clips_per_file": 2}, r"clip 0 is 0000.mp4 \[0 to 1 s\] in the run and 0000.mp4 in the baseline"),
        ({"content": 1}, r"names are equal, but not the decoded content.*\(digest \w{12} in the run"),
        ({"spec": small_spec("text", labels=("word",))}, "the run has word, the baseline label"),
    ],
)
def test_other_clips_are_refused(folder, tmp_path, settings, message):
    baseline, _ = read_baseline(folder)
    with pytest.raises(ValueError, match=message):
        check_same_clips(other(tmp_path, **settings), baseline)


def test_other_classes_are_refused(folder, tmp_path):
    from dataclasses import replace

    spec = small_spec("text")
    spec = replace(spec, labels=(replace(spec.labels[0], classes=("a", "b", "d")),))
    baseline, _ = read_baseline(folder)
    with pytest.raises(ValueError, match=r"the classes of label differ: the run has 3 \(a, b, d"):
        check_same_clips(other(tmp_path, spec=spec), baseline)


def test_a_table_with_other_classes_than_the_export_is_refused(run):
    manifest = run.folder / "export" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["spec"]["labels"][0]["classes"] = ["x", "y", "z"]
    manifest.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="does not have the label columns and classes of the export"):
        read_measured(run.folder)
