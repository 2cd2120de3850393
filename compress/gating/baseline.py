"""Baselines: folders with everything that a later run is compared with.

A baseline has the report, the predictions for each clip and the exported files of one run. It is written by
`--update-baseline` alone, and read only if every file is as it was written.
"""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.predictions import FOLDER as PREDICTIONS
from compress import __version__
from compress.folders.ledger import FolderRefused, Ledger, refuse_link
from compress.folders.locks import one_at_a_time
from compress.folders.results import Notify, notify_stderr, publish
from compress.folders.writing import Damaged, read_sealed_json, write_sealed_json
from compress.gating.measured import Measured, read_measured

KIND = "baseline"
ABOUT = "baseline.json"
SCHEMA_VERSION = 1


def write_baseline(run: Measured, folder: Path, *, notify: Notify = notify_stderr) -> None:
    """Writes the baseline of a run into `folder`, and replaces an earlier one.

    Raises `FolderRefused` for a folder that contains anything else.
    """
    check_baseline_folder(folder)
    if folder.resolve() == run.folder.resolve() or run.folder.resolve() in folder.resolve().parents:
        raise FolderRefused(f"--baseline {folder} is inside the run {run.folder}: choose another folder")
    with one_at_a_time(folder, waiting=lambda holder: notify(f"{folder}: waiting for {holder}")):
        work = folder.with_name(f"{folder.name}.partial")
        unfinished = Ledger.read(work)
        if unfinished is not None:
            unfinished.remove()
        work.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(folder=work, kind=KIND, writing=("*",))
        ledger.save()
        _copy(run, work)
        about = _about(run)
        write_sealed_json(work / ABOUT, about)
        ledger.finish(clips=run.clips.digest)
        publish(work, folder)


def check_baseline_folder(folder: Path) -> None:
    """Raises `FolderRefused` if a baseline cannot be written there without touching other files."""
    for place in (folder, folder.with_name(f"{folder.name}.partial")):
        refuse_link(place)
        if place.exists() and not place.is_dir():
            raise FolderRefused(f"--baseline {place} is a file; give a folder")
        if not place.is_dir() or not any(place.iterdir()):
            continue
        ledger = Ledger.read(place)
        if ledger is None or ledger.kind != KIND:
            raise FolderRefused(
                f"--baseline {place} contains files that are not a baseline, which are never changed: choose a new "
                "or an empty folder"
            )


def read_baseline(folder: Path) -> tuple[Measured, dict[str, Any]]:
    """A baseline, and what `baseline.json` says about it.

    Raises FileNotFoundError if there is none, and ValueError if a file has changed since it was written, or for
    another version of the format.
    """
    if not (folder / ABOUT).is_file():
        raise FileNotFoundError(
            f"--baseline {folder}: there is no baseline; write one from a run that you trust with --update-baseline"
        )
    ledger = Ledger.read(folder)
    damage = f"{folder} has no ledger (.pocketreel.json)" if ledger is None else ledger.fault()
    if damage is not None:
        raise ValueError(
            f"--baseline {folder}: {damage}: it is not as it was written; restore it, or write it again with "
            "--update-baseline (Git must not change its line ends: `.gitattributes`, `<folder>/** -text`)"
        )
    try:
        about = read_sealed_json(folder / ABOUT)
    except Damaged as error:
        raise ValueError(f"--baseline {folder}: {error}") from error
    if about.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"--baseline {folder}: schema_version is {about.get('schema_version')!r}; this version of Pocketreel "
            f"reads {SCHEMA_VERSION}: write it again with --update-baseline"
        )
    return read_measured(folder), about


def check_same_clips(run: Measured, baseline: Measured) -> None:
    """Raises ValueError if answers of both cannot be compared clip by clip: other columns, classes or clips."""
    again = "; compare with a baseline of the same clips, or write a new one with --update-baseline"
    ours, theirs = ({one.name: one.classes for one in both.spec.labels} for both in (run, baseline))
    if list(ours) != list(theirs):
        raise ValueError(
            f"the label columns differ: the run has {', '.join(ours)}, the baseline {', '.join(theirs)}{again}"
        )
    for name, classes in ours.items():
        if classes != theirs[name]:
            raise ValueError(
                f"the classes of {name} differ: the run has {len(classes)} ({', '.join(classes[:5])} ...), the "
                f"baseline {len(theirs[name])} ({', '.join(theirs[name][:5])} ...){again}"
            )
    if len(run.clips) != len(baseline.clips):
        raise ValueError(
            f"the clips differ: the run has {len(run.clips)} (digest {run.clips.digest[:12]}), the baseline "
            f"{len(baseline.clips)} (digest {baseline.clips.digest[:12]}){again}"
        )
    for number in range(len(run.clips)):
        one, other = run.clips.name(number), baseline.clips.name(number)
        if one != other:
            raise ValueError(
                f"the clips differ: clip {number} is {one} in the run and {other} in the baseline{again}"
            )
        if (run.clips.labels[number] != baseline.clips.labels[number]).any():
            raise ValueError(f"the labels differ: clip {number}, {one}, has other labels{again}")
    if run.clips.digest != baseline.clips.digest:
        raise ValueError(
            f"the clips differ: their names are equal, but not the decoded content or the preprocessing (digest "
            f"{run.clips.digest[:12]} in the run, {baseline.clips.digest[:12]} in the baseline){again}"
        )


def _copy(run: Measured, work: Path) -> None:
    """Copies report, predictions and exported files."""
    shutil.copyfile(run.folder / "report.json", work / "report.json")
    shutil.copytree(run.folder / PREDICTIONS, work / PREDICTIONS, ignore=shutil.ignore_patterns("*.lock"))
    source = run.folder / "export"
    (work / "export").mkdir()
    shutil.copyfile(source / "manifest.json", work / "export" / "manifest.json")
    programs = [file for file in run.exported.files if file.missing is None]
    for path in {one.path for file in programs for one in (file, file.step) if one is not None}:
        target = work / "export" / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copyfile(path, target)


def _about(run: Measured) -> dict[str, Any]:
    """The content of `baseline.json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "pocketreel": __version__,
        "written": datetime.now().astimezone().isoformat(timespec="seconds"),
        "recipe": run.report["recipe"].get("name"),
        "environment": run.report["environment"],
        "clips": {
            "count": len(run.clips),
            "files": len(set(run.clips.files)),
            "digest": run.clips.digest,
        },
        "labels": {label.name: list(label.classes) for label in run.spec.labels},
        "files": {str(one): sha256 for one, sha256 in run.sha256.items()},
        "answers": sorted(run.answers),
    }
