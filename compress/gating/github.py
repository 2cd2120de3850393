"""Outcomes for GitHub Actions: annotations of the change, and the summary of the job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from compress.gating.verdict import Judgement, Outcome
from compress.report.markdown import code, escaped

MOST_ANNOTATIONS = 10
"""GitHub shows ten errors and ten warnings for each step of a job."""
MOST_CHARACTERS = 65_000
"""Comments and check runs of GitHub are limited to 65,535 characters."""
_MOST_FLIPS = 20
_SUMMARY = "GITHUB_STEP_SUMMARY"
_CUT = "\n\nThe rest does not fit; the JUnit file and `--json` have all of it.\n"


def workflow_commands(judgement: Judgement) -> Iterator[str]:
    """Workflow commands, `::error ...`, for outcomes that stop the change, and `::warning` for inconclusive ones.

    At most ten of each kind: where there are more, the last says how many.
    """
    stopped = [one for one in judgement.in_order() if judgement.stops(one)]
    unclear = [one for one in judgement.outcomes if one.verdict == "inconclusive" and one not in stopped]
    for level, outcomes in (("error", stopped), ("warning", unclear)):
        shown = len(outcomes) if len(outcomes) <= MOST_ANNOTATIONS else MOST_ANNOTATIONS - 1
        for outcome in outcomes[:shown]:
            needed = f"; needed: {outcome.needed}" if outcome.needed else ""
            title = f"{outcome.figure}: {outcome.verdict}"
            yield f"::{level} title={_property(title)}::{_message(outcome.reason + needed)}"
        if shown < len(outcomes):
            rest = f"{len(outcomes) - shown} more outcomes; see the summary of the job"
            yield f"::{level} title=gates::{rest}"


def summary(judgement: Judgement) -> str:
    """Markdown of at most 65,000 characters: the verdict, a table, what the clips can find, and the flips."""
    verdict = "passed" if judgement.passed else "failed"
    lines = [
        f"## Gates {verdict}",
        "",
        escaped(judgement.headline()) + f", against {code(judgement.baseline)}.",
        "",
        "| verdict | gate | figure | baseline | now | why |",
        "|---|---|---|---|---|---|",
        *map(_row, judgement.in_order()),
        "",
        *(f"- {escaped(line)}" for line in (*judgement.detectable, *judgement.notes)),
    ]
    for outcome in judgement.in_order():
        lines += _flips(outcome)
    return _fitting("\n".join(lines) + "\n")


def summary_file() -> Path:
    """The file of the summary of this job. Raises ValueError outside of GitHub Actions."""
    named = os.environ.get(_SUMMARY)
    if not named:
        raise ValueError(
            f"--github: the environment variable {_SUMMARY} is not set; it is for jobs of GitHub Actions, which "
            "set it"
        )
    return Path(named)


def append_summary(judgement: Judgement, file: Path) -> None:
    """Appends the summary to the file."""
    with file.open("a", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(summary(judgement))


def _row(outcome: Outcome) -> str:
    why = outcome.reason if outcome.needed is None else f"{outcome.reason}; needed: {outcome.needed}"
    numbers = ("" if value is None else f"{value:.6g}" for value in (outcome.baseline, outcome.value))
    word = {"pass": "✅ pass", "fail": "❌ fail", "inconclusive": "❔ inconclusive"}[outcome.verdict]
    cells = [word, code(outcome.gate), code(outcome.figure), *numbers, escaped(why)]
    return f"| {' | '.join(cells)} |"


def _flips(outcome: Outcome) -> list[str]:
    if not outcome.flips:
        return []
    more = len(outcome.flips) - _MOST_FLIPS
    lines = [f"- {escaped(str(flip))}" for flip in outcome.flips[:_MOST_FLIPS]]
    rest = [f"- and {more} more"] if more > 0 else []
    title = f"{code(outcome.figure)}: {len(outcome.flips)} clips changed between right and wrong"
    return ["", title, "", *lines, *rest]


def _fitting(text: str) -> str:
    """The text, cut after a line if it is too long."""
    if len(text) <= MOST_CHARACTERS:
        return text
    kept = text[: MOST_CHARACTERS - len(_CUT)]
    return kept[: kept.rindex("\n")] + _CUT


def _message(text: str) -> str:
    """Text of a workflow command, which ends at a line break."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
