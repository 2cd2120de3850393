from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.clips.container import Clip, Cut, Note, Refusal, UnreadableClip
from benchmarks.clips.frames import FrameRule, read_frames, strided
from models.spec import VideoSpec
from tests.benchmarks.clips.films import COLOURS, cut_off, damaged, film, grey, matrix, number, remuxed

ODD = Path(__file__).parents[3] / ".." / "shared" / "data" / "odd_clips"
SMALL = FrameRule(frames=4, resize=24, sampling="uniform", stride=1)


def read(path, *cuts, rule=SMALL):
    return list(read_frames(path, cuts or [Cut()], rule, alive=lambda: None))


def clip(path, *cuts, rule=SMALL):
    """The only clip that is read; notes are left aside."""
    (found,) = [each for each in read(path, *cuts, rule=rule) if not isinstance(each, Note)]
    assert isinstance(found, Clip), found
    assert found.values.dtype == np.uint8
    return found.values


def notes(path):
    return [each.text for each in read(path) if isinstance(each, Note)]


def refusal(path, *cuts, rule=SMALL):
    (found,) = [each for each in read(path, *cuts, rule=rule) if not isinstance(each, Note)]
    assert isinstance(found, Refusal), found
    return found.reason


def numbers(frames):
    return [number(each) for each in frames]


def test_uniform_takes_the_frames_shown_at_the_centres_of_equal_parts(tmp_path):
    frames = clip(film(tmp_path / "a.mp4"))
    assert frames.shape == (4, 24, 24, 3)
    assert numbers(frames) == [2, 7, 12, 17]


def test_a_span_is_cut_by_time_and_widened_within_the_file(tmp_path):
    path = film(tmp_path / "a.mp4")
    assert numbers(clip(path, Cut(start_s=1.0, end_s=1.4))) == [10, 11, 12, 13]
    assert numbers(clip(path, Cut(start_s=1.0, end_s=1.4, pad_s=0.2))) == [9, 11, 13, 15]
    assert numbers(clip(path, Cut(start_s=0.1, end_s=0.4, pad_s=5.0))) == [2, 7, 12, 17]
    assert numbers(clip(path, Cut(start_s=1.6))) == [16, 17, 18, 19]


@pytest.mark.parametrize("sampling", ["uniform", "strided"])
def test_a_margin_has_frames_from_outside_the_span_and_repeats_the_outermost_of_the_file(tmp_path, sampling):
    rule = FrameRule(frames=4, resize=24, sampling=sampling, stride=1, margin=2)
    path = film(tmp_path / "a.mp4")
    assert numbers(clip(path, Cut(start_s=1.0, end_s=1.4), rule=rule)) == [8, 9, 10, 11, 12, 13, 14, 15]
    assert numbers(clip(path, Cut(start_s=0.1, end_s=0.5), rule=rule)) == [0, 0, 1, 2, 3, 4, 5, 6]
    assert numbers(clip(path, Cut(start_s=1.6, end_s=2.0), rule=rule)) == [14, 15, 16, 17, 18, 19, 19, 19]


def test_few_frames_are_shown_several_times(tmp_path):
    path = film(tmp_path / "a.mp4")
    assert numbers(clip(path, Cut(start_s=0.5, end_s=0.7))) == [5, 5, 6, 6]
    assert numbers(clip(path, Cut(start_s=0.5, end_s=0.55))) == [5, 5, 5, 5]


def test_strided_takes_every_nth_frame_from_the_middle_and_repeats_the_last(tmp_path):
    path = film(tmp_path / "a.mp4")
    rule = FrameRule(frames=4, resize=24, sampling="strided", stride=3)
    assert numbers(clip(path, rule=rule)) == [5, 8, 11, 14]
    assert numbers(clip(path, Cut(start_s=1.0, end_s=1.6), rule=rule)) == [10, 13, 15, 15]


def test_strided_span_without_a_frame_of_its_own_takes_what_is_shown():
    assert strided(np.array([0.0, 1.0]), start_s=0.2, end_s=0.8, frames=2, stride=1).tolist() == [0.2, 0.2]


def test_one_pass_serves_many_cuts_in_any_order(tmp_path):
    path = film(tmp_path / "a.mp4")
    cuts = [Cut(start_s=1.2, end_s=1.6), Cut(start_s=0.0, end_s=0.4), Cut(start_s=0.2, end_s=1.8)]
    found = {each.cut: numbers(each.values) for each in read(path, *cuts)}
    assert found == {0: [12, 13, 14, 15], 1: [0, 1, 2, 3], 2: [4, 8, 12, 16]}


@pytest.mark.parametrize(
    "name, codec",
    [
        ("a.mkv", "libx264"),
        ("a.ts", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.webm", "libvpx-vp9"),
        ("b.webm", "libvpx"),
        ("a.mov", "mjpeg"),
        ("a.mpg", "mpeg2video"),
    ],
)
def test_containers_and_codecs_give_the_same_frames(tmp_path, name, codec):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    fps = 25 if codec == "mpeg2video" else 10
    path = film(tmp_path / name, codec=codec, pix_fmt=pix_fmt, fps=fps)
    assert np.abs(np.array(numbers(clip(path))) - [2, 7, 12, 17]).max() <= 1


def test_file_without_timestamps_is_evenly_spaced_and_says_so(tmp_path):
    path = film(tmp_path / "a.h264", container="h264", fps=25)
    assert numbers(clip(path)) == [2, 7, 12, 17]
    assert "has no timestamps; 25 frames per second are assumed" in notes(path)


def test_time_counts_from_the_start_of_the_file_whatever_its_timestamps(tmp_path):
    late = film(tmp_path / "a.ts", pts=[500 + k for k in range(20)])
    with av.open(str(late)) as container:
        assert container.start_time > 40_000_000
    assert numbers(clip(late, Cut(start_s=1.0, end_s=1.4))) == [10, 11, 12, 13]


def test_negative_timestamps(tmp_path):
    early = [k - 5 for k in range(20)]
    path = film(tmp_path / "a.mkv", pts=early, muxer={"avoid_negative_ts": "disabled"})
    assert numbers(clip(path)) == [6, 10, 14, 18]  # what a player shows begins at time 0
    edited = film(tmp_path / "a.mov", pts=early)
    assert numbers(clip(edited)) == [6, 10, 14, 18]


def test_variable_frame_rate_goes_by_time(tmp_path):
    path = film(tmp_path / "a.mp4", frames=4, pts=[0, 1, 2, 18])
    assert notes(path) == ["has no new frame for 1.6 s from 0.2 s on: a pause or damage"]
    assert numbers(clip(path, Cut(start_s=0.0, end_s=2.0))) == [2, 2, 2, 2]
    assert numbers(clip(path, Cut(start_s=1.1, end_s=1.9))) == [2, 2, 2, 3]


def test_single_frame_is_repeated_with_a_note(tmp_path):
    path = film(tmp_path / "a.mp4", frames=1)
    assert numbers(clip(path)) == [0, 0, 0, 0]
    assert "has a single frame, which is repeated" in notes(path)


@pytest.mark.parametrize("width, height", [(64, 48), (48, 64), (65, 49), (7, 5), (1, 1), (300, 20)])
def test_any_size_becomes_the_middle_square(tmp_path, width, height):
    path = film(tmp_path / "a.mp4", width=width, height=height, pix_fmt="yuv444p")
    frames = clip(path)
    assert frames.shape == (4, 24, 24, 3)
    assert numbers(frames) == [2, 7, 12, 17]


def test_the_short_side_is_resized_and_the_middle_taken(tmp_path):
    path = film(tmp_path / "a.mp4", width=96, height=48, pix_fmt="yuv444p", quadrants=True)
    corners(clip(path)[0], [0, 1, 2, 3])


def test_very_long_pictures_are_refused(tmp_path):
    path = film(tmp_path / "a.mp4", width=640, height=16)
    with pytest.raises(UnreadableClip, match="640x16: one side is more than 32 times the other"):
        read(path)


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    path = film(tmp_path / "a.mp4", width=48, height=48, pix_fmt="yuv444p", aspect=(2, 1), quadrants=True)
    rule = FrameRule(frames=1, resize=48, sampling="uniform", stride=1)
    stretched = clip(path, rule=rule)[0].astype(int)
    border = np.abs(np.diff(stretched[4, :, 0])).argmax()
    assert abs(border - 23) <= 1
    assert (
        np.abs(stretched[4, 20] - stretched[4, 0]).max() < 20
    )  # the cut is taken from a picture twice as wide


def corners(pixels, expected):
    """The colours in the corners, read like a book, are those numbers of COLOURS."""
    points = [(3, 3), (3, -4), (-4, 3), (-4, -4)]
    found = [int(np.abs(np.array(COLOURS) - pixels[at].astype(int)).sum(1).argmin()) for at in points]
    assert found == expected


@pytest.mark.parametrize(
    "turn, expected",
    [
        (matrix(1, 0, 0, 1), [0, 1, 2, 3]),
        (matrix(0, 1, -1, 0), [2, 0, 3, 1]),  # 90 degrees clockwise, a phone held upright
        (matrix(-1, 0, 0, -1), [3, 2, 1, 0]),
        (matrix(0, -1, 1, 0), [1, 3, 0, 2]),
        (matrix(-1, 0, 0, 1), [1, 0, 3, 2]),  # mirrored, a front camera
        (matrix(1, 0, 0, -1), [2, 3, 0, 1]),
        (matrix(0, 1, 1, 0), [0, 2, 1, 3]),
    ],
)
def test_display_matrix_is_honoured(tmp_path, turn, expected):
    plain = film(tmp_path / "plain.mp4", pix_fmt="yuv444p", quadrants=True)
    corners(clip(remuxed(plain, tmp_path / "turned.mp4", turn=turn))[0], expected)


def test_other_turns_are_refused(tmp_path):
    plain = film(tmp_path / "plain.mp4", quadrants=True)
    slanted = remuxed(plain, tmp_path / "slanted.mp4", turn=matrix(0.7, 0.7, -0.7, 0.7))
    with pytest.raises(
        UnreadableClip, match=r"its display matrix \(about -45 degrees\) is not a multiple of 90 degrees"
    ):
        read(slanted)


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p", "gray"])
def test_pixel_formats(tmp_path, pix_fmt):
    frames = clip(film(tmp_path / "a.mkv", pix_fmt=pix_fmt))
    assert np.abs(np.array(numbers(frames)) - [2, 7, 12, 17]).max() <= 1
    assert np.ptp(frames.astype(int), axis=3).max() <= 4


def test_hdr_interlaced_and_transparent_files_are_read_with_a_note(tmp_path):
    hdr = film(
        tmp_path / "hdr.mp4",
        pix_fmt="yuv420p10le",
        options={"x264-params": "transfer=smpte2084:colorprim=bt2020:colormatrix=bt2020nc"},
    )
    assert any("HDR" in note for note in notes(hdr))
    woven = film(tmp_path / "woven.mp4", options={"x264-params": "tff=1"}, height=64)
    assert any("interlaced" in note for note in notes(woven))
    clear = film(tmp_path / "clear.mov", codec="qtrle", pix_fmt="argb")
    assert notes(clear) == ["is transparent; its opacity is ignored"]
    assert numbers(clip(clear)) == [2, 7, 12, 17]


def test_odd_names_are_read(tmp_path):
    folder = tmp_path / "fünf: %03d?"
    folder.mkdir()
    for name in ("-dash.mp4", "a:b.mp4", "%03d.mp4", "sp ace.mp4", "日本.mp4", "no_suffix"):
        path = film(folder / name, container="mp4")
        assert numbers(clip(path)) == [2, 7, 12, 17]


def test_attached_picture_is_not_a_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=16_000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(
            cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24"))
        )
        container.mux(cover.encode())
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16_000
        container.mux(audio.encode(sound))
        container.mux(audio.encode())
    with pytest.raises(UnreadableClip, match="has no video, only audio"):
        read(path)


def unreadable(tmp_path):
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    yield folder, "is a folder"
    yield tmp_path / "absent.mp4", "no such file"
    empty = tmp_path / "empty.mp4"
    empty.touch()
    yield empty, "is empty"
    text = tmp_path / "text.mp4"
    text.write_text("not a video\n" * 100)
    yield text, "not a media file, or its header is missing"
    good = film(tmp_path / "good.mp4")
    yield cut_off(good, tmp_path / "cut.mp4", share=0.5), "its header is missing"
    playlist = tmp_path / "list.mp4"
    playlist.write_text("ffconcat version 1.0\nfile good.mp4\n")
    yield playlist, "is a list of other files"
    with av.open(str(tmp_path / "still.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "rgb24"
        container.mux(
            stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24"))
        )
    yield tmp_path / "still.png", "is a still image"
    subtitles = tmp_path / "words.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    yield subtitles, "not supported for video or audio"


def test_what_is_no_video_is_refused_by_name_and_reason(tmp_path):
    for path, reason in unreadable(tmp_path):
        with pytest.raises(UnreadableClip, match=reason) as caught:
            read(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["a.mkv", "fast.mp4", "a.avi"])
def test_cut_off_file_gives_only_clips_from_its_intact_part(tmp_path, name):
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    whole = film(tmp_path / f"whole_{name}", codec=codec, frames=60, options={"g": "10"})
    if name == "fast.mp4":
        whole = remuxed(whole, tmp_path / "faststart.mp4", muxer={"movflags": "faststart"})
    part = cut_off(whole, tmp_path / name, share=0.7)
    assert "is truncated: its header declares 6.0 s" in refusal(part)
    assert numbers(clip(part, Cut(start_s=0.4, end_s=0.8))) == [4, 5, 6, 7]
    late = refusal(part, Cut(start_s=5.5, end_s=5.9))
    assert "truncated" in late or "not in the file" in late


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.ts"])
def test_damage_spoils_only_the_clips_it_is_in(tmp_path, name):
    whole = film(tmp_path / f"whole_{name}", frames=60, options={"g": "10"}, noisy=True)
    bad = damaged(whole, tmp_path / name, start=0.45, stop=0.55)
    assert "is damaged: the frame at" in refusal(bad, Cut(start_s=2.4, end_s=3.6))
    assert clip(bad, Cut(start_s=0.0, end_s=1.0)).shape == (4, 24, 24, 3)
    assert clip(bad, Cut(start_s=5.2, end_s=6.0)).shape == (4, 24, 24, 3)


def test_frames_that_a_container_lost_without_a_word_are_noted(tmp_path):
    whole = film(tmp_path / "whole.mkv", frames=60, options={"g": "10"}, noisy=True)
    bad = remuxed(whole, tmp_path / "bad.mkv", lost=range(20, 30))
    assert any("a pause or damage" in note for note in notes(bad))
    assert notes(whole) == []


def test_spans_outside_the_file_are_refused(tmp_path):
    path = film(tmp_path / "a.mp4")
    assert "the span 1.5..3 s is not in the file, which ends at 2.00 s" in refusal(
        path, Cut(start_s=1.5, end_s=3)
    )
    assert "not in the file" in refusal(path, Cut(start_s=2.5))
    assert numbers(clip(path, Cut(start_s=1.6, end_s=2.1))) == [16, 17, 18, 19]


def test_a_jump_back_in_time_is_refused(tmp_path):
    first, second = (film(tmp_path / f"{k}.ts", frames=10, options={"bf": "0"}) for k in (1, 2))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(UnreadableClip, match=r"timestamps jump back by 0\.90 s"):
        read(joined, Cut())


def test_big_frames_of_a_long_file_are_not_kept(tmp_path):
    import tracemalloc

    path = film(tmp_path / "a.mp4", frames=100, width=640, height=480, options={"preset": "ultrafast"})
    tracemalloc.start()
    clip(path)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


def test_rule_of_a_spec_leaves_out_what_changes_no_pixels():
    spec = VideoSpec(frames=8, size=64, resize=72, stride=3)
    assert FrameRule.of(spec) == FrameRule(frames=8, resize=72, sampling="uniform", stride=1)


@pytest.mark.skipif(not ODD.is_dir(), reason="needs ../shared/data/odd_clips")
@pytest.mark.parametrize("sampling", ["uniform", "strided"])
def test_odd_clips_are_read_or_refused(sampling):
    rule = FrameRule(frames=8, resize=72, sampling=sampling, stride=2 if sampling == "strided" else 1)
    refused = {}
    for path in sorted(ODD.iterdir()):
        try:
            assert clip(path, rule=rule).shape == (8, 72, 72, 3)
        except UnreadableClip as fault:
            refused[path.name] = fault.reason
    assert refused == {"moviepy__media__doc_medias__example.wav": "has no video, only audio"}


@pytest.mark.skipif(not ODD.is_dir(), reason="needs ../shared/data/odd_clips")
def test_odd_rotated_clip_is_upright():
    plain, turned = (clip(ODD / f"decord__tests__test_data__video_{k}.mov")[0].astype(int) for k in (0, 90))
    assert np.abs(plain.mean(axis=(0, 1)) - turned.mean(axis=(0, 1))).max() < 12
    assert turned[:12].mean() > turned[-12:].mean()  # the table is above the keys in both
    assert plain[:12].mean() > plain[-12:].mean()


def test_grey_levels_tell_frames_apart():
    assert [grey(k) for k in range(3)] == [20, 30, 40]
