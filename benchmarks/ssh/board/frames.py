"""Messages between this machine and a board.

A message is a channel, a JSON object and bytes, with their lengths in front. Nothing is pickled, so that reading a
message runs no code. Channel 0 is that of the hub, each file has one of its own.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

HUB = 0
"""Channel of the hub."""
GREETING = b"pocketreel-board-1\n"
"""First line of the board. What a shell's startup files print comes before it."""

_LENGTHS = struct.Struct("!IIQ")
_MOST_HEADER_BYTES = 16 * 2**20
_MOST_PAYLOAD_BYTES = 2**30
_DTYPES = ("<f4", "<i8")


class Malformed(ValueError):
    """The bytes are no message of this protocol."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message."""

    channel: int
    header: dict[str, Any]
    payload: bytes = b""


def write(stream: IO[bytes], message: Message) -> None:
    """Writes a message and flushes the stream. Raises OSError."""
    header = json.dumps(message.header).encode()
    stream.write(_LENGTHS.pack(message.channel, len(header), len(message.payload)) + header)
    stream.write(message.payload)
    stream.flush()


def read(stream: IO[bytes]) -> Message | None:
    """The next message, or None at the end of the stream. Raises `Malformed` and OSError."""
    lengths = stream.read(_LENGTHS.size)
    if not lengths:
        return None
    channel, header_bytes, payload_bytes = _LENGTHS.unpack(_whole(lengths, _LENGTHS.size))
    if header_bytes > _MOST_HEADER_BYTES or payload_bytes > _MOST_PAYLOAD_BYTES:
        raise Malformed(f"a message of {header_bytes} + {payload_bytes} bytes is above the limit")
    try:
        header = json.loads(_whole(stream.read(header_bytes), header_bytes))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the header of a message is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise Malformed(f"the header of a message is a {type(header).__name__}, not an object")
    payload = _whole(stream.read(payload_bytes), payload_bytes)
    return Message(channel=channel, header=header, payload=payload)


def _whole(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise Malformed(f"the stream ended in a message: {len(data)} of {size} bytes")
    return data


def pack(arrays: Iterable[np.ndarray]) -> tuple[list[dict[str, Any]], bytes]:
    """Rows `{dtype, shape}` and bytes of float32 and int64 arrays."""
    rows, parts = [], []
    for array in arrays:
        stored = array.astype(array.dtype.newbyteorder("<"))
        rows.append({"dtype": stored.dtype.str, "shape": list(stored.shape)})
        parts.append(stored.tobytes())
    return rows, b"".join(parts)


def unpack(rows: object, payload: bytes) -> list[np.ndarray]:
    """The arrays of `pack`. Raises `Malformed` if rows and bytes do not agree."""
    import numpy as np

    arrays, begin = [], 0
    try:
        for row in rows:  # type: ignore[attr-defined]
            dtype, shape = row["dtype"], tuple(row["shape"])
            if dtype not in _DTYPES or not all(type(size) is int and size >= 0 for size in shape):
                raise Malformed(f"an array of type {dtype!r} and shape {list(shape)}")
            count = math.prod(shape)
            flat = np.frombuffer(payload, dtype, count, begin)
            arrays.append(flat.reshape(shape).astype(flat.dtype.newbyteorder("=")))
            begin += flat.nbytes
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"the arrays of a message do not agree with its bytes ({error})") from error
    if begin != len(payload):
        raise Malformed(f"{len(payload)} bytes for arrays of {begin} bytes")
    return arrays
