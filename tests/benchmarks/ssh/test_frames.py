"""Messages between this machine and a board: exact, and refused if they are anything else."""

import io
import pickle
import struct

import numpy as np
import pytest

from benchmarks.ssh.board.frames import Malformed, Message, pack, read, unpack, write


def written(message):
    stream = io.BytesIO()
    write(stream, message)
    return stream.getvalue()


def framed(header, payload=b"", *, channel=1):
    return struct.pack("!IIQ", channel, len(header), len(payload)) + header + payload


def test_messages_arrive_as_they_were_sent():
    sent = [
        Message(channel=0, header={"command": "describe", "arguments": {"name": "Küche"}}),
        Message(channel=7, header={"outcome": "ok"}, payload=bytes(range(256))),
    ]
    stream = io.BytesIO(b"".join(map(written, sent)))
    assert [read(stream), read(stream), read(stream)] == [*sent, None]


def test_arrays_arrive_as_they_were_sent():
    arrays = [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array([2**40, -1]),
        np.empty((0, 4), np.float32),
    ]
    rows, payload = pack(arrays)
    for given, sent in zip(unpack(rows, payload), arrays, strict=True):
        np.testing.assert_array_equal(given, sent)
        assert given.dtype == sent.dtype


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0" * 5, r"ended in a message: 5 of 16 bytes"),
        (framed(b"{}")[:-1], r"ended in a message: 1 of 2 bytes"),
        (framed(b"{}", b"12345")[:-2], r"ended in a message: 3 of 5 bytes"),
        (struct.pack("!IIQ", 0, 2, 2**50), "above the limit"),
        (struct.pack("!IIQ", 0, 2**31, 0), "above the limit"),
        (framed(b"not JSON"), "is not JSON"),
        (framed(b"[" * 100_000), "is not JSON"),
        (framed(b"[1]"), "is a list, not an object"),
        (framed(pickle.dumps(print)), "is not JSON"),
    ],
)
def test_other_bytes_are_refused(data, reason):
    with pytest.raises(Malformed, match=reason):
        read(io.BytesIO(data))


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"dtype": "|O", "shape": [1]}], r"an array of type '\|O'"),
        ([{"dtype": "<f4", "shape": [-1]}], r"shape \[-1\]"),
        ([{"dtype": "<f4", "shape": [True]}], r"shape \[True\]"),
        ([{"dtype": "<f4", "shape": [3]}], "do not agree with its bytes"),
        ([{"dtype": "<f4", "shape": [1]}], "8 bytes for arrays of 4 bytes"),
        ([{"shape": [2]}], "do not agree with its bytes"),
        (None, "do not agree with its bytes"),
    ],
)
def test_arrays_that_do_not_agree_with_their_bytes_are_refused(rows, reason):
    with pytest.raises(Malformed, match=reason):
        unpack(rows, bytes(8))
