"""The runtimes of the page: files of npm packages, in a cache folder.

Versions and hashes are pinned here. `install` reads the packages' archives and refuses one with another hash; the
page is served from the cache folder, and nothing is loaded from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.device import Unavailable
from benchmarks.user_cache import user_cache

INSTALL = "pocketreel browser-assets"
"""Command that installs the assets."""
FOLDER_VARIABLE = "POCKETREEL_BROWSER_ASSETS"
"""Environment variable with the folder of the assets."""
_MANIFEST = "assets.json"
_MOST_BYTES = 64 * 2**20
"""Largest file of a package; the largest of the pinned ones has 27 MB."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package of the npm registry at one version."""

    name: str
    version: str
    integrity: str
    """`sha512-` and the base64 form of the archive's SHA-512, as npm states it."""
    files: tuple[str, ...]
    """Files to take from the archive, relative to its folder `package`; the last part must be unique."""
    folder: str
    """Folder of the files in the assets."""
    rewrites: tuple[tuple[str, str], ...] = ()
    """Texts to replace in JavaScript files: names of modules by their paths, which workers cannot resolve
    themselves. Each must occur."""

    @property
    def archive(self) -> str:
        """File name of the archive, as `npm pack` writes it."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


PACKAGES = (
    Package(
        name="onnxruntime-web",
        version="1.30.0",
        integrity="sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
        folder="onnx",
        files=(
            "dist/ort.wasm.bundle.min.mjs",
            "dist/ort-wasm-simd-threaded.wasm",
            "dist/ort.webgpu.bundle.min.mjs",
            "dist/ort-wasm-simd-threaded.asyncify.wasm",
        ),
    ),
    Package(
        name="@litertjs/core",
        version="2.5.3",
        integrity="sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        folder="litert",
        files=(
            "dist/index.js",
            *(
                f"wasm/litert_wasm_{build}internal.{kind}"
                for build in ("", "compat_", "threaded_", "jspi_")
                for kind in ("js", "wasm")
            ),
        ),
        rewrites=(('from "@litertjs/wasm-utils"', 'from "../litert-wasm-utils/index.js"'),),
    ),
    Package(
        name="@litertjs/wasm-utils",
        version="2.5.3",
        integrity="sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        folder="litert-wasm-utils",
        files=("dist/index.js",),
    ),
)
"""What the page needs: onnxruntime-web (MIT) and LiteRT.js (Apache-2.0)."""


def default_folder() -> Path:
    """The folder of the assets: that of the environment variable, or one in the user's cache."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given) if given else user_cache("browser")


def find_assets(folder: Path | None = None, *, packages: Sequence[Package] = PACKAGES) -> dict[str, Path]:
    """Installed files by their name for the page, `<folder of the package>/<file>`.

    Raises `Unavailable` if they are not installed, incomplete, or of other versions.
    """
    folder = folder or default_folder()
    manifest = folder / _MANIFEST
    if not manifest.is_file():
        raise Unavailable(f"the runtimes for browsers are not installed in {folder}: run `{INSTALL}`")
    if _versions_in(manifest) != _versions(packages):
        raise Unavailable(f"the runtimes for browsers in {folder} have other versions: run `{INSTALL}` again")
    files = {
        f"{package.folder}/{Path(name).name}": folder / package.folder / Path(name).name
        for package in packages
        for name in package.files
    }
    for path in files.values():
        if not path.is_file():
            raise Unavailable(f"{path} is missing: run `{INSTALL}` again")
    return files


def install(archives: Path, folder: Path, *, packages: Sequence[Package] = PACKAGES) -> None:
    """Takes the files of `packages` from their archives in the folder `archives` and puts them into `folder`.

    All archives are verified before anything is written. Raises FileNotFoundError for a missing archive and
    ValueError for one with another hash or content.
    """
    contents = {package: _read(archives / package.archive, package) for package in packages}
    if folder.exists() and any(folder.iterdir()) and not (folder / _MANIFEST).is_file():
        raise ValueError(f"{folder}: is not empty and has no {_MANIFEST}: give a new folder")
    (folder / _MANIFEST).unlink(missing_ok=True)
    for package, files in contents.items():
        place = folder / package.folder
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for name, data in files.items():
            (place / Path(name).name).write_bytes(data)
    # Last, so that an interrupted installation counts as none.
    (folder / _MANIFEST).write_text(json.dumps(_versions(packages), indent=2) + "\n")


def _read(archive: Path, package: Package) -> dict[str, bytes]:
    if not archive.is_file():
        raise FileNotFoundError(
            f"{archive}: no such file; `npm pack {package.name}@{package.version}` makes it"
        )
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").digest()
    found = f"sha512-{base64.b64encode(digest).decode()}"
    if found != package.integrity:
        raise ValueError(
            f"{archive}: is not {package.name} {package.version} as published: its hash is {found}, expected "
            f"{package.integrity}; delete it and run the command again"
        )
    with tarfile.open(archive) as tar:
        files = {name: _member(tar, name, archive=archive) for name in package.files}
    for given, wanted in package.rewrites:
        using = [name for name, data in files.items() if name.endswith("js") and given.encode() in data]
        if not using:
            raise ValueError(f"{archive}: no file contains {given!r}")
        for name in using:
            files[name] = files[name].replace(given.encode(), wanted.encode())
    return files


def _member(tar: tarfile.TarFile, name: str, *, archive: Path) -> bytes:
    try:
        member = tar.getmember(f"package/{name}")
    except KeyError:
        raise ValueError(f"{archive}: has no file package/{name}") from None
    stream = tar.extractfile(member) if member.isfile() and member.size <= _MOST_BYTES else None
    if stream is None:
        raise ValueError(f"{archive}: package/{name} is not a file of at most {_MOST_BYTES} bytes")
    return stream.read()


def _versions(packages: Sequence[Package]) -> dict[str, str]:
    return {package.name: package.version for package in packages}


def _versions_in(manifest: Path) -> object:
    try:
        return json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return None
