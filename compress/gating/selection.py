"""Selects the files and label columns of a gate by patterns, and what both sides have of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from compress.gating.measured import Measured, is_network
from compress.gating.verdict import Outcome


class Selected(NamedTuple):
    """What a gate compares, and the outcomes of what cannot be compared."""

    names: list[str]
    """Files and networks that both sides have."""
    outcomes: list[Outcome]
    notes: list[str]


def matching(pattern: str, names: Iterable[str], *, where: str) -> list[str]:
    """The names that match a pattern, in which `*` stands for any characters.

    Raises ValueError where none does.
    """
    known = list(dict.fromkeys(names))
    form = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
    found = [name for name in known if form.fullmatch(name)]
    if not found:
        close = get_close_matches(pattern, known, n=1, cutoff=0.5)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{where}: nothing matches {pattern!r}{meant}; known are {_listed(known)}")
    return found


def with_answers(pattern: str, run: Measured, baseline: Measured, *, gate: str) -> Selected:
    """The files and networks of a gate on answers."""
    known = [*baseline.answers, *run.answers, *map(str, baseline.sha256), *map(str, run.sha256)]
    if not pattern.startswith("torch"):
        known = [name for name in known if not is_network(name)]
    reasons = {
        f"{file['format']}.{file['scheme']}": file["accuracy"].get("reason") or file.get("reason")
        for file in run.report["files"]
    }
    return _sides(
        matching(pattern, known, where=f"{gate}.files"),
        ours=run.answers,
        theirs=baseline.answers,
        gate=gate,
        what="answers",
        reasons=reasons,
    )


def with_files(pattern: str, run: Measured, baseline: Measured, *, gate: str) -> Selected:
    """The files of a gate on latency."""
    ours, theirs = (
        [str(file.id) for file in both.exported.files if file.missing is None] for both in (run, baseline)
    )
    reasons = {str(file.id): file.missing for file in run.exported.files}
    every = [str(file.id) for both in (baseline, run) for file in both.exported.files]
    names = matching(pattern, every, where=f"{gate}.files")
    return _sides(names, ours=ours, theirs=theirs, gate=gate, what="a file", reasons=reasons)


def _sides(
    names: Sequence[str],
    *,
    ours: Iterable[str],
    theirs: Iterable[str],
    gate: str,
    what: str,
    reasons: dict[str, str | None],
) -> Selected:
    ours, theirs = set(ours), set(theirs)
    selected = Selected([], [], [])
    for name in names:
        why = reasons.get(name) or "this run has no such file"
        figure = name if is_network(name) else f"files.{name}"
        if name in ours and name in theirs:
            selected.names.append(name)
        elif name in theirs:
            reason = f"the baseline has {what}, this run has not: {why}"
            selected.outcomes.append(Outcome(gate=gate, figure=figure, verdict="fail", reason=reason))
        elif name in ours:
            selected.outcomes.append(
                Outcome(
                    gate=gate,
                    figure=figure,
                    verdict="inconclusive",
                    reason=f"the baseline has not {what} to compare with",
                    needed="a baseline with it: --update-baseline",
                )
            )
        else:
            selected.notes.append(f"{gate}: {figure} is measured on neither side: {why}")
    return selected


def _listed(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"
