"""A user's own clips: which are accepted, and the messages for those that do not fit."""

import csv
from dataclasses import replace

import pytest

from benchmarks.field_data import FieldData, open_field_data
from models.spec import LabelSpec, TextSpec
from tests.benchmarks.small_exports import VIDEO_ONLY, write_videos

MOVES = VIDEO_ONLY.labels[0].classes


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Six clips, two of each class, one of them in the training split."""
    root = tmp_path_factory.mktemp("field")
    with (root / "field.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "split", "move", "place"])
        for index, path in enumerate(write_videos(root, count=6)):
            table.writerow(
                [path.name, "train" if index == 5 else "test", MOVES[index % 3], ["in", "out"][index % 2]]
            )
    return root / "field.csv"


def opened(data, tmp_path, spec=VIDEO_ONLY):
    return open_field_data(data, spec, cache=tmp_path / "cache", workers=0)


def test_a_manifests_split_is_read(manifest, tmp_path):
    told = []
    clips = open_field_data(
        FieldData(path=manifest),
        VIDEO_ONLY,
        cache=tmp_path,
        workers=0,
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert clips.labels.tolist() == [[0], [1], [2], [0], [1]]
    assert clips.batch([0])[0].shape == (1, 3, 4, 6, 6)
    assert ("clips", 5, 5) in told


def test_rows_are_chosen_by_their_columns(manifest, tmp_path):
    kept = opened(FieldData(path=manifest, where={"place": ["in"]}), tmp_path)
    left = opened(FieldData(path=manifest, exclude={"move": ["up"]}), tmp_path)
    assert kept.labels.tolist() == [[0], [2], [1]]
    assert left.labels.tolist() == [[0], [1], [0], [1]]


def test_a_folders_classes_are_the_only_label(tmp_path):
    for name in MOVES:
        write_videos(tmp_path / "data/test" / name, count=1)
    clips = opened(FieldData(path=tmp_path / "data"), tmp_path)
    assert sorted(clips.labels.tolist()) == [[0], [1], [2]]


def test_no_such_data(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no such manifest \(CSV\) or folder \(root/split/class/clip.mp4\)"
    ):
        opened(FieldData(path=tmp_path / "nowhere.csv"), tmp_path)


def test_an_empty_split_names_the_others(manifest, tmp_path):
    with pytest.raises(
        ValueError, match=r"no clips in split 'validation'; available: test \(5\), train \(1\)"
    ):
        opened(FieldData(path=manifest, split="validation"), tmp_path)


def test_unknown_classes_are_named(manifest, tmp_path):
    spec = replace(VIDEO_ONLY, labels=(LabelSpec(name="move", classes=("left", "right", "down")),))
    message = (
        r"label 'move' .* unknown to the files: up \(1 of 5 clips\); known are left, right, down.* --exclude"
    )
    with pytest.raises(ValueError, match=message):
        opened(FieldData(path=manifest), tmp_path, spec)


def test_captions_are_needed_by_a_network_that_reads(manifest, tmp_path):
    spec = replace(VIDEO_ONLY, text=TextSpec(length=3, vocabulary=("a",)))
    with pytest.raises(
        ValueError, match="the files take text, but no row has a caption in the column 'text'"
    ):
        opened(FieldData(path=manifest), tmp_path, spec)


def test_a_folder_has_one_label_only(tmp_path):
    spec = replace(VIDEO_ONLY, labels=(*VIDEO_ONLY.labels, LabelSpec(name="colour", classes=("red",))))
    with pytest.raises(ValueError, match=r"have 2 label columns \(move, colour\): pass a manifest"):
        opened(FieldData(path=tmp_path), tmp_path, spec)


def test_a_folder_has_no_columns_to_choose_by(tmp_path):
    with pytest.raises(ValueError, match="--where, --exclude and --pad-s need a manifest"):
        opened(FieldData(path=tmp_path, where={"place": ["in"]}), tmp_path)
