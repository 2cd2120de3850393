"""Presentation times of frames in every container that FFmpeg writes, for any timestamps."""

import pytest

from benchmarks.clips.container import Clip, Cut, Note
from benchmarks.clips.frames import FrameRule, read_frames
from tests.benchmarks.clips.films import remuxed
from tests.benchmarks.clips.hostile import numbered, shown

RULE = FrameRule(frames=8, resize=72, sampling="uniform", stride=1)
WHOLE = Cut()
EXPECTED = [2, 7, 12, 17, 22, 27, 32, 37]
B_FRAMES = {"bf": "2"}
DECODER_ORDER = (
    "has no presentation times, only the storage order of frames; frames are used in the order of the decoder"
)


def read(path, cut=WHOLE, rule=RULE):
    found = list(read_frames(path, [cut], rule, alive=lambda: None))
    clips = [[shown(frame) for frame in each.values] for each in found if isinstance(each, Clip)]
    assert clips, found
    return clips[0], [each.text for each in found if isinstance(each, Note)]


@pytest.mark.parametrize("name", ["a.avi", "a.asf", "a.wmv", "a.mxf"])
def test_containers_that_only_know_decoding_times_are_read_in_the_order_of_the_decoder(tmp_path, name):
    path = numbered(tmp_path / name)
    assert read(path) == (EXPECTED, [DECODER_ORDER])
    assert read(path, Cut(start_s=0.4, end_s=0.72))[0] == [10, 11, 12, 13, 14, 15, 16, 17]
    strided = FrameRule(frames=4, resize=72, sampling="strided", stride=3)
    assert read(path, rule=strided)[0] == [15, 18, 21, 24]


def test_without_reordering_such_a_container_keeps_its_times(tmp_path):
    assert read(numbered(tmp_path / "a.avi", options={"bf": "0"})) == (EXPECTED, [])
    assert read(numbered(tmp_path / "b.avi", codec="mpeg4", options=B_FRAMES)) == (EXPECTED, [])


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov", "a.ts", "a.flv", "a.nut", "a.avi", "a.3gp"])
@pytest.mark.parametrize("options", [{}, {"bf": "0"}], ids=["b-frames", "in order"])
def test_time_counts_from_the_first_frame_that_the_file_holds(tmp_path, name, options):
    """A player of a file cut out of a longer one begins at its first frame."""
    first = 0 if name.endswith("avi") else 37
    path = numbered(tmp_path / name, first=first, options=options)
    assert read(path)[0] == EXPECTED
    if not name.endswith("avi"):
        assert read(path, Cut(start_s=0.4, end_s=0.72))[0] == [10, 11, 12, 13, 14, 15, 16, 17]


@pytest.mark.parametrize(
    "name, codec",
    [("a.webm", "libvpx-vp9"), ("b.webm", "libvpx"), ("a.mkv", "mpeg4"), ("a.mkv", "mpeg2video")],
)
def test_late_starts_of_other_codecs(tmp_path, name, codec):
    assert read(numbered(tmp_path / name, codec=codec, first=50))[0] == EXPECTED


@pytest.mark.parametrize("first", [0, 250])
def test_fragments_begin_wherever_they_were_cut(tmp_path, first):
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    path = numbered(tmp_path / "a.mp4", first=first, muxer=flags, options={"g": "10"})
    assert read(path)[0] == EXPECTED


def test_a_clock_that_wraps_around(tmp_path):
    wrap = 2**33 // 3600  # of the 90 kHz clock of a transport stream, in frames of 25 Hz
    assert read(numbered(tmp_path / "a.ts", first=wrap - 20))[0] == EXPECTED


@pytest.mark.parametrize(
    "name, codec",
    [("a.h264", "libx264"), ("a.hevc", "libx265"), ("a.m1v", "mpeg1video"), ("a.m2v", "mpeg2video")],
)
def test_streams_without_timestamps_are_evenly_spaced(tmp_path, name, codec):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else B_FRAMES
    frames, notes = read(numbered(tmp_path / name, codec=codec, options=options))
    assert (frames, notes) == (EXPECTED, ["has no timestamps; 25 frames per second are assumed"])


@pytest.mark.parametrize(
    "codec, name", [("mpeg2video", "a.vob"), ("mpeg1video", "a.mpg"), ("libx264", "b.mpg")]
)
def test_program_streams_with_few_timestamps(tmp_path, codec, name):
    options = {} if codec == "libx264" else B_FRAMES
    assert read(numbered(tmp_path / name, codec=codec, options=options))[0] == EXPECTED


def test_damage_in_reordered_files_still_refuses_what_it_hits(tmp_path):
    whole = numbered(tmp_path / "a.avi", options={"g": "20"})
    holed = remuxed(whole, tmp_path / "b.avi", lost=range(6, 9))
    found = list(read_frames(holed, [Cut(start_s=0.9, end_s=1.2)], RULE, alive=lambda: None))
    assert all(not isinstance(each, Clip) or shown(each.values[0]) >= 19 for each in found)
