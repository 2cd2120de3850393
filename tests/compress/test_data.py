import io
from collections import Counter
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from benchmarks.clips.augmentation import AugmentationSettings, Color, Temporal
from benchmarks.clips.cache import Augmentation
from benchmarks.clips.rows import SPLITS
from benchmarks.clips.text import tags_in
from compress.clip import ClipConfig
from compress.data import DataConfig, open_data
from compress.sources.folder import FolderData
from compress.sources.manifest import ManifestData
from compress.sources.synthetic import SyntheticData
from compress.splits import stratified
from models.teachers.modular import is_there
from tests.benchmarks.clips.films import film

CLIP = ClipConfig(frames=4, size=16)


def opened(config, tmp_path, *, clip=CLIP, seed=0):
    said = io.StringIO()
    console = Console(file=said, width=200)
    data = open_data(config, clip, cache=tmp_path / "cache", workers=0, seed=seed, console=console)
    return data, said.getvalue()


def manifest(tmp_path, lines, *, columns="path,split,label,text", tone_hz=None):
    for number, line in enumerate(lines):
        path = tmp_path / line.split(",")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            film(path, frames=4 + number, tone_hz=tone_hz)
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join([columns, *lines]) + "\n", encoding="utf-8")
    return path


USUAL = [
    "a.mp4,train,no,well oh",
    "b.mp4,train,yes,oh",
    "c.mp4,validation,no,oh oh",
    "d.mp4,test,yes,ah",
]


def of(path, **kwargs):
    return ManifestData(source="manifest", manifest=path, labels=["label"], **kwargs)


def test_manifest_gives_all_splits_and_a_complete_spec(tmp_path):
    clip = ClipConfig(frames=4, size=16, audio={"mels": 16, "bins": 8}, text={"length": 2, "max_words": 10})
    data, said = opened(of(manifest(tmp_path, USUAL, tone_hz=500)), tmp_path, clip=clip)
    assert [len(clips) for clips in (data.train, data.validation, data.test)] == [2, 1, 1]
    assert data.spec.labels[0].classes == ("no", "yes")
    assert data.spec.text.vocabulary == ("oh", "well")
    assert (data.spec.video.resize, data.spec.audio.mels) == (18, 16)
    assert data.spec == data.train.spec == data.test.spec
    assert data.test.batch([0])[2].tolist() == [[1, 0]]
    assert data.train.labels.tolist() == [[0], [1]]
    assert "clips: 2 train, 1 validation, 1 test; 2 classes of label" in said


def test_several_label_columns_keep_their_order(tmp_path):
    lines = ["a.mp4,train,x,1", "b.mp4,train,y,2", "c.mp4,validation,x,2", "d.mp4,test,y,1"]
    path = manifest(tmp_path, lines, columns="path,split,letter,digit")
    config = ManifestData(source="manifest", manifest=path, labels=["digit", "letter"])
    data, _ = opened(config, tmp_path)
    assert [(label.name, label.classes) for label in data.spec.labels] == [
        ("digit", ("1", "2")),
        ("letter", ("x", "y")),
    ]
    assert data.test.labels.tolist() == [[0, 1]]


def test_training_clips_move_within_their_margin_and_stay_the_same_without_augmentation(tmp_path):
    """Frame k of a film has a brightness of 20 + 10 k; clips are the frames 2 and 3 of a file."""
    columns = "path,split,label,text,start_s,end_s"
    lines = [f"{name}.mp4,{split},no,,0.2,0.4" for name, split in zip("abc", SPLITS, strict=True)]
    lines.append("d.mp4,train,yes,,,")
    for name in "abcd":
        film(tmp_path / f"{name}.mp4", frames=8)
    path = manifest(tmp_path, lines, columns=columns)
    settings = AugmentationSettings(temporal=Temporal(shift=0.5), color=Color(brightness=0, contrast=0))
    for margin, moves in ((0, {(2, 2), (2, 3), (3, 3)}), (1, {(1, 2), (2, 3), (3, 4)})):
        clip = ClipConfig(frames=2, size=16, margin=margin)
        data, _ = opened(of(path, leakage="allow"), tmp_path, clip=clip)
        found = {
            frames_of(data.train.batch([0], augmentation=Augmentation(number=k, seed=0, settings=settings)))
            for k in range(20)
        }
        assert found == moves
        assert frames_of(data.train.batch([0])) == frames_of(data.test.batch([0])) == (2, 3)


def frames_of(inputs):
    """Which frames of a film the first clip has."""
    return tuple(((inputs[0][0].mean((0, 2, 3)) * 255 - 20) / 10).round().int().tolist())


def test_missing_validation_is_held_out_by_file_and_said(tmp_path):
    lines = [
        f"v{k}.mp4,train,{'no' if k % 2 else 'yes'},,{s},{s + 0.1}" for k in range(10) for s in (0.0, 0.2)
    ]
    lines += ["t.mp4,test,no,,,"]
    path = manifest(tmp_path, lines, columns="path,split,label,text,start_s,end_s")
    data, said = opened(of(path, validation_fraction=0.25), tmp_path)
    assert "no split `validation`: 3 of 10 training files (25%) are held out" in said
    held = {row.path for row in data.validation.rows}
    assert (len(held), len(data.validation), len(data.train)) == (3, 6, 14)
    assert held.isdisjoint(row.path for row in data.train.rows)
    again, _ = opened(of(path, validation_fraction=0.25), tmp_path)
    assert {row.path for row in again.validation.rows} == held
    seeds = {
        tuple(sorted(row.path for row in opened(of(path), tmp_path, seed=s)[0].validation.rows))
        for s in range(6)
    }
    assert len(seeds) > 1


UNLABELED = ["e.mp4,unlabeled,,", "f.mp4,unlabeled,maybe,hm"]


def test_unlabeled_clips_follow_the_training_clips_without_labels(tmp_path):
    config = of(manifest(tmp_path, [*UNLABELED[:1], *USUAL, *UNLABELED[1:]]))
    data, said = opened(config, tmp_path)
    assert "clips: 2 train, 1 validation, 1 test, 2 unlabeled; 2 classes of label" in said
    assert (len(data.train), data.train.labels.tolist()) == (2, [[0], [1]])
    assert data.taught.labels.tolist() == [[0], [1], [-1], [-1]]
    assert [row.path.name for row in data.taught.rows] == ["a.mp4", "b.mp4", "e.mp4", "f.mp4"]
    assert data.spec.labels[0].classes == ("no", "yes"), "their labels are ignored"
    assert torch.equal(data.taught.batch([0, 1])[0], data.train.batch([0, 1])[0])
    assert not torch.equal(data.taught.batch([2])[0], data.taught.batch([0])[0])
    without, _ = opened(of(manifest(tmp_path, USUAL)), tmp_path)
    assert without.taught is without.train


def test_unlabeled_clips_of_held_out_files_are_left_out(tmp_path):
    files = [f"v{k}.mp4" for k in range(10)]
    lines = [f"{name},train,{'no' if k % 2 else 'yes'},,0,0.1" for k, name in enumerate(files)]
    lines += [f"{name},unlabeled,,,0.05,0.2" for name in files] + ["t.mp4,test,no,,,"]
    path = manifest(tmp_path, lines, columns="path,split,label,text,start_s,end_s")
    data, said = opened(of(path, validation_fraction=0.25), tmp_path)
    assert "3 unlabeled clips of these files are left out" in said
    assert len(data.taught) == 7 + 7
    held = {row.path for row in data.validation.rows}
    assert held.isdisjoint(row.path for row in data.taught.rows)


def test_unlabeled_clips_must_not_be_test_clips_and_may_be_training_clips(tmp_path):
    again = ["a.mp4,unlabeled,,,,", *(f"{line},," for line in USUAL)]
    columns = "path,split,label,text,start_s,end_s"
    data, _ = opened(of(manifest(tmp_path, again, columns=columns)), tmp_path)
    assert len(data.taught) == 3
    with pytest.raises(
        ValueError, match=r"1 clips are in two splits.*\n.*d\.mp4 in train and d\.mp4 in test"
    ):
        opened(of(manifest(tmp_path, ["d.mp4,unlabeled,,", *USUAL])), tmp_path)


def test_a_folder_has_unlabeled_clips_without_classes(tmp_path):
    for k, name in enumerate(("train/no/a", "train/yes/b", "validation/no/c", "test/yes/d", "unlabeled/e")):
        path = tmp_path / "root" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        film(path, frames=4 + k)
    config = FolderData(source="folder", root=tmp_path / "root")
    data, _ = opened(config, tmp_path)
    assert data.taught.labels.tolist() == [[0], [1], [-1]]
    (tmp_path / "root" / "unlabeled" / "no").mkdir()
    with pytest.raises(ValueError, match="unlabeled/no is a folder: put clips without labels directly into"):
        opened(config, tmp_path)


@pytest.mark.parametrize(
    "lines, message",
    [
        (["a.mp4,train,x,", "b.mp4,train,y,"], "no clips in split test"),
        (["a.mp4,test,x,", "b.mp4,test,y,"], "no clips in split train; train and test are required"),
        (
            ["a.mp4,train,x,", "b.mp4,train,x,", "c.mp4,test,x,"],
            "has only the class 'x' in split train",
        ),
        (["a.mp4,train,x,", "c.mp4,test,x,"], "1 training files are too few for a hold-out split"),
        ([*USUAL, "e.mp4,test,maybe,"], "class 'maybe' is in split test but not in train"),
    ],
)
def test_data_that_does_not_fit_is_refused(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        opened(of(manifest(tmp_path, lines)), tmp_path)


def test_captions_have_to_be_there_when_wanted(tmp_path):
    clip = ClipConfig(frames=4, size=16, text={})
    with pytest.raises(ValueError, match="the recipe uses captions"):
        opened(of(manifest(tmp_path, USUAL), text=None), tmp_path, clip=clip)


def test_unreadable_clips_are_refused_or_left_out_and_said(tmp_path):
    path = manifest(tmp_path, [*USUAL, "e.mp4,train,no,"])
    (tmp_path / "e.mp4").write_text("not a video")
    with pytest.raises(ValueError, match="1 of 5 clips cannot be read"):
        opened(of(path), tmp_path)
    data, said = opened(of(path, unreadable="skip", max_unreadable_share=0.2), tmp_path)
    assert [entry[0].name for entry in data.skipped] == ["e.mp4"]
    assert (
        "1 of 5 clips (20.0%) cannot be read and are excluded" in said and "1 clip: cannot be opened" in said
    )
    assert len(data.train) == 2


def test_missing_sound_is_silence_only_when_the_recipe_says_so(tmp_path):
    path = manifest(tmp_path, USUAL)
    clip = ClipConfig(frames=4, size=16, audio={})
    with pytest.raises(ValueError, match="has no audio"):
        opened(of(path), tmp_path, clip=clip)
    data, _ = opened(of(path, missing_audio="silence"), tmp_path, clip=clip)
    assert data.train.batch([0])[1].std() < 1e-6


def test_odd_files_are_noted(tmp_path):
    path = manifest(tmp_path, USUAL)
    film(tmp_path / "d.mp4", frames=1)
    assert "note: 1 file: has a single frame" in opened(of(path), tmp_path)[1]


def test_folder(tmp_path):
    for number, name in enumerate(("train/no/a", "train/yes/b", "validation/no/c", "test/yes/d")):
        path = tmp_path / "clips" / f"{name}.mp4"
        path.parent.mkdir(parents=True)
        film(path, frames=4 + number)
    data, _ = opened(FolderData(source="folder", root=tmp_path / "clips"), tmp_path)
    assert data.spec.labels[0].name == "class"
    assert data.test.labels.tolist() == [[1]]


def test_synthetic_is_written_once_and_read_like_any_manifest(tmp_path):
    config = SyntheticData(
        source="synthetic", clips={"train": 48, "validation": 8, "test": 8}, fps=8, difficulty=0.0
    )
    clip = ClipConfig(frames=4, size=64, audio={"bins": 16}, text={})
    data, _ = opened(config, tmp_path, clip=clip)
    (folder,) = (tmp_path / "cache").glob("synthetic-*")
    written = (folder / "manifest.csv").stat().st_mtime_ns
    again, _ = opened(config, tmp_path, clip=clip)
    assert (folder / "manifest.csv").stat().st_mtime_ns == written
    assert len(data.spec.labels[0].classes) == 8
    assert data.train.digest == again.train.digest
    assert all(torch.equal(a, b) for a, b in zip(data.test.batch([3]), again.test.batch([3]), strict=True))


def test_configs_are_told_apart_by_source_and_strict():
    read = TypeAdapter(DataConfig).validate_python
    assert isinstance(read({"source": "synthetic"}), SyntheticData)
    assert isinstance(read({"source": "manifest", "manifest": "m.csv", "labels": ["x"]}), ManifestData)
    assert read({"source": "folder", "root": "clips"}) == FolderData(source="folder", root=Path("clips"))
    for wrong, message in (
        ({"source": "folders"}, "does not match any of the expected tags"),
        ({"source": "folder", "root": "x", "rot": 1}, "Extra inputs"),
        ({"source": "manifest", "manifest": "m.csv", "labels": []}, "at least 1 item"),
        (
            {"source": "manifest", "manifest": "m.csv", "labels": ["x", "x"]},
            "labels name a column twice: x, x",
        ),
    ):
        with pytest.raises(ValidationError, match=message):
            read(wrong)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"size": 64, "resize": 60}, "resize 60 is smaller than size 64"),
        ({"stride": 2}, "stride 2 has no effect with sampling `uniform`"),
        ({"std": (0.5, 0.0, 0.5)}, "greater than or equal to 0.001"),
        ({"audio": {"mels": 300}}, "300 mel bands are too many for a window of 400 samples"),
        ({"frame": 8}, "Extra inputs"),
    ],
)
def test_clip_settings_are_checked(given, message):
    with pytest.raises(ValidationError, match=message):
        ClipConfig(**given)


def test_resize_follows_size_unless_given():
    assert ClipConfig(size=112).video_spec().resize == 126
    assert ClipConfig(size=112, resize=112).video_spec().resize == 112


TAGGED = [
    "a.mp4,train,no,one; two,well,oh",
    "b.mp4,train,yes,,,ah",
    "c.mp4,validation,no,two,well,",
    "d.mp4,test,yes,one,,oh",
]
TAG_COLUMNS = "path,split,label,kind,title,subtitles"


def test_tags_are_taken_from_the_training_clips(tmp_path):
    path = manifest(tmp_path, TAGGED, columns=TAG_COLUMNS)
    data, said = opened(of(path, tags=["kind"]), tmp_path)
    assert [(column.name, column.classes) for column in data.spec.tags] == [("kind", ("one", "two"))]
    assert [tags_in(row.more["kind"], separator=data.tag_separator) for row in data.train.rows] == [
        ["one", "two"],
        [],
    ]
    assert "2 classes of label, 2 kind" in said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("d.mp4,test,yes,three,,oh", "tags 'kind': 'three' is in split test but not in train"),
        ("d.mp4,test,yes,,,oh", "no clip of split test has a tag in column 'kind'"),
    ],
)
def test_tags_that_do_not_fit_are_refused(tmp_path, line, message):
    path = manifest(tmp_path, [*TAGGED[:3], line], columns=TAG_COLUMNS)
    with pytest.raises(ValueError, match=message):
        opened(of(path, tags=["kind"]), tmp_path)


def test_texts_of_several_columns_are_joined_in_order(tmp_path):
    path = manifest(tmp_path, TAGGED, columns=TAG_COLUMNS)
    clip = ClipConfig(frames=4, size=16, text={"length": 4})
    data, _ = opened(of(path, text=["subtitles", "title"], text_separator=" / "), tmp_path, clip=clip)
    texts = [row.text for clips in (data.train, data.validation, data.test) for row in clips.rows]
    assert texts == ["oh / well", "ah", "well", "oh"]


def test_a_text_or_tag_column_that_is_not_there_is_refused(tmp_path):
    path = manifest(tmp_path, TAGGED, columns=TAG_COLUMNS)
    with pytest.raises(ValueError, match="no column 'titel'; nearest: 'title'"):
        opened(of(path, text=["titel"]), tmp_path)
    with pytest.raises(ValueError, match="no column 'kinds'; nearest: 'kind'"):
        opened(of(path, tags=["kinds"]), tmp_path)


def test_a_column_is_for_labels_or_for_tags():
    with pytest.raises(ValidationError, match="labels and tags name a column twice: label, label"):
        ManifestData(source="manifest", manifest=Path("x.csv"), labels=["label"], tags=["label"])


@pytest.mark.parametrize(
    "augmentation", [None, Augmentation(number=0, seed=0), Augmentation(number=1, seed=0)]
)
def test_clips_without_sound_or_words_are_missing_them_for_a_teacher(tmp_path, augmentation):
    """In every view: what stands in for sound that is not there is the same throughout."""
    lines = ["a.mp4,train,no,", "b.mp4,train,yes,oh", "c.mp4,validation,no,oh", "d.mp4,test,yes,oh"]
    clip = ClipConfig(frames=4, size=16, audio={"mels": 16, "bins": 24}, text={"length": 2})
    data, _ = opened(of(manifest(tmp_path, lines), missing_audio="silence"), tmp_path, clip=clip)
    given = zip(data.spec.inputs, data.train.batch([0, 1], augmentation=augmentation), strict=True)
    assert {name: is_there(name, x).tolist() for name, x in given} == {
        "clip": [True, True],
        "audio": [False, False],
        "text": [False, True],
    }


def copied(tmp_path, name, of):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((tmp_path / of).read_bytes())


def distinct(tmp_path):
    """Files of different content, as `film` writes the same one for every name."""
    for number, name in enumerate("abcd"):
        film(tmp_path / f"{name}.mp4", frames=4 + number)


LEAKS = {
    "path": ("{a}", "a.mp4 in train and a.mp4 in test"),
    "spelling": ("x/../a.mp4", "a.mp4 in train and x/../a.mp4 in test"),
    "symlink": ("link.mp4", "a.mp4 in train and link.mp4 in test"),
    "hardlink": ("hard.mp4", "a.mp4 in train and hard.mp4 in test"),
    "copy": ("x/copy.mp4", "a.mp4 in train and x/copy.mp4 in test"),
}


@pytest.mark.parametrize("kind", LEAKS)
def test_a_clip_in_two_splits_is_refused_or_said(tmp_path, kind):
    distinct(tmp_path)
    name, message = LEAKS[kind][0].format(a="a.mp4"), LEAKS[kind][1]
    (tmp_path / "x").mkdir()
    if kind == "symlink":
        (tmp_path / name).symlink_to("a.mp4")
    elif kind == "hardlink":
        (tmp_path / name).hardlink_to(tmp_path / "a.mp4")
    elif kind == "copy":
        copied(tmp_path, name, "a.mp4")
    path = manifest(tmp_path, [*USUAL, f"{name},test,no,oh"])
    with pytest.raises(ValueError, match="1 clips are in two splits, by path, link or content") as caught:
        opened(of(path), tmp_path)
    assert message in str(caught.value) and "allow them with `leakage: allow`" in str(caught.value)
    data, said = opened(of(path, leakage="allow"), tmp_path)
    assert len(data.test) == 2 and "warning: 1 clips are in two splits" in said
    assert message in data.notes[0]


def test_spans_of_a_file_may_be_in_two_splits_only_when_that_is_allowed_and_they_do_not_overlap(tmp_path):
    distinct(tmp_path)
    film(tmp_path / "long.mp4", frames=30)
    columns = "path,split,label,text,start_s,end_s"
    usual = [f"{line},," for line in USUAL]
    apart = [
        *usual,
        "long.mp4,train,no,,0,1.0",
        "long.mp4,test,no,,1.0,2.0",
        "long.mp4,validation,no,,2.0,3.0",
    ]
    path = manifest(tmp_path, apart, columns=columns)
    with pytest.raises(
        ValueError,
        match=r"2 files have clips in two splits, which do not overlap\n"
        r"  long.mp4 \(0..1 s\) in train and long.mp4 \(2..3 s\) in validation\n"
        r"  long.mp4 \(0..1 s\) in train and long.mp4 \(1..2 s\) in test\n"
        r"clips of one file share speaker, place and light.*allow different spans of a file with `leakage: spans`",
    ):
        opened(of(path), tmp_path)
    data, said = opened(of(path, leakage="spans"), tmp_path)
    assert len(data.test) == 2 and "warning: 2 files have clips in two splits" in said
    overlapping = [
        *usual,
        "long.mp4,train,no,,0,1.5",
        "long.mp4,test,no,,1.0,2.0",
        "long.mp4,validation,no,,2.0,",
    ]
    with pytest.raises(
        ValueError, match=r"1 clips .*\n  long.mp4 \(0..1.5 s\) in train and long.mp4 \(1..2 s\) in test"
    ):
        opened(of(manifest(tmp_path, overlapping, columns=columns), leakage="spans"), tmp_path)
    with pytest.raises(ValueError, match="2 clips are in two splits"):
        opened(of(manifest(tmp_path, apart, columns=columns), pad_s=0.1, leakage="spans"), tmp_path)


def test_clips_of_a_folder_leak_too(tmp_path):
    for number, name in enumerate(("train/no/a", "train/yes/b", "validation/no/c", "test/yes/d")):
        path = tmp_path / "clips" / f"{name}.mp4"
        path.parent.mkdir(parents=True)
        film(path, frames=4 + number)
    copied(tmp_path, "clips/test/no/e.mp4", "clips/train/no/a.mp4")
    with pytest.raises(ValueError, match=r"train/no/a\.mp4 in train and test/no/e\.mp4 in test"):
        opened(FolderData(source="folder", root=tmp_path / "clips"), tmp_path)


def test_files_held_out_take_their_copies_along(tmp_path):
    lines = []
    for number in range(12):
        name = f"v{number}.mp4"
        film(tmp_path / name, frames=4 + number // 2)  # every file twice
        lines.append(f"{name},train,{'no' if number % 4 < 2 else 'yes'},")
    film(tmp_path / "t.mp4", frames=30)
    path = manifest(tmp_path, [*lines, "t.mp4,test,no,"])
    for seed in range(4):
        data, _ = opened(of(path, validation_fraction=0.2), tmp_path, seed=seed)
        held = {int(row.path.stem[1:]) // 2 for row in data.validation.rows}
        assert held.isdisjoint(int(row.path.stem[1:]) // 2 for row in data.train.rows)


def chosen(classes, fraction):
    """The items held out, as letters; `classes` are a word for each item."""
    items = {str(number): {("label", each) for each in own} for number, own in enumerate(classes)}
    return [int(name) for name in stratified(items, sizes=dict.fromkeys(items, 1), fraction=fraction)]


def test_every_class_has_its_share_of_the_files_held_out():
    classes = "a" * 60 + "b" * 30 + "c" * 10
    held = Counter(classes[place] for place in chosen(classes, 0.1))
    assert held == {"a": 6, "b": 3, "c": 1}
    assert chosen(classes, 0.1) == chosen(classes, 0.1)


def test_rare_classes_are_held_out_in_turn_and_keep_a_file_for_training():
    held = chosen("aaabbbcccddd", 0.25)
    assert sorted("aaabbbcccddd"[place] for place in held) == ["a", "b", "c"]
    assert chosen("ab", 0.5) == []
    assert [("aabb" * 2)[place] for place in chosen("aabb" * 2, 0.9)].count("a") == 3


def test_files_with_several_classes_count_for_all_of_them():
    """One file of two classes serves both; the classes stay as near to their share as files allow."""
    assert chosen(["a", "ab", "b", "a", "b", "a", "b", "a", "b", "a"], 0.1) == [0]
    words = ["ab", "cd", "ab", "cd", "ac", "bd", "ac", "bd"]
    held = Counter("".join(words[place] for place in chosen(words, 0.25)))
    assert held == {"a": 1, "b": 1, "c": 1, "d": 1}


def test_the_hold_out_of_a_data_set_is_stratified(tmp_path):
    lines = [f"v{k}.mp4,train,{'no' if k < 8 else 'yes'}," for k in range(12)] + ["t.mp4,test,no,"]
    data, _ = opened(of(manifest(tmp_path, lines), validation_fraction=0.25), tmp_path)
    assert Counter(data.validation.labels[:, 0].tolist()) == {0: 2, 1: 1}
    lines = ["a.mp4,train,no,", "b.mp4,train,yes,", "t.mp4,test,no,"]
    with pytest.raises(
        ValueError, match="2 training files are too few for a hold-out split, in which every class"
    ):
        opened(of(manifest(tmp_path, lines)), tmp_path)


def test_contradicting_labels_are_said(tmp_path):
    distinct(tmp_path)
    copied(tmp_path, "e.mp4", "a.mp4")
    data, said = opened(of(manifest(tmp_path, [*USUAL, "e.mp4,train,yes,oh"])), tmp_path)
    assert data.notes == ("1 clips have contradictory labels\n  a.mp4 and e.mp4: label 'no' and 'yes'",)
    assert "warning: 1 clips have contradictory labels" in said


def test_unreadable_files_of_all_splits_are_listed_at_once(tmp_path):
    path = manifest(tmp_path, USUAL)
    for name in ("a.mp4", "c.mp4", "d.mp4"):
        (tmp_path / name).write_text(f"not a video {name}")
    with pytest.raises(ValueError, match="3 of 4 clips cannot be read") as caught:
        opened(of(path, leakage="allow"), tmp_path)
    assert all(f"{name}.mp4: cannot be opened" in str(caught.value) for name in "acd")


def test_missing_sound_of_all_splits_is_listed_at_once(tmp_path):
    distinct(tmp_path)
    with pytest.raises(ValueError, match="4 of 4 clips cannot be read") as caught:
        opened(of(manifest(tmp_path, USUAL)), tmp_path, clip=ClipConfig(frames=4, size=16, audio={}))
    assert str(caught.value).count("has no audio") == 4


def test_skipping_is_bounded_counted_and_said(tmp_path):
    lines = []
    for number in range(20):
        film(tmp_path / f"{number}.mp4", frames=4 + number)
        lines.append(
            f"{number}.mp4,{('train', 'train', 'validation', 'test')[number % 4]},{('no', 'yes')[number // 4 % 2]},"
        )
    path = manifest(tmp_path, lines)
    (tmp_path / "0.mp4").write_text("not a video")
    data, said = opened(of(path, unreadable="skip"), tmp_path)
    assert data.notes[0].startswith(
        "1 of 20 clips (5.0%) cannot be read and are excluded\n  1 clip: cannot be opened"
    )
    assert "warning: 1 of 20 clips (5.0%) cannot be read" in said
    (tmp_path / "7.mp4").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"2 of 20 clips cannot be read \(10.0%\), more than the allowed share \(5.0%\)"
    ) as caught:
        opened(of(path, unreadable="skip"), tmp_path)
    assert "1 clip: is empty (0 bytes) (first: " in str(caught.value)
    assert "raise `max_unreadable_share`" in str(caught.value)
    assert len(opened(of(path, unreadable="skip", max_unreadable_share=0.1), tmp_path)[0].skipped) == 2


def test_limits_of_a_recipe_reach_the_decoder(tmp_path):
    path = manifest(tmp_path, USUAL)
    with pytest.raises(
        ValueError, match="its frames are 64x48, 3,072 pixels, over the limit max_pixels = 3,000"
    ):
        opened(of(path, leakage="allow", limits={"max_pixels": 3_000}), tmp_path)
    with pytest.raises(ValidationError, match="max_pixels"):
        of(path, limits={"max_pixels": 0})
