"""Small files that ask for much, and a video whose frames carry their number."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_BITS = 9


def gif(path: Path, *, width: int, height: int, frames: int = 1, delay_cs: int = 10) -> Path:
    """An animation of one-pixel changes on a canvas of that size: 23 bytes a frame."""
    data = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    for _ in range(frames):
        data += b"\x21\xf9\x04\x00" + struct.pack("<H", delay_cs) + b"\0\0"
        data += b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    path.write_bytes(data + b"\x3b")
    return path


def png(width: int, height: int, *, bits: int = 16) -> bytes:
    """A black picture, compressed a thousandfold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), b"\0" * (1 + width * bits // 2)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def wrapped(path: Path, pictures: list[bytes], *, width: int, height: int) -> Path:
    """PNG pictures as a video whose header tells that size."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgba64be"
        for number, data in enumerate(pictures):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.duration, packet.time_base = 1, Fraction(1, 10)
            packet.stream, packet.is_keyframe = stream, True
            file.mux(packet)
    return path


def wav(
    path: Path, *, rate_hz: int, channels: int = 1, samples: int = 8_000, claimed: int | None = None
) -> Path:
    """16-bit noise; the header claims `claimed` bytes of it."""
    noise = np.random.default_rng(0).integers(-9999, 9999, samples * channels, np.int16).tobytes()
    claimed = len(noise) if claimed is None else claimed
    fmt = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * channels * 2 % 2**32, channels * 2, 16)
    head = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", claimed)
    path.write_bytes(b"RIFF" + struct.pack("<I", (claimed + 36) % 2**32) + head + noise)
    return path


def numbered(
    path: Path,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    first: int = 0,
    frames: int = 40,
    fps: int = 25,
    container: str | None = None,
    muxer: dict[str, str] | None = None,
) -> Path:
    """A video of 96x96 whose frame k shows k as nine black or white blocks; its timestamps begin at `first`."""
    with av.open(str(path), "w", format=container, options=muxer or {}) as file:
        video = file.add_stream(codec, rate=fps)
        video.width = video.height = 96
        video.pix_fmt, video.bit_rate = pix_fmt, 2_000_000
        video.options = {"threads": "1", **(options or {})}
        for k in range(frames):
            pixels = np.zeros((96, 96, 3), np.uint8)
            for bit in range(_BITS):
                top, left = 32 * (bit // 3), 32 * (bit % 3)
                pixels[top : top + 32, left : left + 32] = 255 * (k >> bit & 1)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = first + k
            file.mux(video.encode(frame))
        file.mux(video.encode())
    return path


def shown(pixels: np.ndarray) -> int:
    """The number that a frame of `numbered` shows."""
    block = len(pixels) // 3
    found = 0
    for bit in range(_BITS):
        top, left = block * (bit // 3) + block // 4, block * (bit % 3) + block // 4
        found += (1 << bit) * bool(pixels[top : top + block // 2, left : left + block // 2].mean() > 127)
    return found
