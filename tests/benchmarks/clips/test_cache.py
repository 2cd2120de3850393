import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.clips import store
from benchmarks.clips.cache import Augmentation, ClipSet, UnreadableClips, open_clips
from benchmarks.clips.processes import Lost, run_jobs
from benchmarks.clips.rows import ClipRow, read_manifest
from models.spec import AudioSpec, ClipSpec, LabelSpec, TextSpec, VideoSpec
from tests.benchmarks.clips.films import film, number

ROOT = Path(__file__).parents[3]
GRID = ROOT / ".." / "shared" / "data" / "grid" / "manifest_words.csv"
VIDEO = VideoSpec(frames=4, size=16, resize=20)
AUDIO = AudioSpec(mels=16, bins=10)
LABELS = (LabelSpec(name="word", classes=("no", "yes")), LabelSpec(name="tone", classes=("high", "low")))
SPEC = ClipSpec(video=VIDEO, audio=AUDIO, text=TextSpec(length=3, vocabulary=("oh", "well")), labels=LABELS)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    paths = [film(folder / f"{hz}.mp4", tone_hz=hz) for hz in (500, 2_000)]
    return [
        ClipRow(
            path=path, split="test", labels={"word": word, "tone": tone}, text=text, start_s=start, end_s=end
        )
        for path, word, tone, text, start, end in (
            (paths[0], "yes", "low", "oh well", None, None),
            (paths[1], "no", "high", "oh dear", 0.4, 0.8),
            (paths[0], "no", "low", "", 1.0, 1.4),
        )
    ]


def test_batches_have_the_inputs_in_order_and_the_right_values(rows, tmp_path):
    clips = open_clips(rows, SPEC, cache=tmp_path)
    clip, audio, text = clips.batch([1, 2])
    assert len(clips) == 3
    assert [tuple(t.shape) for t in (clip, audio, text)] == [(2, 3, 4, 16, 16), (2, 1, 16, 10), (2, 3)]
    assert (clip.dtype, audio.dtype, text.dtype) == (torch.float32, torch.float32, torch.int64)
    assert clip.is_contiguous()
    shown = [number(255 * clip[0, :, frame].numpy()) for frame in range(4)]
    assert shown == [4, 5, 6, 7]
    assert text.tolist() == [[2, 1, 0], [0, 0, 0]]
    assert audio[0, 0].mean(1).argmax() > audio[1, 0].mean(1).argmax()
    assert clips.labels.dtype == torch.int64
    assert clips.labels.tolist() == [[1, 1], [0, 0], [0, 1]]


def test_indices_may_be_a_tensor_and_order_counts(rows, tmp_path):
    clips = open_clips(rows, SPEC, cache=tmp_path)
    forward, backward = clips.batch(torch.tensor([0, 2])), clips.batch(range(2, -1, -2))
    assert all(torch.equal(a, b.flip(0)) for a, b in zip(forward, backward, strict=True))


def test_values_do_not_depend_on_workers_and_are_found_again(rows, tmp_path, monkeypatch):
    calls = []
    first = open_clips(rows, SPEC, cache=tmp_path / "a", workers=0, progress=lambda *done: calls.append(done))
    second = open_clips(rows, SPEC, cache=tmp_path / "b", workers=2)
    assert all(
        torch.equal(a, b) for a, b in zip(first.batch([0, 1, 2]), second.batch([0, 1, 2]), strict=True)
    )
    assert first.digest == second.digest
    assert calls[-1] == (6, 6)
    monkeypatch.setattr("benchmarks.clips.store.run_jobs", None)  # nothing is decoded again
    again = open_clips(rows, SPEC, cache=tmp_path / "a")
    assert torch.equal(again.batch([0])[0], first.batch([0])[0])


def test_fewer_modalities_share_the_store(rows, tmp_path, monkeypatch):
    clips = open_clips(rows, SPEC, cache=tmp_path)
    monkeypatch.setattr("benchmarks.clips.store.run_jobs", None)
    alone = open_clips(rows, SPEC.only(("clip",)), cache=tmp_path)
    part = clips.select(("clip",))
    assert part.spec == alone.spec
    assert part.digest == alone.digest != clips.digest
    assert torch.equal(part.batch([1])[0], clips.batch([1])[0])
    with pytest.raises(ValueError, match="the data has no input 'audio'; it has clip"):
        part.select(("audio",))


def test_digest_tells_apart_what_differs(rows, tmp_path):
    def digest(rows=rows, spec=SPEC):
        return open_clips(rows, spec, cache=tmp_path).digest

    other_labels = [replace(rows[0], labels={"word": "no", "tone": "low"}), *rows[1:]]
    found = {
        digest(),
        digest(rows=rows[:2]),
        digest(rows=[replace(rows[0], end_s=1.0), *rows[1:]]),
        digest(rows=[replace(rows[0], text="well"), *rows[1:]]),
        digest(rows=other_labels),
        digest(spec=replace(SPEC, video=replace(VIDEO, size=18))),
        digest(spec=replace(SPEC, video=replace(VIDEO, frames=3))),
    }
    assert len(found) == 7
    other = replace(rows[0], path=film(tmp_path / "other.mp4", tone_hz=900))
    assert digest(rows=[other, *rows[1:]]) not in found


def test_files_are_found_by_content_wherever_they_lie(rows, tmp_path, monkeypatch):
    first = open_clips(rows, SPEC, cache=tmp_path / "a")
    moved = [
        replace(row, path=Path(shutil.copy(row.path, tmp_path / f"moved_{row.path.name}"))) for row in rows
    ]
    elsewhere = open_clips(moved, SPEC, cache=tmp_path / "b")
    monkeypatch.setattr(store, "run_jobs", None)  # nothing is decoded again
    assert open_clips(moved, SPEC, cache=tmp_path / "a").digest == first.digest == elsewhere.digest
    os.utime(rows[0].path)
    assert open_clips(rows, SPEC, cache=tmp_path / "a").digest == first.digest


def test_copies_are_decoded_once_and_each_is_named(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", frames=1, tone_hz=500)
    copy = shutil.copy(path, tmp_path / "b.mp4")
    labels = {"word": "yes", "tone": "low"}
    rows = [ClipRow(path=Path(each), split="test", labels=labels, text="oh") for each in (path, copy, path)]
    decoded = []

    def counted(work, jobs, **settings):
        decoded.extend(job.path for job in jobs)
        return run_jobs(work, jobs, **settings)

    monkeypatch.setattr(store, "run_jobs", counted)
    for _ in range(2):
        clips = open_clips(rows, SPEC.only(("clip",)), cache=tmp_path)
        assert decoded == [path]
        assert clips.notes == [(each.path, "has a single frame, which is repeated") for each in rows[:2]]
    one, other, _ = clips.batch([0, 1, 2])[0]
    assert torch.equal(one, other)


def test_views_are_the_same_for_everyone_and_differ_from_each_other(rows, tmp_path):
    clips = open_clips(rows, SPEC, cache=tmp_path)
    augmentation = Augmentation(number=1, seed=5)
    whole = clips.batch([0, 1, 2], augmentation=augmentation)
    one = clips.select(("clip", "audio")).batch([2], augmentation=augmentation)
    assert torch.equal(one[0][0], whole[0][2]) and torch.equal(one[1][0], whole[1][2])
    for other in (None, Augmentation(number=2, seed=5), Augmentation(number=1, seed=6)):
        different = clips.batch([0, 1, 2], augmentation=other)
        assert not torch.equal(different[0], whole[0])
        assert not torch.equal(different[1], whole[1])
        assert torch.equal(different[2], whole[2])
    assert whole[0].min() >= 0 and whole[0].max() <= 1


def test_the_plain_view_is_the_middle_cut(tmp_path):
    path = film(tmp_path / "a.mp4", quadrants=True, width=40, height=40, pix_fmt="yuv444p")
    spec = ClipSpec(video=VIDEO, labels=LABELS[:1])
    row = ClipRow(path=path, split="test", labels={"word": "no"})
    clips = open_clips([row], spec, cache=tmp_path / "cache")
    clip = clips.batch([0])[0][0, :, 0]
    assert torch.allclose(clip[:, 5, 5], torch.tensor([220, 40, 40]) / 255, atol=0.05)
    assert torch.allclose(clip[:, 10, 10], torch.tensor([220, 220, 40]) / 255, atol=0.05)


def broken(tmp_path, rows):
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    return [rows[0], replace(rows[1], path=bad), replace(rows[1], path=bad, start_s=0.5), rows[2]]


def test_unreadable_clips_are_refused_together(rows, tmp_path):
    given = [*broken(tmp_path, rows), replace(rows[0], start_s=7.0, end_s=8.0)]
    with pytest.raises(UnreadableClips, match="3 of 5 clips cannot be read") as caught:
        open_clips(given, SPEC, cache=tmp_path / "cache", workers=1)
    message = str(caught.value)
    assert "bad.mp4: cannot be opened as video or audio" in message and "(2 clips)" in message
    assert "the span 7..8 s is not in the file, which ends at 2.00 s" in message
    assert "exclude them with `unreadable: skip`" in message
    assert [path.name for path, _ in caught.value.found] == ["bad.mp4", "bad.mp4", "500.mp4"]


def test_unreadable_clips_are_left_out_when_asked(rows, tmp_path):
    clips = open_clips(
        broken(tmp_path, rows), SPEC, cache=tmp_path / "cache", unreadable="skip", max_unreadable_share=0.5
    )
    assert clips.rows == [rows[0], rows[2]]
    assert [path.name for path, _ in clips.skipped] == ["bad.mp4", "bad.mp4"]
    assert clips.labels.tolist() == [[1, 1], [0, 1]]
    whole = open_clips(rows, SPEC, cache=tmp_path / "other")
    assert torch.equal(clips.batch([1])[0], whole.batch([2])[0])
    assert torch.equal(clips.batch([1])[2], whole.batch([2])[2])
    with pytest.raises(UnreadableClips, match="2 of 2 clips"):
        open_clips(broken(tmp_path, rows)[1:3], SPEC, cache=tmp_path / "cache", unreadable="skip")


def test_what_was_refused_is_tried_again(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "run_jobs", lambda work, jobs, **settings: [(0, Lost(reason="no memory"))])
    with pytest.raises(UnreadableClips, match="its decoder failed: no memory"):
        open_clips(rows[:1], SPEC.only(("clip",)), cache=tmp_path)
    monkeypatch.undo()
    whole = open_clips(rows[:1], SPEC.only(("clip",)), cache=tmp_path / "other")
    again = open_clips(rows[:1], SPEC.only(("clip",)), cache=tmp_path)
    assert not again.skipped and torch.equal(again.batch([0])[0], whole.batch([0])[0])


def test_many_unreadable_clips_are_counted(rows, tmp_path):
    given = [replace(rows[0], path=tmp_path / f"{k}.mp4") for k in range(30)]
    with pytest.raises(
        UnreadableClips, match=r"30 of 30 clips cannot be read\n(.*no such file\n){20}.* 10 more"
    ):
        open_clips(given, SPEC.only(("clip",)), cache=tmp_path / "cache")


def test_clips_without_sound(tmp_path):
    row = ClipRow(path=film(tmp_path / "mute.mp4"), split="test", labels={"word": "no", "tone": "low"})
    spec = SPEC.only(("clip", "audio"))
    with pytest.raises(UnreadableClips, match="has no audio; allow silence"):
        open_clips([row], spec, cache=tmp_path / "cache")
    clips = open_clips([row], spec, cache=tmp_path / "cache", missing_audio="silence")
    assert torch.allclose(clips.batch([0])[1], torch.tensor((np.log(1e-6) + 4) / 4).float())


def test_classes_that_the_spec_does_not_know_are_refused(rows, tmp_path):
    given = [
        replace(rows[0], labels={"word": "maybe", "tone": "low"}),
        replace(rows[1], labels={"tone": "low"}),
    ]
    with pytest.raises(ValueError, match="label 'word': 2 classes unknown to the network") as caught:
        open_clips(given, SPEC, cache=tmp_path)
    assert "'maybe' (1 clips)" in str(caught.value) and "known: no, yes" in str(caught.value)


def test_captions_and_clips_have_to_be_there(rows, tmp_path):
    with pytest.raises(ValueError, match="the network takes captions"):
        open_clips([rows[2]], SPEC, cache=tmp_path)
    with pytest.raises(ValueError, match="there are no clips to open"):
        open_clips([], SPEC, cache=tmp_path)


def test_text_alone_decodes_nothing(tmp_path):
    row = ClipRow(path=tmp_path / "absent.mp4", split="test", labels={"word": "no", "tone": "low"}, text="oh")
    clips = open_clips([row], SPEC.only(("text",)), cache=tmp_path)
    assert isinstance(clips, ClipSet)
    assert clips.batch([0])[0].tolist() == [[2, 0, 0]]


def test_a_full_disk_is_said_before_decoding(rows, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1_000})
    monkeypatch.setattr("benchmarks.clips.store.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match=r"3 decoded clips take .* MiB, but only 0 MiB are free"):
        open_clips(rows, SPEC, cache=tmp_path)


def test_a_killed_run_leaves_nothing_in_the_way(rows, tmp_path):
    script = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from benchmarks.clips.cache import open_clips
from tests.benchmarks.clips.test_cache import SPEC, ClipRow
rows = [ClipRow(path=Path({str(rows[0].path)!r}), split="test", labels={{"word": "no", "tone": "low"}}, text="oh")]
def stop(done, total):
    if done:
        print("decoding", flush=True)
        time.sleep(60)
open_clips(rows, SPEC, cache=Path({str(tmp_path)!r}), progress=stop)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "decoding\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert [path.suffix for path in tmp_path.glob("[a-z]*")] == [".partial"]
    row = ClipRow(path=rows[0].path, split="test", labels={"word": "no", "tone": "low"}, text="oh")
    assert len(open_clips([row], SPEC, cache=tmp_path)) == 1
    assert sorted(path.name.split("-")[0] for path in tmp_path.glob("[a-z]*")) == ["frames", "sound"]


@pytest.mark.skipif(not GRID.exists(), reason="needs ../shared/data/grid")
def test_words_of_real_clips(tmp_path):
    rows = read_manifest(GRID, labels=["word"], exclude={"slot": ["letter"]}, pad_s=0.08)
    classes = tuple(sorted({row.labels["word"] for row in rows}))
    assert len(classes) == 26
    spec = ClipSpec(
        video=VideoSpec(frames=8, size=80, resize=90),
        audio=AudioSpec(),
        labels=(LabelSpec(name="word", classes=classes),),
    )
    clips = open_clips(rows[:50], spec, cache=tmp_path, workers=1)
    assert len(clips) == 50 and clips.skipped == [] and clips.notes == []
    frames, sound = clips.batch(range(50))
    assert frames.std() > 0.1 and 0.5 < sound.std() < 2
