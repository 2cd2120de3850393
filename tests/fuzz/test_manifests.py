"""Invalid manifests: each is refused with its lines, or read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.clips.rows import read_manifest
from tests.fuzz.hostile import TEXTS, cases, damaged

GOOD = b"path,split,action,text,start_s,end_s\na.mp4,train,run,one two,0.5,1.5\nb.mp4,test,sit,,,\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("manifests")
    for name in ("a.mp4", "b.mp4"):
        (place / name).write_bytes(b"x")
    return place


def read_or_refused(folder: Path, data: bytes) -> None:
    path = folder / "clips.csv"
    path.write_bytes(data)
    try:
        rows = read_manifest(path, labels=["action"])
    except (ValueError, FileNotFoundError) as error:
        assert str(path) in str(error) and len(str(error)) < 20_000
        return
    assert rows and all(row.split in ("train", "validation", "test") for row in rows)


@cases(150)
@given(damaged(GOOD))
def test_damaged_bytes(folder: Path, data: bytes) -> None:
    read_or_refused(folder, data)


@cases(100)
@given(st.lists(st.tuples(*[TEXTS] * 4), min_size=1, max_size=3))
def test_hostile_cells(folder: Path, cells: list[tuple[str, ...]]) -> None:
    lines = ["path,split,action,start_s"]
    lines += [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in cells]
    read_or_refused(folder, "\n".join(lines).encode(errors="surrogatepass"))
