"""What was decoded, on disk: one array per modality, found again by a hash of everything that can change it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil

from benchmarks.clips.container import Clip, Cut, Note, Outcome, Refusal, UnreadableClip
from benchmarks.clips.frames import FrameRule, read_frames
from benchmarks.clips.limits import USUAL, Limits, metered
from benchmarks.clips.rows import ClipRow
from benchmarks.clips.sound import SoundRule, read_sound
from benchmarks.clips.workers import Alive, Lost, run_jobs

Rule = FrameRule | SoundRule
Report = Callable[[int, int], None]
"""Called with the number of clips done and of all clips."""

_VALUES_FILE, _FOUND_FILE = "values.npy", "found.json"

_FORMAT = 1
"""Counted up when the same rule begins to give other values."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One modality of the rows of a clip set."""

    key: str
    values: np.ndarray
    """Memory-mapped, one entry per row: frames uint8 `N T R R 3`, or log-mel float32 `N M B`."""
    refused: dict[int, str]
    """Why a row has no values, by its number."""
    notes: list[tuple[Path, str]]


def decoded(
    rows: Sequence[ClipRow],
    rule: Rule,
    *,
    cache: Path,
    workers: int,
    report: Report,
    limits: Limits,
) -> Decoded:
    """The values of all rows by `rule`, decoded now or found in `cache`.

    Each file is decoded once for all clips cut from it.
    The array is written into a folder named after this process and renamed when it is whole, so that a killed
    run leaves nothing that could be mistaken for a result; the next one clears it away. What was refused is tried
    again by every run, since the reason may have passed: memory, permissions, a disk that was away.
    """
    key = _key(rows, rule)
    kind = "frames" if isinstance(rule, FrameRule) else "sound"
    folder = cache / f"{kind}-{key[:32]}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(cache)
        work = cache / f"{folder.name}.{os.getpid()}.partial"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        _decode(rows, rule, range(len(rows)), folder=work, workers=workers, report=report, limits=limits)
        try:
            work.rename(folder)
        except OSError:  # another run was faster, with the same result
            if not folder.is_dir():
                raise
            shutil.rmtree(work)
    elif refused := sorted(_found(folder).refused):
        _decode(rows, rule, refused, folder=folder, workers=workers, report=report, limits=limits)
    found = _found(folder)
    return Decoded(
        key=key,
        values=np.load(folder / _VALUES_FILE, mmap_mode="r"),
        refused=found.refused,
        notes=found.notes,
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What `found.json` says of an array."""

    refused: dict[int, str]
    notes: list[tuple[Path, str]]


def _found(folder: Path) -> _Found:
    path = folder / _FOUND_FILE
    if not path.is_file():
        return _Found(refused={}, notes=[])
    found = json.loads(path.read_text(encoding="utf-8"))
    return _Found(
        refused={int(number): reason for number, reason in found["refused"].items()},
        notes=[(Path(name), text) for name, text in found["notes"]],
    )


def file_facts(path: Path) -> tuple[str, int, int]:
    """Path, size and modification time in ns: what stands for a file's content; zeros without a file."""
    try:
        stat = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), stat.st_size, stat.st_mtime_ns


def _key(rows: Sequence[ClipRow], rule: Rule) -> str:
    files = {path: file_facts(path) for path in dict.fromkeys(row.path for row in rows)}
    facts = [[*files[row.path], row.start_s, row.end_s, row.pad_s] for row in rows]
    parts = [_FORMAT, version("av"), type(rule).__name__, asdict(rule), facts]
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _decode(
    rows: Sequence[ClipRow],
    rule: Rule,
    wanted: Sequence[int],
    *,
    folder: Path,
    workers: int,
    report: Report,
    limits: Limits,
) -> None:
    """Writes the wanted rows of `values.npy`, which is made where there is none, and `found.json`."""
    of_file: dict[Path, list[int]] = {}
    for number in wanted:
        of_file.setdefault(rows[number].path, []).append(number)
    jobs = []
    for path, numbers in of_file.items():
        cuts = [Cut(start_s=rows[n].start_s, end_s=rows[n].end_s, pad_s=rows[n].pad_s) for n in numbers]
        jobs.append(_Job(path=path, cuts=tuple(cuts), rule=rule, limits=limits))
    numbers_of_job = list(of_file.values())

    values = _array(folder, rows, rule)
    missing = set(wanted)
    refused: dict[int, str] = {}
    notes = {(str(path), text): None for path, text in _found(folder).notes}
    report(0, len(wanted))
    for job_number, result in run_jobs(read, jobs, workers=workers, memory_mib=limits.max_memory_mib):
        numbers = numbers_of_job[job_number]
        match result:
            case Clip(cut=cut, values=clip):
                values[numbers[cut]] = clip
                missing.discard(numbers[cut])
            case Refusal(cut=cut, reason=reason):
                refused[numbers[cut]] = reason
                missing.discard(numbers[cut])
            case Note(text=text):
                notes[str(jobs[job_number].path), text] = None
            case Lost(reason=reason):
                for number in missing.intersection(numbers):
                    refused[number] = f"its decoder was lost: {reason}"
                missing.difference_update(numbers)
        report(len(wanted) - len(missing), len(wanted))
    del values  # which writes what is left of it
    found = {"refused": dict(sorted(refused.items())), "notes": sorted(notes)}
    partial = folder / f"{_FOUND_FILE}.{os.getpid()}"
    partial.write_text(json.dumps(found, indent=1), encoding="utf-8")
    partial.replace(folder / _FOUND_FILE)


def _array(folder: Path, rows: Sequence[ClipRow], rule: Rule) -> np.ndarray:
    """`values.npy`, to be written to; zeros where nothing has been written."""
    path = folder / _VALUES_FILE
    if path.is_file():
        return np.load(path, mmap_mode="r+")
    shape, dtype = _shape(rule)
    needed_bytes = len(rows) * int(np.prod(shape)) * np.dtype(dtype).itemsize
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:  # a full disk would kill the process in the middle of a memory-mapped write
        raise OSError(
            f"{folder.parent}: {len(rows)} decoded clips take {needed_bytes / 2**20:.0f} MiB, but only "
            f"{free_bytes / 2**20:.0f} MiB are free; clear the disk or put the cache elsewhere"
        )
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(len(rows), *shape))


@dataclass(frozen=True, kw_only=True)
class _Job:
    path: Path
    cuts: tuple[Cut, ...]
    rule: Rule
    limits: Limits = USUAL


def read(job: _Job, alive: Alive) -> Iterator[Outcome]:
    """Every outcome of one file; a file that cannot be read (any further) is a refusal of each remaining cut."""
    missing = set(range(len(job.cuts)))
    limits = job.limits
    alive = metered(job.path, limits, alive, refuse=lambda reason: UnreadableClip(job.path, reason))
    outcomes = (
        read_frames(job.path, job.cuts, job.rule, limits=limits, alive=alive)
        if isinstance(job.rule, FrameRule)
        else read_sound(job.path, job.cuts, job.rule, limits=limits, alive=alive)
    )
    try:
        for outcome in outcomes:
            if not isinstance(outcome, Note):
                missing.discard(outcome.cut)
            yield outcome
    except UnreadableClip as fault:
        yield from (Refusal(cut=cut, reason=fault.reason) for cut in sorted(missing))
    except MemoryError:
        yield from (Refusal(cut=cut, reason=limits.no_memory()) for cut in sorted(missing))


def _shape(rule: Rule) -> tuple[tuple[int, ...], type]:
    if isinstance(rule, FrameRule):
        return (rule.frames, rule.resize, rule.resize, 3), np.uint8
    return (rule.mels, rule.bins), np.float32


def _clear_leftovers(cache: Path) -> None:
    """Removes what killed runs began."""
    for folder in cache.glob("*.partial"):
        pid = folder.name.split(".")[-2]
        if pid.isdigit() and (int(pid) == os.getpid() or not psutil.pid_exists(int(pid))):
            shutil.rmtree(folder, ignore_errors=True)
