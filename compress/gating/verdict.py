"""The outcome of a gate for one figure, and of all gates together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A clip whose prediction has become right or wrong."""

    clip: str
    """Its file, with the span in seconds if it is a part of it."""
    label: str
    """The true class."""
    before: str | None
    """The class predicted by the baseline; None for non-finite logits."""
    after: str | None

    @property
    def is_loss(self) -> bool:
        """Whether the baseline is right and the candidate wrong."""
        return self.before == self.label

    def __str__(self) -> str:
        change = f"{self.before or 'not finite'} -> {self.after or 'not finite'}"
        return f"{self.clip}: {change} ({'was right' if self.is_loss else f'right is {self.label}'})"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The verdict of a gate on one figure."""

    gate: str
    """Its place in the settings and its kind: `gates.0.accuracy`."""
    figure: str
    verdict: Verdict
    reason: str
    """The figures that decided, in a sentence."""
    baseline: float | None = None
    value: float | None = None
    p_value: float | None = None
    """Of "no worse than allowed", adjusted for the number of figures of the gate."""
    needed: str | None = None
    """What would decide, of an inconclusive outcome."""
    flips: tuple[Flip, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "flips": [asdict(flip) for flip in self.flips]}


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """All outcomes of a comparison."""

    outcomes: tuple[Outcome, ...]
    inconclusive: Literal["pass", "fail"]
    """What an inconclusive outcome means for the whole."""
    run: str
    baseline: str
    detectable: tuple[str, ...] = ()
    """What the clips can find, in sentences."""
    notes: tuple[str, ...] = ()

    def stops(self, outcome: Outcome) -> bool:
        """Whether this outcome makes the comparison fail."""
        return outcome.verdict == "fail" or (
            outcome.verdict == "inconclusive" and self.inconclusive == "fail"
        )

    @property
    def passed(self) -> bool:
        """Whether no outcome stops the change."""
        return not any(map(self.stops, self.outcomes))

    def count(self, verdict: Verdict) -> int:
        """Number of outcomes with this verdict."""
        return sum(one.verdict == verdict for one in self.outcomes)

    def headline(self) -> str:
        """The verdicts in a sentence."""
        counts = f"{self.count('pass')} pass, {self.count('fail')} fail"
        unclear = self.count("inconclusive")
        meaning = f" (counted as {self.inconclusive})" if unclear else ""
        return f"{counts}, {unclear} inconclusive{meaning}"

    def in_order(self) -> Sequence[Outcome]:
        """The outcomes that stop the change first, then inconclusive ones, then the others."""
        rank = {"fail": 0, "inconclusive": 1, "pass": 2}
        return sorted(self.outcomes, key=lambda one: rank[one.verdict])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the document of `--json`."""
        return {
            "schema_version": 1,
            "passed": self.passed,
            "inconclusive": self.inconclusive,
            "run": self.run,
            "baseline": self.baseline,
            "detectable": list(self.detectable),
            "notes": list(self.notes),
            "outcomes": [one.to_dict() for one in self.outcomes],
        }
