"""Messages between this program and the page."""

import numpy as np
import pytest

from benchmarks.browser.message import Malformed, message_parts, message_size, payload_of, read_message

HEAD = b'{"arrays": [{"dtype": "float32", "shape": [2]}]}'


def message(header: bytes, rest: bytes = b"") -> bytes:
    header += b" " * (-(4 + len(header)) % 8)
    return len(header).to_bytes(4, "little") + header + rest


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "int32"])
def test_a_message_is_read_as_it_was_written(dtype):
    arrays = [np.arange(6).reshape(2, 3).astype(dtype), np.arange(3).astype(dtype)]
    payloads = [payload_of(array) for array in arrays]
    data = b"".join(message_parts({"name": "hold"}, payloads))
    assert len(data) == message_size({"name": "hold"}, payloads) and len(data) % 8 == 0
    header, found = read_message(data)
    assert header["name"] == "hold"
    assert all((one == other).all() and one.dtype == dtype for one, other in zip(found, arrays, strict=True))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "of 0 bytes"),
        (b"\xff\xff\xff\xff{}", "cannot have a header"),
        (message(b"[]"), "header .* is invalid"),
        (message(b"{}"), "header .* is invalid"),
        (message(b"no JSON"), "header .* is invalid"),
        (message(b'{"arrays": [7]}'), "header .* is invalid"),
        (message(b'{"arrays": [{"dtype": "O", "shape": [1]}]}'), "'O' is not one of"),
        (message(b'{"arrays": [{"dtype": "int32", "shape": [-1]}]}'), "is not a shape"),
        (message(b'{"arrays": [{"dtype": "int32", "shape": [true]}]}'), "is not a shape"),
        (message(b'{"arrays": [{"dtype": "int32", "shape": [1000, 1000, 1000]}]}'), "header lists more"),
        (message(HEAD), "header lists more"),
        (message(HEAD, bytes(16)), "header lists"),
    ],
)
def test_other_bytes_are_refused(data, reason):
    with pytest.raises(Malformed, match=reason):
        read_message(data)
