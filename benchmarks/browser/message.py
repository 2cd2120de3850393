"""Messages between this program and the page: a JSON header and arrays, as bytes.

Layout: the header's length (4 bytes, little-endian), the header padded with spaces to a multiple of 8 bytes in all,
then each array, C-contiguous and little-endian, padded with zeros to a multiple of 8 bytes. The header's entry
`arrays` lists dtype and shape of each. `page/message.js` is the counterpart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

HEADER_BYTES = 64 * 1024
"""Largest header."""
_ALIGNMENT = 8
_DTYPES = ("float32", "float16", "float64", "int64", "int32")


class Malformed(ValueError):
    """The bytes are not the message that is expected."""


@dataclass(frozen=True, kw_only=True)
class ArrayType:
    """Dtype and shape of an array in a message."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Size without padding."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def padding_bytes(self) -> int:
        """Zeros after the array."""
        return -self.size_bytes % _ALIGNMENT


@dataclass(frozen=True, kw_only=True)
class Payload:
    """An array to send; `parts` gives its bytes piece by piece, so that many clips need not be in memory twice."""

    type: ArrayType
    parts: Callable[[], Iterator[bytes]]


def payload_of(array: np.ndarray) -> Payload:
    """The payload of an array in memory."""
    return Payload(
        type=ArrayType(dtype=str(array.dtype), shape=array.shape), parts=lambda: iter([array.tobytes()])
    )


def message_size(header: dict[str, Any], payloads: Sequence[Payload]) -> int:
    """Size of a message in bytes."""
    arrays = sum(one.type.size_bytes + one.type.padding_bytes for one in payloads)
    return len(_head(header, [one.type for one in payloads])) + arrays


def message_parts(header: dict[str, Any], payloads: Sequence[Payload]) -> Iterator[bytes]:
    """The bytes of a message, piece by piece."""
    yield _head(header, [one.type for one in payloads])
    for one in payloads:
        yield from one.parts()
        yield bytes(one.type.padding_bytes)


def read_message(data: bytes) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Header and arrays of a message. Raises `Malformed`."""
    length = int.from_bytes(data[:4], "little")
    if len(data) < 4 or length > min(HEADER_BYTES, len(data) - 4):
        raise Malformed(f"a message of {len(data)} bytes cannot have a header of {length} bytes")
    try:
        header = json.loads(data[4 : 4 + length])
        types = [
            ArrayType(dtype=_dtype(row["dtype"]), shape=_shape(row["shape"])) for row in header["arrays"]
        ]
        sizes = [one.size_bytes for one in types]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Malformed(f"the header of the message is invalid: {error!r}") from error
    begin, arrays = 4 + length, []
    for one, size_bytes in zip(types, sizes, strict=True):
        if begin + size_bytes > len(data):
            raise Malformed(f"the message has {len(data)} bytes, but its header lists more")
        values = np.frombuffer(data[begin : begin + size_bytes], dtype=one.dtype)
        arrays.append(values.reshape(one.shape))
        begin += size_bytes + one.padding_bytes
    if begin != len(data):
        raise Malformed(f"the message has {len(data)} bytes, but its header lists {begin}")
    return header, arrays


def _head(header: dict[str, Any], types: Sequence[ArrayType]) -> bytes:
    rows = [{"dtype": one.dtype, "shape": list(one.shape)} for one in types]
    text = json.dumps({**header, "arrays": rows}).encode()
    text += b" " * (-(4 + len(text)) % _ALIGNMENT)
    return len(text).to_bytes(4, "little") + text


def _dtype(name: Any) -> str:
    if name not in _DTYPES:
        raise TypeError(f"{name!r} is not one of {', '.join(_DTYPES)}")
    return name


def _shape(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list) or not all(type(size) is int and 0 < size < 2**31 for size in sizes):
        raise TypeError(f"{sizes!r} is not a shape")
    return tuple(sizes)
