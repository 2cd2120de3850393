"""The command line of a study, as it is stored with its figures."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

_FOLDERS = re.compile(r"(?<![^\s=:,'\"\[{])(?:~|\.\.)?/(?:[^\s,'\"\]}]*/)?(?=[^\s,'\"\]}/])")
"""The folders of a path of one machine: absolute, in the home folder, or outside the current folder."""


def command_line(
    study: str, recipe: Path, *, overrides: Sequence[str], options: Mapping[str, Sequence[object]]
) -> str:
    """The command with the settings that determine the figures; folders of this machine become `path/to/`.

    `options` are those that were given, each with its values.

    >>> command_line("x", Path("/home/me/a.yaml"), overrides=["data.root=/data/b"], options={"seed": [3, 4]})
    'python -m compress.studies.x path/to/a.yaml --set data.root=path/to/b --seed 3 --seed 4'
    """
    words = ["python", "-m", f"compress.studies.{study}", str(recipe)]
    for override in overrides:
        words += ["--set", override]
    for name, values in options.items():
        for value in values:
            words += [f"--{name}", str(value)]
    return shlex.join(_FOLDERS.sub("path/to/", word) for word in words)
