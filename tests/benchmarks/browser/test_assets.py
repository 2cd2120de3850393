"""Installation of the runtimes of the page, from archives of packages."""

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.browser.assets import (
    FOLDER_VARIABLE,
    PACKAGES,
    Package,
    default_folder,
    find_assets,
    install,
)
from benchmarks.device import Unavailable
from tests.commands import run_command_line


def pack(folder: Path, files: dict[str, bytes]) -> Package:
    """Writes the archive of a package to `folder`; gives its description."""
    package = Package(
        name="@small/runtime",
        version="1.2.3",
        integrity="",
        files=tuple(files),
        folder="small",
        rewrites=(('from "@small/other"', 'from "../other/index.js"'),),
    )
    with tarfile.open(folder / package.archive, "w:gz") as tar:
        for name, data in {**files, "../outside.js": b"", "install.js": b"throw 1"}.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    digest = hashlib.sha512((folder / package.archive).read_bytes()).digest()
    return replace(package, integrity=f"sha512-{base64.b64encode(digest).decode()}")


@pytest.fixture
def package(tmp_path):
    return pack(tmp_path, {"dist/index.js": b'import {a} from "@small/other";', "wasm/run.wasm": b"\0asm"})


def test_listed_files_are_installed_and_found(package, tmp_path):
    install(tmp_path, tmp_path / "assets", packages=[package])
    found = find_assets(tmp_path / "assets", packages=[package])
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "small/index.js": b'import {a} from "../other/index.js";',
        "small/run.wasm": b"\0asm",
    }
    written = {path.name for path in (tmp_path / "assets").rglob("*") if path.is_file()}
    assert written == {"index.js", "run.wasm", "assets.json"}
    assert json.loads((tmp_path / "assets/assets.json").read_text()) == {"@small/runtime": "1.2.3"}


def test_an_archive_with_another_hash_is_refused_before_anything_is_written(package, tmp_path):
    with (tmp_path / package.archive).open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ValueError, match=r"is not @small/runtime 1\.2\.3 as published: its hash is sha512-"):
        install(tmp_path, tmp_path / "assets", packages=[package])
    assert not (tmp_path / "assets").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"files": ("dist/gone.js",)}, r"has no file package/dist/gone\.js"),
        ({"rewrites": (("no such text", ""),)}, "no file contains 'no such text'"),
    ],
)
def test_an_archive_with_other_content_is_refused(package, tmp_path, change, reason):
    with pytest.raises(ValueError, match=reason):
        install(tmp_path, tmp_path / "assets", packages=[replace(package, **change)])


def test_a_folder_of_others_is_not_written_to(package, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(ValueError, match=r"is not empty and has no assets\.json"):
        install(tmp_path, tmp_path / "mine", packages=[package])


def test_missing_incomplete_and_outdated_assets_are_reported_with_the_remedy(package, tmp_path):
    folder = tmp_path / "assets"
    with pytest.raises(Unavailable, match=r"not installed in .*: run `pocketreel browser-assets`"):
        find_assets(folder, packages=[package])
    install(tmp_path, folder, packages=[package])
    with pytest.raises(Unavailable, match="have other versions"):
        find_assets(folder, packages=[replace(package, version="2.0.0")])
    (folder / "small/run.wasm").unlink()
    with pytest.raises(Unavailable, match=r"run\.wasm is missing"):
        find_assets(folder, packages=[package])
    (folder / "assets.json").write_text("{")
    with pytest.raises(Unavailable, match="have other versions"):
        find_assets(folder, packages=[package])


def test_the_default_folder_is_that_of_the_variable_or_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "given"))
    assert default_folder() == tmp_path / "given"
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "pocketreel/browser"


def test_pinned_packages_have_hashes_and_distinct_files():
    for package in PACKAGES:
        kind, _, digest = package.integrity.partition("-")
        assert kind == "sha512" and len(base64.b64decode(digest)) == 64
        names = [Path(name).name for name in package.files]
        assert len(set(names)) == len(names)


def test_the_command_names_a_missing_archive(tmp_path):
    assets = tmp_path / "assets"
    done = run_command_line(["benchmarks.browser.install", "--archives", tmp_path, "--folder", assets])
    assert done.returncode == 2
    assert (
        "onnxruntime-web-1.30.0.tgz: no such file; `npm pack onnxruntime-web@1.30.0` makes it" in done.stderr
    )
    assert not assets.exists()


def test_the_command_needs_npm_to_download(tmp_path):
    env = {**os.environ, "PATH": str(Path(sys.executable).parent)}
    done = run_command_line(["benchmarks.browser.install", "--folder", tmp_path / "assets"], env=env)
    assert done.returncode == 3
    assert "npm is not installed: install Node.js, or run `npm pack" in done.stderr
