"""Chooses the form in which a network is written, among those of `export.layout.forms`.

A rule or a pin names the form. Otherwise every form is written as the complete file that it would be, and the
files run in interleaved rounds on one thread: here, or on a device by the process that started this one. The file
with the smallest median is kept. A form that cannot be written or run is left out, and the record of the choice has
the reason; if the form with batched frames cannot be written, there is no file.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import fx

from compress.command.sentence import in_a_sentence
from export.choice import HOST, Choice
from export.chosen_form import ChosenForm, ComparedForm
from export.layout.forms import Forms
from export.manifest import WrittenFile
from export.targets import BATCHED

ROUNDS, TIME_LIMIT_S = 15, 20.0
"""Rounds of measurement, and the time after which no further round begins."""

TOLERANCE = 1e-4
"""Largest difference between the outputs of the forms, relative to the largest output."""

Write = Callable[[fx.GraphModule, Path], WrittenFile]
"""Writes a form to a path."""

Run = Callable[[], Sequence[np.ndarray]]
"""Runs a file on an example."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The files of the forms between which a measurement decides."""

    path: Path
    """Of the file that one of them becomes."""
    folder: Path
    """Of all of them."""
    files: Mapping[str, WrittenFile]
    """By form."""
    left_out: Mapping[str, str]
    """Forms that cannot be written, or differ from the others, and why."""

    def decided(self, latencies_ms: Sequence[float | str], *, on: str) -> WrittenFile:
        """The fastest file, moved to its path; the others are removed.

        `latencies_ms` has the median of each file, or the reason why it did not run on the machine `on`. Raises
        ValueError if none did.
        """
        taken = dict(zip(self.files, latencies_ms, strict=True))
        times = {form: value for form, value in taken.items() if not isinstance(value, str)}
        if not times:
            reasons = "; ".join(f"{form}: {reason}" for form, reason in taken.items())
            raise ValueError(f"no form of the network runs on {on}: {reasons}")
        chosen = min(times, key=times.__getitem__)
        relative = ", ".join(
            f"{form} {value / times[chosen]:.2f}x" for form, value in times.items() if form != chosen
        )
        where = "this machine" if on == HOST else on
        reason = (
            f"the fastest on {where} in one thread ({relative} its time)"
            if relative
            else "the only one that runs"
        )
        left_out = {**self.left_out, **{form: why for form, why in taken.items() if isinstance(why, str)}}
        form = ChosenForm(
            name=chosen,
            by="measurement",
            source=on,
            reason=reason,
            compared=(
                *(ComparedForm(form=one, latency_ms=value) for one, value in times.items()),
                *(ComparedForm(form=one, latency_ms=None, reason=why) for one, why in left_out.items()),
            ),
        )
        written = self.files[chosen]
        written.path.replace(self.path)
        shutil.rmtree(self.folder)
        return replace(written, path=self.path, form=form, notes=(*form.notes, *written.notes))


def select(
    forms: Forms, choice: Choice, *, path: Path, file: str, write: Write, opened: Callable[[WrittenFile], Run]
) -> WrittenFile | Candidates:
    """The file at `path` in the chosen form; `Candidates` if a device must measure them.

    `file` is its name in pins. `opened` loads a written file in its runtime. A network with one form is written in
    it, without a record of a choice. Raises ValueError for a pin that does not fit the network, and the errors of
    `write`.
    """
    if choice.by == "pin":
        return _pinned(forms, choice, path=path, file=file, write=write)
    if len(forms) == 1:
        return write(forms[BATCHED](), path)
    if choice.by == "rule":
        return _by_rule(forms, choice, path=path, write=write)
    candidates, runs = _candidates(forms, path=path, write=write, opened=opened)
    if choice.elsewhere:
        return candidates
    return candidates.decided([1e3 * value for value in _medians_s(runs)], on=HOST)


def _pinned(forms: Forms, choice: Choice, *, path: Path, file: str, write: Write) -> WrittenFile:
    several = f"it has {', '.join(forms)}"
    if not choice.order:
        if len(forms) == 1:
            return write(forms[BATCHED](), path)
        raise ValueError(
            f"{choice.source} pins no form of {file}, and the network has several; add one of "
            f"{', '.join(forms)}, or export without pins"
        )
    (pinned,) = choice.order
    refused = f"{choice.source} pins the form {pinned!r} of {file}, which does not fit this network"
    export_again = "export without pins, and pin the new manifest"
    if pinned not in forms or len(forms) == 1:
        only = "it has one form, because no operator mixes frames" if len(forms) == 1 else several
        raise ValueError(f"{refused}: {only}; {export_again}")
    try:
        written = write(forms[pinned](), path)
    except Exception as error:  # the exporter raises many types for unsupported operators
        raise ValueError(f"{refused}: {in_a_sentence(error)}; {export_again}") from error
    form = ChosenForm(
        name=pinned, by="pin", source=choice.source, reason=f"pinned by {choice.source}", compared=()
    )
    return replace(written, form=form, notes=(*form.notes, *written.notes))


def _by_rule(forms: Forms, choice: Choice, *, path: Path, write: Write) -> WrittenFile:
    """The first form of the rule that can be written."""
    left_out = []
    for name in choice.order:
        try:
            written = write(forms[name](), path)
        except Exception as error:  # the exporter raises many types for unsupported operators
            if name == choice.order[-1]:
                raise
            left_out.append(ComparedForm(form=name, latency_ms=None, reason=f"fails: {in_a_sentence(error)}"))
            continue
        form = ChosenForm(
            name=name,
            by="rule",
            source=choice.source,
            reason=f"by the rule of {choice.source} ({choice.reason})",
            compared=tuple(left_out),
        )
        return replace(written, form=form, notes=(*form.notes, *written.notes))
    raise AssertionError("a rule names at least one form")


def _candidates(
    forms: Forms, *, path: Path, write: Write, opened: Callable[[WrittenFile], Run]
) -> tuple[Candidates, list[Run]]:
    """The files of the forms that can be written and agree with batched frames, loaded."""
    files: dict[str, WrittenFile] = {}
    left_out: dict[str, str] = {}
    runs: list[Run] = []
    expected: Sequence[np.ndarray] = ()
    folder = path.with_name(f"{path.stem}.forms")
    for number, (form, make) in enumerate(forms.items()):
        own = folder / str(number)
        own.mkdir(parents=True)
        try:
            written = write(make(), own / path.name)
            run = opened(written)
            outputs = run()
            expected = expected or outputs
            reason = None if _same(outputs, expected) else "differs from the others"
        except Exception as error:  # the exporter raises many types for unsupported operators
            if form == BATCHED:
                raise
            reason = f"fails: {in_a_sentence(error)}"
        if reason is None:
            files[form] = written
            runs.append(run)
        else:
            left_out[form] = reason
            shutil.rmtree(own)
    return Candidates(path=path, folder=folder, files=files, left_out=left_out), runs


def _medians_s(runs: Sequence[Run]) -> list[float]:
    """Median seconds of each file in interleaved rounds."""
    times: list[list[float]] = [[] for _ in runs]
    begun = time.monotonic()
    while len(times[0]) < ROUNDS and (not times[0] or time.monotonic() - begun < TIME_LIMIT_S):
        for run, taken in zip(runs, times, strict=True):
            started = time.perf_counter()
            run()
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


def _same(given: Sequence[Any], expected: Sequence[Any]) -> bool:
    return all(
        abs(a - b).max() <= TOLERANCE * max(abs(b).max(), 1e-30) for a, b in zip(given, expected, strict=True)
    )
