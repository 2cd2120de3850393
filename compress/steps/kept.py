"""Cached figures of a step in the run folder: JSON with their key and its own SHA-256."""

from __future__ import annotations

from typing import Any

from compress.command.terminal import headed
from compress.folders.keys import Key, difference
from compress.folders.writing import Damaged, read_sealed_json, write_sealed_json
from compress.steps.pipeline import Run


def kept(run: Run, name: str, *, key: Key, title: str) -> Any | None:
    """The figures of an earlier run with the same key; None, with a message, if there are none."""
    own = run.folder / name
    reasons = []
    for path in (own, *(folder / name for folder in run.finished)):
        if path.is_symlink() or not path.is_file():
            continue
        try:
            earlier = read_sealed_json(path)
        except (Damaged, OSError) as error:
            reasons.append(str(error))
            continue
        if earlier["key"] != key:
            reasons.append(difference(earlier["parts"], key.parts))
            continue
        if path != own:
            write_sealed_json(own, earlier)
        run.console.print(headed(title, "already done"))
        return earlier["figures"]
    for reason in reasons[:1]:
        run.notify(f"{title}: measured again, because {reason}")
    return None


def keep(run: Run, name: str, figures: Any, *, key: Key) -> None:
    """Stores figures for later runs."""
    write_sealed_json(run.folder / name, {"key": key, "parts": key.parts, "figures": figures})


def forget(run: Run, name: str) -> None:
    """Removes stored figures that are obsolete."""
    (run.folder / name).unlink(missing_ok=True)
