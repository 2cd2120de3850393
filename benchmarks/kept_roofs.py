"""Roofs of a device that are measured once and kept in the cache of the user."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.conditions import Watched, busy_by
from benchmarks.device import Description, Device, SessionFailed, Unavailable
from benchmarks.roofs import COLUMNS, ELEMENTS, Roofs, measure_roofs, no_roofs, runtime_on
from compress.command.terminal import problems
from compress.folders.keys import Key
from compress.folders.source import source_hashes
from compress.folders.writing import Damaged, read_sealed_json, write_sealed_json

_CHANGING = ("load_1min", "clock_mhz", "temperature_c", "notes")
"""Parts of a description that differ from one moment to the next."""


def roofs_of(
    device: Device, *, folder: Path, threads: int = 1, columns: int = COLUMNS, elements: int = ELEMENTS
) -> Roofs:
    """The roofs in `folder` that were measured on this device with these threads and the same runtime; if there are
    none, as `measure_roofs`, and kept there.

    Roofs of a busy machine have notes and are not kept.
    """
    try:
        runtime = runtime_on(device, threads=threads)
        key = _key(device.describe(), threads=threads, runtime=runtime, sizes=(columns, elements))
    except (Unavailable, SessionFailed) as error:
        return no_roofs(str(error))
    path = folder / f"{key}.json"
    earlier = _read(path)
    if earlier is not None:
        return earlier
    watch = device.watch() if isinstance(device, Watched) else None
    found = replace(
        measure_roofs(device, threads=threads, columns=columns, elements=elements), runtime=runtime
    )
    busy = busy_by(None if watch is None else watch.end())
    if found.absent is not None:
        return found
    if busy:
        return replace(
            found, notes=(*(f"busy machine: {reason}" for reason in busy), "not kept for later measurements")
        )
    try:
        write_sealed_json(path, {"roofs": asdict(found)})
    except OSError as error:
        return replace(found, notes=(f"not kept for later measurements: {error}",))
    return found


def _key(description: Description, *, threads: int, runtime: str, sizes: tuple[int, int]) -> Key:
    """Hash of all that the roofs depend on."""
    machine = {name: value for name, value in asdict(description).items() if name not in _CHANGING}
    parts: dict[str, Any] = {"device": machine, "threads": threads, "runtime": runtime, "sizes": sizes}
    return Key.of({**parts, "source": source_hashes("benchmarks.roofs", "benchmarks.served")})


def _read(path: Path) -> Roofs | None:
    """The roofs in a file; None if there is none, and with a message if it cannot be read."""
    try:
        kept = read_sealed_json(path)["roofs"]
    except FileNotFoundError:
        return None
    except (Damaged, OSError) as error:
        problems().print(f"roofs: measured again, because {error}", markup=False, highlight=False)
        return None
    return Roofs(**{**kept, "notes": tuple(kept["notes"])})
