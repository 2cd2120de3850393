"""The folder on the board: blocks become verified files."""

import hashlib

import pytest

from benchmarks.ssh.board.store import Store

DATA = bytes(range(256)) * 4
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "board")


def put(store, begin, end, *, data=DATA):
    block = data[begin:end]
    return store.put("blobs/x", size=len(DATA), sha256=SHA256, begin=begin, data=block)


def test_a_file_has_its_name_when_it_is_complete(store):
    store.folder.mkdir()
    assert store.present([("blobs/x", len(DATA))]) == [0]
    assert put(store, 0, 100) == 100
    assert store.present([("blobs/x", len(DATA))]) == [100]
    assert not (store.folder / "blobs/x").exists()
    assert put(store, 100, len(DATA)) == len(DATA)
    assert (store.folder / "blobs/x").read_bytes() == DATA
    assert store.present([("blobs/x", len(DATA))]) == [len(DATA)]
    assert put(store, 0, 10) == len(DATA)  # of another machine that copies the same


def test_damaged_content_is_refused_and_removed(store):
    put(store, 0, 100)
    with pytest.raises(
        ValueError, match=r"blobs/x was damaged on its way: its SHA-256 is [0-9a-f]{64}; run again"
    ):
        put(store, 100, len(DATA), data=DATA[::-1])
    assert not any((store.folder / "blobs").iterdir())


def test_only_what_was_stored_is_removed(store):
    put(store, 0, len(DATA))
    for name in ("runner-0123.pyz", "of_the_user"):
        (store.folder / name).write_bytes(b"")
    store.clean()
    assert [path.name for path in store.folder.iterdir()] == ["of_the_user"]
    (store.folder / "of_the_user").unlink()
    store.clean()
    assert not store.folder.exists()
