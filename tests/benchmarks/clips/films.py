"""Small encoded files for the tests of this folder."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE_HZ = 16_000
COLOURS = ((220, 40, 40), (40, 220, 40), (40, 40, 220), (220, 220, 40), (220, 40, 220), (40, 220, 220))


def film(
    path: Path,
    *,
    frames: int = 20,
    fps: int = 10,
    width: int = 64,
    height: int = 48,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    container: str | None = None,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    tone_hz: float | None = None,
    pts: list[int] | None = None,
    aspect: tuple[int, int] | None = None,
    quadrants: bool = False,
    noisy: bool = False,
) -> Path:
    """A video whose frame i is `grey(i)` all over, or four coloured quadrants, or noise; maybe with a tone."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w", format=container, options=muxer or {}) as file:
        video = file.add_stream(codec, rate=fps)
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        video.options = {"threads": "1", **(options or {})}
        if aspect:
            video.codec_context.sample_aspect_ratio = Fraction(*aspect)
        audio = None
        if tone_hz is not None:
            audio = file.add_stream("aac", rate=RATE_HZ)
            audio.layout = "mono"
        for number in range(frames):
            pixels = np.full((height, width, 3), grey(number), np.uint8)
            if quadrants:
                top, left = height // 2, width // 2
                pixels[:top, :left], pixels[:top, left:] = COLOURS[0], COLOURS[1]
                pixels[top:, :left], pixels[top:, left:] = COLOURS[2], COLOURS[3]
            if noisy:
                pixels = random.integers(0, 255, pixels.shape, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = pts[number] if pts else number
            file.mux(video.encode(frame))
        file.mux(video.encode())
        if audio:
            time_s = np.arange(RATE_HZ * frames // fps) / RATE_HZ
            wave = (0.3 * np.sin(2 * np.pi * tone_hz * time_s)).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            sound.sample_rate, sound.pts = RATE_HZ, 0
            file.mux(audio.encode(sound))
            file.mux(audio.encode())
    return path


def grey(number: int) -> int:
    """Brightness of frame `number` of a film, far enough from its neighbours to survive compression."""
    return 20 + 10 * number % 220


def number(pixels: np.ndarray) -> int:
    """Which frame of a film pixels come from."""
    return round((float(pixels.mean()) - 20) / 10)


def remuxed(
    source: Path,
    target: Path,
    *,
    turn: bytes | None = None,
    muxer: dict[str, str] | None = None,
    lost: range = range(0),
) -> Path:
    """The same packets in another container, without those of some numbers.

    With `turn`, the same file with a display matrix (9 big-endian int32) in the MP4 header.
    """
    if turn is None:
        with av.open(str(source)) as old, av.open(str(target), "w", options=muxer or {}) as new:
            streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
            for place, packet in enumerate(old.demux()):
                if packet.dts is not None and place not in lost:
                    packet.stream = streams[packet.stream.index]
                    new.mux(packet)
        return target
    data = bytearray(source.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other fields
    data[place : place + 36] = turn
    target.write_bytes(data)
    return target


def matrix(a: float, b: float, c: float, d: float) -> bytes:
    """A display matrix as MP4 writes it."""
    rows = [a, b, 0, c, d, 0, 0, 0, 0]
    values = np.array([round(value * 2**16) for value in rows], ">i4")
    values[8] = 2**30
    return values.tobytes()


def damaged(source: Path, target: Path, *, start: float, stop: float, step: int = 40) -> Path:
    """The file with bytes changed between two shares of its length."""
    data = bytearray(source.read_bytes())
    for place in range(int(len(data) * start), int(len(data) * stop), step):
        data[place] ^= 0x5A
    target.write_bytes(data)
    return target


def cut_off(source: Path, target: Path, *, share: float) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target
