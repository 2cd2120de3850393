import av
import numpy as np
import pytest

from benchmarks.clips.container import Clip, Cut, Note, Refusal
from benchmarks.clips.sound import AudioRule, log_mel, mel_triangles, read_audio
from tests.benchmarks.clips.films import RATE_HZ, damaged, film

RULE = AudioRule(sample_rate_hz=16_000, window=400, hop=160, mels=40, bins=20)


def read(path, *cuts, rule=RULE):
    return list(read_audio(path, cuts or [Cut()], rule, alive=lambda: None))


def picture(path, *cuts, rule=RULE):
    (found,) = [each for each in read(path, *cuts, rule=rule) if not isinstance(each, Note)]
    assert isinstance(found, Clip), found
    assert found.values.dtype == np.float32
    return found.values


def record(path, wave, *, codec="pcm_s16le", rate_hz=RATE_HZ, layout="mono", container=None):
    """A sound file; `wave` is float32 `channels samples` in -1..1."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate_hz)
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(wave, np.float32), format="fltp", layout=layout
        )
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate_hz)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode())
    return path


def tone(hz, *, seconds=2.0, rate_hz=RATE_HZ):
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def band_of(hz, rule=RULE):
    triangles = mel_triangles(sample_rate_hz=rule.sample_rate_hz, window=rule.window, mels=rule.mels)
    return int(triangles[:, round(hz * rule.window / rule.sample_rate_hz)].argmax())


def test_silence_is_the_floor_and_a_tone_is_loudest_in_its_band():
    silent = log_mel(np.zeros(16_000, np.float32), RULE)
    assert silent.shape == (40, 20)
    assert np.allclose(silent, np.log(1e-6))
    assert (log_mel(tone(1_000), RULE).argmax(axis=0) == band_of(1_000)).all()


def test_power_is_that_of_the_windowed_transform_without_scaling():
    wave = tone(1_000)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.abs(np.fft.rfft(wave[8_000 - 200 : 8_000 + 200] * window)) ** 2
    mel = mel_triangles(sample_rate_hz=16_000, window=400, mels=40) @ power
    assert np.allclose(log_mel(wave, RULE)[:, 10], np.log(mel + 1e-6), atol=0.05)


def test_triangles_have_a_peak_of_one_and_cover_the_spectrum():
    triangles = mel_triangles(sample_rate_hz=16_000, window=2_048, mels=20)
    assert triangles.shape == (20, 1_025)
    assert 0.9 < triangles.max(axis=1).min() <= triangles.max() <= 1.0
    assert np.allclose(triangles[:, 60:800].sum(axis=0), 1.0, atol=1e-5)


def test_too_many_bands_are_refused():
    with pytest.raises(
        ValueError, match="200 mel bands are too many for a window of 400 samples at 16000 Hz"
    ):
        mel_triangles(sample_rate_hz=16_000, window=400, mels=200)


@pytest.mark.parametrize("samples", [1, 159, 4_000, 16_000, 200_000])
def test_any_length_gives_exactly_the_bins(samples):
    wave = np.ones(samples, np.float32) * 0.1
    assert log_mel(wave, RULE).shape == (40, 20)


def test_bins_are_evenly_spaced_over_the_span():
    wave = np.concatenate([np.zeros(16_000, np.float32), tone(1_000, seconds=1.0)])
    loud = log_mel(wave, RULE)[band_of(1_000)] > 0
    assert loud.tolist() == [False] * 10 + [True] * 10


def test_long_waveforms_are_transformed_in_pieces(monkeypatch):
    wave = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    whole = log_mel(wave, RULE)
    monkeypatch.setattr("benchmarks.clips.sound._STFT_FRAMES", 7)
    assert np.allclose(log_mel(wave, RULE), whole, atol=1e-5)


@pytest.mark.parametrize(
    "name, codec", [("a.mp4", "aac"), ("a.wav", "pcm_s16le"), ("a.mp3", "mp3"), ("a.flac", "flac")]
)
def test_sound_files(tmp_path, name, codec):
    path = record(tmp_path / name, tone(1_000)[None], codec=codec)
    assert (picture(path)[:, 2:-2].argmax(axis=0) == band_of(1_000)).all()


def test_stereo_is_averaged_and_resampled(tmp_path):
    left = tone(1_000, rate_hz=44_100)
    both = picture(record(tmp_path / "a.wav", np.stack([left, 0 * left]), rate_hz=44_100, layout="stereo"))
    one = picture(record(tmp_path / "b.wav", left[None] / 2, rate_hz=44_100))
    assert np.abs(both - one)[band_of(1_000), 1:-1].max() < 0.01


def test_many_channels(tmp_path):
    wave = np.stack([tone(1_000)] * 16)
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=RATE_HZ)
        stream.layout = "hexadecagonal"
        samples = (wave.T * 32_767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="hexadecagonal")
        frame.sample_rate = RATE_HZ
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    one = picture(record(tmp_path / "b.wav", tone(1_000)[None]))
    assert np.abs(picture(path) - one)[band_of(1_000), 1:-1].max() < 0.01


def test_the_span_is_cut_exactly(tmp_path):
    wave = np.concatenate([tone(400, seconds=0.5), tone(2_000, seconds=0.5), tone(400, seconds=1.0)])
    path = record(tmp_path / "a.wav", wave[None])
    middle, last, padded = (
        each.values.argmax(axis=0)
        for each in sorted(
            read(
                path,
                Cut(start_s=0.5, end_s=1.0),
                Cut(start_s=1.5),
                Cut(start_s=0.5, end_s=1.0, pad_s=0.25),
            ),
            key=lambda each: each.cut,
        )
    )
    assert (middle[1:-1] == band_of(2_000)).all()
    assert (last == band_of(400)).all()
    assert (padded[1:4] == band_of(400)).all() and (padded[6:14] == band_of(2_000)).all()


def test_sound_of_a_film_lies_where_the_picture_does(tmp_path):
    path = film(tmp_path / "a.mp4", tone_hz=1_000)
    assert (picture(path, Cut(start_s=0.5, end_s=1.5)).argmax(axis=0) == band_of(1_000)).all()


def test_timestamps_do_not_have_to_begin_at_zero(tmp_path):
    path = film(tmp_path / "a.ts", tone_hz=1_000, pts=[600 + k for k in range(20)])
    found = picture(path, Cut(start_s=0.0, end_s=1.0))
    assert (found[:, 1:-1].argmax(axis=0) == band_of(1_000)).all()


def test_missing_sound_is_refused_or_silent_when_allowed(tmp_path):
    path = film(tmp_path / "a.mp4")
    (refused,) = read(path)
    assert isinstance(refused, Refusal)
    assert "has no audio; allow silence with `missing_audio: silence`" in refused.reason
    silent = AudioRule(**{**vars(RULE), "missing": "silence"})
    assert np.allclose(picture(path, rule=silent), np.log(1e-6))


def test_sound_shorter_than_the_picture_is_filled_with_silence_and_noted(tmp_path):
    long = film(tmp_path / "long.mkv", frames=40)
    short = record(tmp_path / "short.mka", tone(1_000, seconds=1.0)[None], container="matroska")
    path = tmp_path / "both.mkv"
    with av.open(str(long)) as video, av.open(str(short)) as audio, av.open(str(path), "w") as new:
        streams = [new.add_stream_from_template(each.streams[0]) for each in (video, audio)]
        for source, stream in zip((video, audio), streams, strict=True):
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    new.mux(packet)
    found = read(path)
    assert Note(text="has no audio for 3.00 s of a clip, which is replaced by silence") in found
    loud = next(each for each in found if isinstance(each, Clip)).values.max(axis=0) > -1
    assert loud.tolist() == [True] * 5 + [False] * 15
    assert isinstance(read(path, Cut(start_s=2.0, end_s=3.0))[0], Refusal)


def test_damaged_sound_is_refused_where_it_is_damaged(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 96_000))
    whole = record(tmp_path / "whole.mka", noise, codec="aac", container="matroska")
    bad = damaged(whole, tmp_path / "bad.mka", start=0.45, stop=0.55, step=11)
    assert isinstance(read(bad, Cut(start_s=0.0, end_s=6.0))[0], Refusal)
    assert picture(bad, Cut(start_s=0.0, end_s=2.0)).shape == (40, 20)
    assert picture(bad, Cut(start_s=4.5, end_s=6.0)).shape == (40, 20)
