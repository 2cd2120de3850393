"""Cache of decoded values on disk: one array per modality, keyed by a hash of everything that determines it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.clips.container import Clip, Cut, Note, Outcome, Refusal, UnreadableClip
from benchmarks.clips.decoded import Decoded
from benchmarks.clips.frames import FrameRule, read_frames
from benchmarks.clips.limits import USUAL, Limits, metered
from benchmarks.clips.processes import Alive, Lost, run_jobs
from benchmarks.clips.rows import ClipRow
from benchmarks.clips.sound import AudioRule, read_audio
from compress.folders.keys import Key
from compress.folders.ledger import Ledger
from compress.folders.locks import if_free, one_at_a_time
from compress.folders.results import Notify, notify_stderr, stored
from compress.folders.source import source_hashes
from compress.folders.writing import write_atomic

Rule = FrameRule | AudioRule
Contents = Mapping[Path, str | None]
"""SHA-256 of the files by path; None for those that cannot be read."""
Report = Callable[[int, int], None]
"""Called with the number of decoded clips and their total."""

_VALUES_FILE, _FOUND_FILE = "values.npy", "found.json"

_FORMAT = 2
"""Incremented when the storage format changes."""


def decoded(
    rows: Sequence[ClipRow],
    rule: Rule,
    *,
    contents: Contents,
    cache: Path,
    workers: int,
    report: Report,
    limits: Limits,
    notify: Notify = notify_stderr,
) -> Decoded:
    """The values of all rows by `rule`, decoded or read from `cache`.

    Each file is decoded once for all clips in it and in its copies, by one run at a time; others wait, which is
    reported by `notify`. Cached values are verified before use and decoded again, with a message, if they are
    damaged. Every run retries refused files, since the cause may be temporary: memory, permissions, an unmounted
    disk.
    """
    key = _key(rows, rule, contents)
    kind = "frames" if isinstance(rule, FrameRule) else "sound"
    folder = cache / f"{kind}-{key[:32]}"

    def decode(wanted: Sequence[int], into: Path) -> None:
        _decode(
            rows,
            rule,
            wanted,
            contents=contents,
            folder=into,
            workers=workers,
            report=report,
            limits=limits,
        )

    def make(work: Path) -> None:
        for name in (_VALUES_FILE, _FOUND_FILE):  # left by a killed run
            (work / name).unlink(missing_ok=True)
        decode(range(len(rows)), work)

    def load(finished: Path) -> tuple[np.ndarray, _Found]:
        return np.load(finished / _VALUES_FILE, mmap_mode="r"), _found(finished)

    with one_at_a_time(folder, waiting=lambda holder: notify(f"decoded clips: waiting for {holder}")):
        _clear_leftovers(cache, but=folder)
        names = (_VALUES_FILE, _FOUND_FILE)
        result = stored(
            folder, key=key, make=make, load=load, names=names, title="decoded clips", notify=notify
        )
        values, found = result.value
        if result.cached and found.refused:
            del values
            ledger = Ledger.read(folder)
            assert ledger is not None
            ledger.about["made"] = False  # until the hashes match the new values
            ledger.save()
            decode(sorted(found.refused), folder)
            ledger.finish(made=True)
            values, found = load(folder)
    ledger = Ledger.read(folder)
    written = None if ledger is None else ledger.files[_VALUES_FILE]
    assert written is not None
    return Decoded(
        sha256=written.sha256,
        values=values,
        refused=found.refused,
        notes=[(rows[number].path, text) for number, text in found.notes],
    )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Content of `found.json`."""

    refused: dict[int, str]
    notes: list[tuple[int, str]]
    """Remarks on files, by the number of their first row."""


def _found(folder: Path) -> _Found:
    path = folder / _FOUND_FILE
    if not path.is_file():
        return _Found(refused={}, notes=[])
    found = json.loads(path.read_text(encoding="utf-8"))
    return _Found(
        refused={int(number): reason for number, reason in found["refused"].items()},
        notes=[(number, text) for number, text in found["notes"]],
    )


def _key(rows: Sequence[ClipRow], rule: Rule, contents: Contents) -> Key:
    """Hash of the content of the files and the spans, independent of paths."""
    facts = [[*_content(row, contents), row.start_s, row.end_s, row.pad_s] for row in rows]
    return Key.of(
        {
            "format": _FORMAT,
            "versions": {"av": version("av")},
            "rule": asdict(rule),
            "clips": facts,
            "source": source_hashes(type(rule).__module__),
        }
    )


def _content(row: ClipRow, contents: Contents) -> tuple[str | None, str]:
    """Identifies the content of a clip's file; its suffix selects the demuxer."""
    return contents[row.path], row.path.suffix.lower()


def _decode(
    rows: Sequence[ClipRow],
    rule: Rule,
    wanted: Sequence[int],
    *,
    contents: Contents,
    folder: Path,
    workers: int,
    report: Report,
    limits: Limits,
) -> None:
    """Writes the given rows of `values.npy`, which is created if missing, and `found.json`."""
    of_file: dict[object, list[int]] = {}
    for number in wanted:
        row = rows[number]
        content = row.path if contents[row.path] is None else _content(row, contents)
        of_file.setdefault(content, []).append(number)
    jobs = []
    for numbers in of_file.values():
        path = rows[numbers[0]].path
        cuts = [Cut(start_s=rows[n].start_s, end_s=rows[n].end_s, pad_s=rows[n].pad_s) for n in numbers]
        jobs.append(Job(path=path, cuts=tuple(cuts), rule=rule, limits=limits))
    numbers_of_job = list(of_file.values())

    values = _array(folder, rows, rule)
    missing = set(wanted)
    refused: dict[int, str] = {}
    notes = {(number, text): None for number, text in _found(folder).notes}
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
                first = {rows[number].path: number for number in reversed(numbers)}
                notes |= dict.fromkeys((number, text) for number in first.values())
            case Lost(reason=reason):
                for number in missing.intersection(numbers):
                    refused[number] = f"its decoder failed: {reason}"
                missing.difference_update(numbers)
        report(len(wanted) - len(missing), len(wanted))
    del values  # flushes the memory map
    found = {"refused": dict(sorted(refused.items())), "notes": sorted(notes)}
    write_atomic(folder / _FOUND_FILE, json.dumps(found, indent=1))


def _array(folder: Path, rows: Sequence[ClipRow], rule: Rule) -> np.ndarray:
    """Opens `values.npy` for writing; unwritten values are zero."""
    path = folder / _VALUES_FILE
    if path.is_file():
        return np.load(path, mmap_mode="r+")
    shape, dtype = _shape(rule)
    needed_bytes = len(rows) * int(np.prod(shape)) * np.dtype(dtype).itemsize
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:  # writing to a memory map on a full disk kills the process
        raise OSError(
            f"{folder.parent}: {len(rows)} decoded clips take {needed_bytes / 2**20:.0f} MiB, but only "
            f"{free_bytes / 2**20:.0f} MiB are free; free disk space or move the cache"
        )
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(len(rows), *shape))
    if hasattr(os, "posix_fallocate"):  # reserves the space, for the same reason
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


@dataclass(frozen=True, kw_only=True)
class Job:
    """The clips of one file that are decoded by one rule."""

    path: Path
    cuts: tuple[Cut, ...]
    rule: Rule
    limits: Limits = USUAL


def read(job: Job, alive: Alive) -> Iterator[Outcome]:
    """Yields every outcome of one file; if it cannot be read to the end, a refusal of each remaining cut."""
    missing = set(range(len(job.cuts)))
    limits = job.limits
    alive = metered(job.path, limits, alive, refuse=lambda reason: UnreadableClip(job.path, reason))
    outcomes = (
        read_frames(job.path, job.cuts, job.rule, limits=limits, alive=alive)
        if isinstance(job.rule, FrameRule)
        else read_audio(job.path, job.cuts, job.rule, limits=limits, alive=alive)
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
        return (rule.stored, rule.resize, rule.resize, 3), np.uint8
    return (rule.mels, rule.bins), np.float32


def _clear_leftovers(cache: Path, *, but: Path) -> None:
    """Removes unfinished entries of killed runs; entries of running processes are locked."""
    for kind in ("frames", "sound"):
        for work in cache.glob(f"{kind}-*.partial"):
            folder = work.with_name(work.name.removesuffix(".partial"))
            if folder == but or work.is_symlink():
                continue
            with if_free(folder) as free:
                ledger = Ledger.read(work) if free else None
                if ledger is not None:
                    ledger.remove()
