"""Hashes of files, taken from a cache only if the file is certainly unchanged."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from compress.folders import contents
from compress.folders.contents import contents_of

LONG_AGO = time.time_ns() - 10**12


@pytest.fixture
def read(monkeypatch):
    """The files that are read, by name; and the clock goes on a minute, so that files have rested."""
    names: list[str] = []

    def noted(file, algorithm):
        names.append(Path(file.name).name)
        return hashlib.new(algorithm, file.read())

    monkeypatch.setattr(contents.hashlib, "file_digest", noted)
    monkeypatch.setattr(contents.time, "time_ns", lambda: int(time.time() * 1e9) + 60 * 10**9)
    return names


def test_equal_files_have_equal_hashes_and_what_cannot_be_read_has_none(tmp_path):
    big = bytes(200_000)
    for name, data in {"a": big, "b": big, "c": big[:100_000] + b"x" + big[100_001:], "d": b""}.items():
        (tmp_path / name).write_bytes(data)
    found = contents_of([tmp_path / name for name in ("a", "b", "c", "d", "missing")], index=tmp_path / "i")
    values = [found[tmp_path / name] for name in ("a", "b", "c", "d", "missing")]
    assert values[0] == values[1] == hashlib.sha256(big).hexdigest()
    assert len(set(values)) == 4 and values[-1] is None


def test_a_file_is_read_once(tmp_path, read):
    (tmp_path / "a").write_bytes(b"one")
    done = []
    first = contents_of(
        [tmp_path / "a"] * 2, index=tmp_path / "cache" / "i", report=lambda *n: done.append(n)
    )
    again = contents_of([tmp_path / "a"], index=tmp_path / "cache" / "i")
    assert first == again and read == ["a"] and done == [(0, 1), (1, 1)]


@pytest.mark.parametrize("how", ["longer", "as long", "with its old time", "renamed over", "moved"])
def test_a_file_that_is_not_the_same_is_read_again(tmp_path, read, how):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    contents_of([path], index=tmp_path / "i")
    if how == "moved":
        path = path.rename(tmp_path / "b")
    elif how == "renamed over":
        (tmp_path / "new").write_bytes(b"two")
        os.utime(tmp_path / "new", ns=(LONG_AGO, LONG_AGO))
        (tmp_path / "new").replace(path)
    else:
        path.write_bytes(b"longer" if how == "longer" else b"two")
    if how == "with its old time":
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    found = contents_of([path], index=tmp_path / "i")
    assert len(read) == 2 and found[path] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_was_written_just_now_is_not_trusted(tmp_path):
    path, index = tmp_path / "a", tmp_path / "i"
    path.write_bytes(b"one")
    contents_of([path], index=index)
    assert not index.exists()


def test_a_damaged_index_costs_time_alone(tmp_path, read):
    (tmp_path / "a").write_bytes(b"one")
    first = contents_of([tmp_path / "a"], index=tmp_path / "i")
    text = (tmp_path / "i").read_text()
    (tmp_path / "i").write_text(text.replace(next(iter(first.values()))[:8], "00000000"))
    assert contents_of([tmp_path / "a"], index=tmp_path / "i") == first and read == ["a", "a"]


def test_what_is_gone_leaves_the_index_and_the_rest_stays(tmp_path, read):
    index = tmp_path / "i"
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
        contents_of([tmp_path / name], index=index)
        if name == "b":
            (tmp_path / "a").unlink()
    assert '/a"' not in index.read_text()
    contents_of([tmp_path / "b", tmp_path / "c"], index=index)
    assert read == ["a", "b", "c"]
