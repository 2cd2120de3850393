"""Messages for private APIs that a library no longer has."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest

from compress.command.insides import Insides

INSIDE = Insides({"filelock": "1.0"}, "export.private.filelock")


def test_what_is_there_is_handed_out():
    import filelock

    assert INSIDE("filelock:FileLock.acquire") is filelock.FileLock.acquire
    assert INSIDE("filelock") is filelock
    assert INSIDE.of(filelock.FileLock, "acquire") is filelock.FileLock.acquire


@pytest.mark.parametrize("path", ["filelock:_gone", "filelock:FileLock._gone", "filelock._gone"])
def test_what_is_gone_is_named_with_versions_and_what_to_do(path):
    said = (
        f"filelock {version('filelock')} has no {path}, a private API that export.private.filelock uses: it was "
        "written for filelock 1.0. Install filelock==1.0, or review export.private.filelock and the names that it "
        "uses"
    )
    with pytest.raises(ImportError, match=re.escape(said)):
        INSIDE(path)


def test_an_attribute_that_is_gone_is_named_by_its_class(tmp_path):
    import filelock

    with pytest.raises(ImportError, match=r"has no filelock\.\S+Lock\._gone, a private API that export"):
        INSIDE.of(filelock.FileLock(tmp_path / "lock"), "_gone")


def test_a_library_that_is_not_installed_stays_that_error():
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_library'"):
        Insides({"no-such-library": "1.0"}, "here")("no_such_library.part:name")
