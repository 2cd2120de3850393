"""Files that a user names as output."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from benchmarks.classify import _is_ours as answers_are_ours
from benchmarks.run import _is_ours as figures_are_ours
from benchmarks.streaming import _is_ours as costs_are_ours
from compress.folders.ledger import FolderRefused
from compress.folders.output import check_output_file, check_output_page, contains, write_output_file
from compress.studies.generated_blocks import check_page

OURS = {
    figures_are_ours: {"schema_version": 1, "device": {}, "files": [], "data": None},
    answers_are_ours: {"schema_version": 1, "model": "x", "windows": {}, "videos": []},
    costs_are_ours: [{"format": "onnx", "clip_ms": 1.0, "frame_ms": 0.1}],
}


@pytest.mark.parametrize("is_ours", OURS, ids=["run", "classify", "streaming"])
def test_only_files_of_the_same_command_are_replaced(tmp_path, is_ours):
    path = tmp_path / "out.json"
    check_output_file(None, is_ours=is_ours)
    check_output_file(path, is_ours=is_ours)
    path.write_text(json.dumps(OURS[is_ours]))
    check_output_file(path, is_ours=is_ours)
    for foreign in (
        '{"name": "my-app"}',
        "[1, 2]",
        '[{"format": 1}]',
        "3",
        "not json",
        '"text"',
        "null",
        "\xff",
    ):
        path.write_text(foreign, encoding="latin-1")
        with pytest.raises(
            FolderRefused, match=r"out.json exists and was not written by this command: choose another"
        ):
            check_output_file(path, is_ours=is_ours)


def test_links_are_refused_and_new_files_written(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for target in (tmp_path / "mine", tmp_path / "none", Path("/dev/null")):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(target)
        with pytest.raises(FolderRefused, match="link is a symbolic link"):
            check_output_file(tmp_path / "link")
    check_output_file(tmp_path / "new")
    write_output_file(tmp_path / "new", "text")
    assert (tmp_path / "new").read_text() == "text"
    check_output_file(tmp_path / "new")  # without `is_ours`, whatever it holds


@pytest.mark.timeout(20)  # writing to a pipe that nobody reads would wait for ever
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_refused_before_the_work_and_after_it(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)  # the path of a socket is 108 bytes at most
    path = Path("out.json")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    else:
        path = Path("/dev/null")
    said = f"--out {path} is a {kind}; give the name of a regular file"
    with pytest.raises(FolderRefused, match=said):
        check_output_file(path, is_ours=lambda content: True)
    with pytest.raises(FolderRefused, match=said.replace("--out", "--page")):
        check_output_file(path, option="--page")
    with pytest.raises(FolderRefused, match=said):
        write_output_file(path, "text")
    assert path.exists() and not path.is_file(), "it is still what it was"


def test_why_a_file_cannot_be_written_is_said_before_the_work(tmp_path):
    with pytest.raises(FileNotFoundError, match="its folder does not exist"):
        check_output_file(tmp_path / "no" / "out.json")
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file"):
        check_output_file(tmp_path)


def test_a_folder_contains_what_another_spelling_leads_into(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert contains(tmp_path / "a", tmp_path / "link" / "b" / "none")
    assert contains(tmp_path / "link", tmp_path / "a" / ".." / "a")
    assert not contains(tmp_path / "a" / "b", tmp_path / "a")
    assert not contains(tmp_path / "none", tmp_path / "a")


def test_only_pages_of_the_same_command_are_replaced(tmp_path):
    page, begin = tmp_path / "page.md", "# Comparison"
    check_output_page(page, begin=begin, option="--page")
    page.write_text("# Comparison\n\nmore")
    check_output_page(page, begin=begin, option="--page")
    (tmp_path / "link").symlink_to(page)
    with pytest.raises(FolderRefused, match=r"--page .*link is a symbolic link"):
        check_output_page(tmp_path / "link", begin=begin, option="--page")
    for foreign in (b"", b"# Notes\n", b"\xff"):
        page.write_bytes(foreign)
        with pytest.raises(
            FolderRefused, match=r"--page .*page\.md exists and was not written by this command"
        ):
            check_output_page(page, begin=begin, option="--page")
    with pytest.raises(FolderRefused, match="is a device; give the name of a regular file"):
        check_output_page(Path("/dev/null"), begin=begin, option="--page")


def test_a_page_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a pipe; give the name of a regular file"):
        check_page(tmp_path / "pipe", "encoders")
