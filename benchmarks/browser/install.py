"""`pocketreel browser-assets`: installs the runtimes that the device `browser` serves to a page."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.browser.assets import FOLDER_VARIABLE, PACKAGES, default_folder, install
from compress.command.guard import exit_codes, run_command
from compress.command.terminal import output

_NPM_LIMIT_S = 600.0


class DownloadFailed(RuntimeError):
    """npm is missing or could not download a package."""


def main(
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help=f"Folder of the files; default: that of the variable {FOLDER_VARIABLE}, or one in ~/.cache.",
        ),
    ] = None,
    archives: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder with the packages' archives, made by `npm pack` elsewhere; nothing is downloaded.",
        ),
    ] = None,
) -> None:
    """Installs the runtimes of the device `browser`: onnxruntime-web and LiteRT.js.

    Downloads pinned versions of npm packages by `npm pack`, with the user's npm configuration, and verifies their
    SHA-512. No script of a package is run.

    Example: pocketreel browser-assets

    Exit codes: 0 installed; 2 an argument or an archive is invalid; 3 npm is missing or failed.
    """
    place = folder or default_folder()
    with (
        exit_codes(failed=(DownloadFailed,)),
        tempfile.TemporaryDirectory(prefix="pocketreel-npm-") as scratch,
    ):
        if archives is None:
            download(Path(scratch))
        install(archives or Path(scratch), place)
    for package in PACKAGES:
        output().print(f"{package.name} {package.version}")
    output().print(f"installed in {place}")


def download(folder: Path) -> None:
    """Downloads the archives of all packages into `folder`. Raises `DownloadFailed`."""
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadFailed(
            "npm is not installed: install Node.js, or run `npm pack "
            + " ".join(f"{package.name}@{package.version}" for package in PACKAGES)
            + "` on another machine and give the folder by --archives"
        )
    for package in PACKAGES:
        command = [npm, "pack", "--ignore-scripts", f"{package.name}@{package.version}"]
        try:
            subprocess.run(
                command, cwd=folder, check=True, capture_output=True, text=True, timeout=_NPM_LIMIT_S
            )
        except subprocess.CalledProcessError as error:
            lines = [line for line in error.stderr.splitlines() if "error" in line.lower()] or ["no message"]
            raise DownloadFailed(f"`{' '.join(command)}` failed: {' | '.join(lines[:3])}") from error
        except subprocess.TimeoutExpired as error:
            raise DownloadFailed(f"`{' '.join(command)}` did not end within {_NPM_LIMIT_S:g} s") from error


if __name__ == "__main__":
    run_command(main)
