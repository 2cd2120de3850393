"""Files that exceed the limits are refused with the figure, in little memory and time."""

import socket
import threading
import time
from dataclasses import replace
from fractions import Fraction

import av
import pytest

from benchmarks.clips.container import Clip, Cut, Note, Refusal, UnreadableClip
from benchmarks.clips.frames import FrameRule
from benchmarks.clips.limits import Limits, parse_limits
from benchmarks.clips.passing import Passing, passing_pictures
from benchmarks.clips.processes import Done, Lost, run_jobs
from benchmarks.clips.sound import AudioRule
from benchmarks.clips.store import Job, read
from tests.benchmarks.clips.films import film
from tests.benchmarks.clips.hostile import gif, numbered, png, shown, wav, wrapped
from tests.memory import fresh_process

pytestmark = pytest.mark.slow

FRAMES = FrameRule(frames=4, resize=24, sampling="uniform", stride=1)
SOUND = AudioRule(sample_rate_hz=16_000, window=400, hop=160, mels=16, bins=8)
USUAL = Limits()
TWO_GB = 2_000_000_000


def outcomes(path, *cuts, rule=FRAMES, limits=USUAL):
    """The result of a decoding process for a file, which must be quick."""
    begin_s = time.monotonic()
    job = Job(path=path, cuts=cuts or (Cut(),), rule=rule, limits=limits)
    found = fresh_process().call(_outcomes, job)
    assert time.monotonic() - begin_s < 60
    assert fresh_process().children_peak_bytes() < TWO_GB
    return [result for _, result in found if not isinstance(result, Done)]


def _outcomes(job):
    return list(run_jobs(read, [job], workers=1, memory_mib=job.limits.max_memory_mib))


def refused(path, *cuts, rule=FRAMES, limits=USUAL):
    (found,) = [
        each for each in outcomes(path, *cuts, rule=rule, limits=limits) if not isinstance(each, Note)
    ]
    assert isinstance(found, Refusal), found
    return found.reason


def test_a_huge_canvas_in_few_bytes(tmp_path):
    path = gif(tmp_path / "a.gif", width=16_000, height=16_000, frames=20)
    assert path.stat().st_size < 500
    assert refused(path) == (
        "its frames are 16000x16000, 256,000,000 pixels, over the limit max_pixels = 36,000,000; if you trust "
        "the file, raise the limit: data.limits.max_pixels in a recipe, --limit max_pixels=NUMBER of a command"
    )


@pytest.mark.parametrize(
    "header, sizes",
    [(16_000, [16_000] * 2), (64, [16_000] * 2), (64, [64] * 5 + [16_000] + [64] * 5)],
    ids=["as the header says", "the header lies", "in the middle"],
)
def test_large_pictures_are_refused_before_they_are_decoded(tmp_path, header, sizes):
    pictures = {size: png(size, size, bits=8) for size in set(sizes)}
    path = wrapped(tmp_path / "a.mov", [pictures[size] for size in sizes], width=header, height=header)
    assert refused(path).startswith(
        "its frames are 16000x16000, 256,000,000 pixels, over the limit max_pixels"
    )


@pytest.mark.parametrize("width, height", [(7680, 4320), (4320, 7680), (8192, 4320)])
def test_8k_video_is_read(tmp_path, width, height):
    path = film(tmp_path / "a.mp4", frames=2, width=width, height=height, options={"preset": "ultrafast"})
    assert any(isinstance(each, Clip) for each in outcomes(path))


def test_a_limit_that_is_raised_lets_the_file_in(tmp_path):
    path = gif(tmp_path / "a.gif", width=400, height=300)
    small = Limits(max_pixels=100_000)
    assert "its frames are 400x300, 120,000 pixels, over the limit max_pixels = 100,000" in refused(
        path, limits=small
    )
    assert any(isinstance(each, Clip) for each in outcomes(path, limits=replace(small, max_pixels=120_000)))


def test_a_gap_in_the_time_stamps_is_not_filled(tmp_path):
    late = 625_000
    path = film(tmp_path / "a.mp4", frames=40, pts=[*range(20), *range(late, late + 20)], tone_hz=500)
    for rule in (FRAMES, SOUND):
        reason = refused(path, rule=rule)
        assert reason.startswith("the clip 0..62502 s lasts 62,502.0 s, over the limit max_span_s = 3,600.0;")
        assert any(isinstance(each, Clip) for each in outcomes(path, Cut(start_s=0.0, end_s=1.5), rule=rule))


def test_slow_animations_and_sound_that_claim_days(tmp_path):
    path = gif(tmp_path / "a.gif", width=64, height=64, frames=1000, delay_cs=65_535)
    assert refused(path).startswith("the clip 0..655350 s lasts 655,350.0 s")
    claims = wav(tmp_path / "a.wav", rate_hz=8_000, claimed=2**32 - 64)
    assert all(isinstance(each, Clip | Note) for each in outcomes(claims, rule=SOUND))


def test_frames_and_samples_of_a_clip_are_counted(tmp_path):
    path = film(tmp_path / "a.mp4", tone_hz=500)
    few = Limits(max_frames=10, max_samples=10_000)
    assert "has 20 frames, over the limit max_frames = 10;" in refused(path, limits=few)
    assert "has 16,000 samples, over the limit max_samples = 10,000;" in refused(
        path, Cut(start_s=0.0, end_s=1.0), rule=SOUND, limits=replace(few, max_frames=100)
    )
    assert any(isinstance(each, Clip) for each in outcomes(path, Cut(start_s=0.0, end_s=0.5), limits=few))


@pytest.mark.parametrize("rate_hz", [1, 999, 10_000_000])
def test_sample_rates_that_no_sound_has(tmp_path, rate_hz):
    reason = refused(
        wav(tmp_path / "a.wav", rate_hz=rate_hz, samples=3_000), rule=SOUND, limits=Limits(max_span_s=1e6)
    )
    assert (
        f"{rate_hz:,} samples per second; supported are 1,000 to 3,000,000" in reason
        or "over the limit" in reason
    )


def test_many_channels_are_sound_like_any(tmp_path):
    path = wav(tmp_path / "a.wav", rate_hz=16_000, channels=255)
    assert len(outcomes(path, rule=SOUND)) >= 1


def test_a_thousand_streams(tmp_path):
    path = tmp_path / "a.nut"
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("pcm_s16le", rate=8_000, layout="mono") for _ in range(1_000)]
        for stream in streams:
            packet = av.Packet(b"\0" * 160)
            packet.pts = packet.dts = 0
            packet.time_base, packet.stream = Fraction(1, 8_000), stream
            file.mux(packet)
    assert outcomes(path, rule=SOUND)


def test_decoders_get_no_more_memory_than_the_limit(tmp_path):
    path = wrapped(tmp_path / "a.mov", [png(5_900, 5_900)] * 2, width=5_900, height=5_900)
    reason = refused(path, limits=Limits(max_memory_mib=512))
    assert "takes more memory than a decoder may use, over the limit max_memory_mib = 512;" in reason


def test_work_is_in_proportion_to_the_bytes(tmp_path):
    """69 kB that are 3,000 frames of 8K each."""
    path = gif(tmp_path / "a.gif", width=7_680, height=4_320, frames=3_000)
    reason = refused(path, limits=Limits(max_cpu_s=3.0))
    assert (
        "takes more than 3 s of processor time, too much for its size, over the limit max_cpu_s = 3.0;"
        in reason
    )


def test_a_decoder_that_does_not_come_back_is_ended():
    ((_, lost),) = run_jobs(_spin, [None], workers=1)
    assert lost == Lost(reason="it exceeded its processor time (limit max_cpu_s)")


def _spin(job, alive):
    from benchmarks.clips.processes import end_after_cpu_s

    end_after_cpu_s(0.5)
    while True:
        pass
    yield


PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:PORT/x.ts\n#EXT-X-ENDLIST\n",
    "a.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:PORT/x.ts\n#EXT-X-ENDLIST\n",
    "b.mp4": "ffconcat version 1.0\nfile 'http://127.0.0.1:PORT/x.mp4'\n",
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video PORT RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "a.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:'
    'isoff-on-demand:2011" mediaPresentationDuration="PT30S" type="static"><Period>'
    '<AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="1"><BaseURL>http://127.0.0.1:PORT/x.mp4</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "a.asf": "[Reference]\nRef1=http://127.0.0.1:PORT/x\n",
    "a.ram": "rtsp://127.0.0.1:PORT/x\n",
    "a.mov": "RTSPtextrtsp://127.0.0.1:PORT/x\n",
    "a.srt": "1\n00:00:00,000 --> 99:00:00,000\nhttp://127.0.0.1:PORT\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_no_file_reaches_the_network(tmp_path, name):
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)

        def listen():
            try:
                server.accept()[0].close()
                asked.set()
            except OSError:
                pass

        listener = threading.Thread(target=listen)
        listener.start()
        path = tmp_path / name
        path.write_text(PLAYLISTS[name].replace("PORT", str(server.getsockname()[1])))
        begin_s = time.monotonic()
        reason = refused(path)
        assert time.monotonic() - begin_s < 10
        listener.join()
    assert not asked.is_set()
    assert reason.startswith(("is ", "cannot be opened", "has neither", "has the format"))


def test_a_list_of_local_files_is_no_video_either(tmp_path):
    film(tmp_path / "a.mp4")
    listed = tmp_path / "b.mp4"
    listed.write_text("ffconcat version 1.0\nfile a.mp4\n")
    assert refused(listed) == "is a list of other files, not a video"


@pytest.mark.parametrize("name", ["a%d.mp4", "a%03d.gif", "a*.mp4", "b?{c}.gif"])
def test_a_name_that_looks_like_a_pattern_is_a_name(tmp_path, name):
    codec = {"codec": "gif", "pix_fmt": "rgb8"} if name.endswith("gif") else {}
    path = numbered(tmp_path / name, **codec)
    (clip,) = [each for each in outcomes(path) if isinstance(each, Clip)]
    assert [shown(frame) for frame in clip.values] == [5, 15, 25, 35]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["a.gif", "a.mp4", "a.mkv", "a.avi", "a.ts"])
def test_files_that_end_early_come_to_an_end(tmp_path, name, share):
    codec = {"codec": "gif", "pix_fmt": "rgb8"} if name.endswith("gif") else {}
    data = film(tmp_path / name, **codec).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    assert outcomes(tmp_path / name)


def test_a_video_frame_by_frame_is_decoded_elsewhere_and_within_limits(tmp_path):
    path = numbered(tmp_path / "a.mp4")
    pictures = list(passing_pictures(Passing(path=path, resize=72, every=10, limits=USUAL)))
    assert [(shown(each.square), round(each.time_s, 3)) for each in pictures] == [
        (0, 0.0),
        (10, 0.4),
        (20, 0.8),
        (30, 1.2),
    ]
    with pytest.raises(
        UnreadableClip, match="its frames are 96x96, 9,216 pixels, over the limit max_pixels = 9,000"
    ):
        list(passing_pictures(Passing(path=path, resize=72, every=1, limits=Limits(max_pixels=9_000))))


@pytest.mark.parametrize(
    "option, message",
    [
        ("max_pixel=3", "unknown limit 'max_pixel'; nearest: max_pixels; allowed: max_pixels, max_frames"),
        ("max_pixels", "give a whole number, as max_pixels=36000000"),
        ("max_pixels=1.5", "give a whole number"),
        ("max_span_s=0", "limit max_span_s is 0.0; give a number above 0"),
        ("max_span_s=nan", "give a number above 0"),
        ("max_cpu_s=inf", "give a number above 0"),
    ],
)
def test_limits_of_commands_are_checked(option, message):
    with pytest.raises(ValueError, match=message):
        parse_limits([option])


def test_limits_of_commands():
    assert parse_limits(None) == USUAL
    assert parse_limits(["max_pixels=50_000_000", "max_span_s=60"]) == Limits(
        max_pixels=50_000_000, max_span_s=60
    )
