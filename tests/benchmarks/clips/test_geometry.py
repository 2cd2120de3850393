"""The same clips with other numbers of frames and pixels, as teachers see them."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest

from benchmarks.clips.cache import Augmentation, open_clips
from benchmarks.clips.rows import ClipRow
from compress.clip import TeacherClip
from models.spec import ClipSpec, LabelSpec, VideoSpec

SIDE, FRAMES = 144, 32
STUDENT = VideoSpec(frames=4, size=32, resize=36)
LABELS = (LabelSpec(name="word", classes=("no", "yes")),)
SPEC = ClipSpec(video=STUDENT, labels=LABELS)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A lossless film: red grows to the right, green downwards, and blue with time."""
    path = tmp_path_factory.mktemp("films") / "gradient.mkv"
    across = np.linspace(0, 255, SIDE)
    with av.open(str(path), "w") as file:
        video = file.add_stream("ffv1", rate=8)
        video.width = video.height = SIDE
        video.pix_fmt = "bgr0"
        for number in range(FRAMES):
            pixels = np.empty((SIDE, SIDE, 3), np.uint8)
            pixels[:, :, 0], pixels[:, :, 1] = across[None], across[:, None]
            pixels[:, :, 2] = 255 * number / (FRAMES - 1)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            file.mux(video.encode(frame))
        file.mux(video.encode())
    return [ClipRow(path=path, split="test", labels={"word": word}) for word in ("no", "yes")]


def shown(clips, *, augmentation=None):
    """What each clip shows: left, right, top and bottom edge and mean time, in 0..1 of the film."""
    clip = clips.batch([0, 1], augmentation=augmentation)[0]
    red, green, blue = clip.mean((2,)).unbind(1)
    edges = red[:, :, 0].mean(1), red[:, :, -1].mean(1), green[:, 0].mean(1), green[:, -1].mean(1)
    return [*edges, blue.mean((1, 2))]


@pytest.mark.parametrize(
    "teacher",
    [
        TeacherClip(frames=8, size=64),
        TeacherClip(frames=16),
        TeacherClip(size=128),
        TeacherClip(frames=2, size=16),
    ],
)
def test_a_view_shows_the_same_region_of_space_and_time_in_both_geometries(rows, tmp_path, teacher):
    video = teacher.video(STUDENT)
    clips = open_clips(rows, SPEC, cache=tmp_path, also=[video])
    other = clips.for_spec(replace(SPEC, video=video))
    size, frames = teacher.size or STUDENT.size, teacher.frames or STUDENT.frames
    assert other.batch([0, 1])[0].shape == (2, 3, frames, size, size)
    # The centres of the outermost pixels differ by half a pixel, and a crop is rounded to a whole one.
    pixel = 1.6 / min(size + size // 8, STUDENT.resize)
    for number in range(6):
        view = Augmentation(number=number, seed=3)
        plain, finer = shown(clips, augmentation=view), shown(other, augmentation=view)
        for one, two in zip(plain[:4], finer[:4], strict=True):
            assert float((one - two).abs().max()) <= pixel
        assert float((plain[4] - finer[4]).abs().max()) < 0.02


def test_views_differ_from_each_other_by_more_than_the_tolerance(rows, tmp_path):
    """The comparison above would notice another crop."""
    clips = open_clips(rows, SPEC, cache=tmp_path)
    tops = [float(shown(clips, augmentation=Augmentation(number=k, seed=3))[2][0]) for k in range(6)]
    assert max(tops) - min(tops) > 0.06


def test_frames_of_a_teacher_lie_evenly_around_those_of_the_student(rows, tmp_path):
    """Strided: 4 frames at a distance of 4 and 8 frames at a distance of 2 have the same centre."""
    student = replace(STUDENT, sampling="strided", stride=4)
    video = TeacherClip(frames=8).video(student)
    assert video.stride == 2
    clips = open_clips(rows, replace(SPEC, video=student), cache=tmp_path, also=[video])
    blue = [
        one.batch([0])[0][0, 2].mean((1, 2)) * (FRAMES - 1)
        for one in (clips, clips.for_spec(replace(SPEC, video=video)))
    ]
    assert [b.round().int().tolist() for b in blue] == [[9, 13, 17, 21], [8, 10, 12, 14, 16, 18, 20, 22]]


@pytest.mark.parametrize("frames", [3, 32])
def test_a_stride_that_is_no_whole_number_is_refused(frames):
    student = replace(STUDENT, sampling="strided", stride=4)
    with pytest.raises(
        ValueError, match=f"{frames} frames cannot cover the 16 source frames of a clip .4 frames"
    ):
        TeacherClip(frames=frames).video(student)


def test_the_digest_of_the_students_clips_ignores_the_geometry_of_teachers(rows, tmp_path):
    video = TeacherClip(size=64).video(STUDENT)
    alone, both = (open_clips(rows, SPEC, cache=tmp_path, also=also) for also in ([], [video]))
    other = both.for_spec(replace(SPEC, video=video))
    assert alone.digest == both.digest != other.digest
    assert both.subset([1]).for_spec(replace(SPEC, video=video)).batch([0])[0].shape[-1] == 64
    assert both.with_corruptions([None]).for_spec(replace(SPEC, video=video)).batch([0])[0].shape[-1] == 64
    with pytest.raises(
        ValueError, match="not decoded as 4 frames of 72 pixels; they have 4 frames of 36 pixels"
    ):
        alone.for_spec(replace(SPEC, video=video))


def test_another_mean_needs_no_other_pixels(rows, tmp_path):
    video = TeacherClip(mean=(0.4, 0.4, 0.4)).video(STUDENT)
    clips = open_clips(rows, SPEC, cache=tmp_path)
    other = clips.for_spec(replace(SPEC, video=video))
    assert other.spec.video.mean == (0.4, 0.4, 0.4) and other.batch([0])[0].equal(clips.batch([0])[0])
