import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.clips.container import Clip, Cut, Note
from benchmarks.clips.frames import FrameRule, read_frames
from benchmarks.clips.limits import Limits
from benchmarks.clips.pictures import square_of
from benchmarks.clips.sound import AudioRule, read_audio
from benchmarks.long_video.segments import Begun, Job, LeftOut, Segment, Unreadable, read_segments
from benchmarks.long_video.windows import Dynamic, Sliding
from tests.benchmarks.clips.films import cut_off, damaged, film
from tests.benchmarks.long_video.scenes import scenes

UNIFORM = FrameRule(frames=4, resize=24, sampling="uniform", stride=1)
STRIDED = FrameRule(frames=3, resize=24, sampling="strided", stride=2)
SOUND = AudioRule(sample_rate_hz=16_000, window=400, hop=160, mels=8, bins=6)


def read(path, windows, *, frames=UNIFORM, sound=None, size=24):
    job = Job(path=path, windows=windows, frames=frames, size=size, sound=sound)
    return list(read_segments(job, lambda: None))


def of_kind(parts, kind):
    return [part for part in parts if isinstance(part, kind)]


def quiet():
    return None


@pytest.mark.parametrize("frames", [UNIFORM, STRIDED])
@pytest.mark.parametrize("windows", [Sliding(segment_s=1.3, stride_s=0.7), Dynamic(min_s=0.5, max_s=2.0)])
def test_a_window_is_the_clip_that_is_cut_from_the_same_span(tmp_path, windows, frames):
    path = scenes(tmp_path / "a.mp4", 1.3, 3.2, 0.9, tone=True)
    segments = of_kind(read(path, windows, frames=frames, sound=SOUND), Segment)
    assert len(segments) >= 4
    cuts = [Cut(start_s=each.window.start_s, end_s=each.window.end_s) for each in segments]
    for reader, rule, found in (
        (read_frames, frames, [each.frames for each in segments]),
        (read_audio, SOUND, [each.sound for each in segments]),
    ):
        clips = {
            one.cut: one.values for one in reader(path, cuts, rule, alive=quiet) if isinstance(one, Clip)
        }
        assert sorted(clips) == list(range(len(cuts)))
        for number, values in clips.items():
            assert np.array_equal(values, found[number])


def test_frames_between_those_that_windows_take_are_not_kept(tmp_path, monkeypatch):
    scaled = []

    def counting(shown, **rest):
        scaled.append(shown.time_s)
        return square_of(shown, **rest)

    monkeypatch.setattr("benchmarks.long_video.tapes.square_of", counting)
    path = scenes(tmp_path / "a.mp4", 10.05)
    windows = Sliding(segment_s=4, stride_s=4)
    assert len(of_kind(read(path, windows), Segment)) == 3
    assert len(scaled) <= 24
    scaled.clear()
    read(path, Dynamic())
    assert len(scaled) == 100


def test_dynamic_windows_follow_the_scenes_of_a_file(tmp_path):
    parts = read(scenes(tmp_path / "a.mp4", 1.5, 2.5, 1.2), Dynamic())
    spans = [(round(each.window.start_s, 2), round(each.window.end_s, 2)) for each in of_kind(parts, Segment)]
    assert spans == [(0, 1.5), (1.5, 4.0), (4.0, 5.2)]
    assert isinstance(parts[0], Begun) and parts[0].end_s == pytest.approx(5.2)


def test_the_middle_of_a_frame_is_cut_out(tmp_path):
    path = scenes(tmp_path / "a.mp4", 1.0)
    (whole,) = of_kind(read(path, Sliding()), Segment)
    (middle,) = of_kind(read(path, Sliding(), size=20), Segment)
    assert np.array_equal(middle.frames, whole.frames[:, 2:22, 2:22])


@pytest.mark.parametrize("windows", [Sliding(), Dynamic(max_s=4.0)])
def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path, windows):
    peaks_bytes = []
    for name, length_s in (("short", 15), ("long", 75)):
        path = scenes(tmp_path / f"{name}.mp4", length_s)
        job = Job(path=path, windows=windows, frames=UNIFORM, size=24, sound=None)
        tracemalloc.start()
        count = sum(isinstance(part, Segment) for part in read_segments(job, quiet))
        peaks_bytes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count >= length_s // 4
    # All frames of the long one would be 1.3 MB.
    assert peaks_bytes[1] < peaks_bytes[0] + 200_000


def test_a_video_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path):
    whole = film(tmp_path / "whole.mkv", frames=60, container="matroska")
    parts = read(cut_off(whole, tmp_path / "part.mkv", share=0.7), Sliding(segment_s=1, stride_s=1))
    assert 3 <= len(of_kind(parts, Segment)) < 6
    assert any("is truncated: its header declares 6.0 s" in note.text for note in of_kind(parts, Note))


def test_damaged_windows_are_left_out_and_the_others_are_read(tmp_path):
    whole = film(tmp_path / "whole.mp4", frames=80, noisy=True, options={"g": "10", "preset": "ultrafast"})
    parts = read(damaged(whole, tmp_path / "bad.mp4", start=0.4, stop=0.5), Sliding(segment_s=1, stride_s=1))
    assert of_kind(parts, Segment)
    assert all("cannot be decoded completely" in each.reason for each in of_kind(parts, LeftOut))
    assert of_kind(parts, LeftOut)


def test_a_video_without_sound_is_refused_or_silent(tmp_path):
    path = film(tmp_path / "a.mp4")
    (refused,) = of_kind(read(path, Sliding(), sound=SOUND), Unreadable)
    assert refused.reason == "has no audio; allow silence with --missing-audio silence"
    silent = AudioRule(sample_rate_hz=16_000, window=400, hop=160, mels=8, bins=6, missing="silence")
    parts = read(path, Sliding(), sound=silent)
    assert np.allclose(of_kind(parts, Segment)[0].sound, np.log(1e-6))
    assert "is replaced by silence" in of_kind(parts, Note)[-1].text


def test_a_network_that_only_listens_needs_no_picture(tmp_path):
    parts = read(scenes(tmp_path / "a.mp4", 2.0, tone=True), Sliding(), frames=None, sound=SOUND)
    (segment,) = of_kind(parts, Segment)
    assert segment.frames is None and segment.sound.shape == (8, 6)


def test_what_is_no_video_is_unreadable(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    assert "cannot be opened as video or audio" in read(tmp_path / "a.mp4", Sliding())[0].reason


@pytest.mark.parametrize(
    "sound", [None, replace(SOUND, missing="silence")], ids=["picture", "picture and sound"]
)
@pytest.mark.parametrize("windows", [Sliding(), Dynamic()])
def test_a_gap_in_the_time_stamps_is_one_window(tmp_path, sound, windows):
    path = film(tmp_path / "a.mp4", frames=40, pts=[*range(20), *range(625_000, 625_020)], tone_hz=500)
    segments = of_kind(read(path, windows, sound=sound), Segment)
    assert len(segments) < 12 and segments[-1].window.end_s == 62_502.0
    (gap,) = [each for each in segments if each.window.end_s - each.window.start_s > 10]
    assert gap.window.end_s == 62_500.0
    assert all(np.array_equal(frame, gap.frames[0]) for frame in gap.frames)


def test_time_stamps_of_centuries_take_no_time(tmp_path):
    path = film(tmp_path / "a.mkv", frames=3, pts=[0, 1, 40_000_000_000])
    parts = read(path, Sliding())
    assert len(parts) < 10 and of_kind(parts, Segment)[-1].window.end_s > 3e9


def test_a_window_longer_than_the_limit_is_refused(tmp_path):
    path = film(tmp_path / "a.mp4")
    job = Job(
        path=path,
        windows=Sliding(segment_s=50.0),
        frames=UNIFORM,
        size=24,
        sound=None,
        limits=Limits(max_span_s=1.0),
    )
    (refusal,) = of_kind(read_segments(job, quiet), Unreadable)
    assert refusal.reason.startswith("the clip 0..2 s lasts 2.0 s, over the limit max_span_s = 1.0;")
