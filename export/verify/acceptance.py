"""Whether a file gives the answers that it must give: parity of every output, and a verdict with its reason.

A file has to compute what its numbers give in torch: `w8a8` what the torch int8 reference gives, `fp16`, `w8` and
`w4` what the network with the stored weights gives. That is what it is judged by; beside it stands what rounding
did to the float network's answers. `fp32`, and formats whose writers round weights by themselves, are compared with
the float network alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.stats import f as f_distribution

from export.trial import FLOAT, REFERENCE, Trial
from export.verify.execute import Executed
from export.verify.parity import CLEAR_LEAD, Parity, agreement_beyond, compare


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What one scheme allows; a limit that is `None` is not asked for."""

    against: str
    relative_error: float | None = None
    """Largest error as part of the largest value."""
    sqnr_db: float | None = None
    clear_top1_agreement: float | None = None

    def missed(self, parity: Parity) -> str | None:
        """Which limit `parity` misses, in words; `None` when it holds them all."""
        if parity.max_abs_error is None:
            return "it gives values that are NaN or infinite"
        # Relative to an output of zeros, the error itself has to do.
        error = parity.max_abs_error if parity.relative_error is None else parity.relative_error
        if self.relative_error is not None and error > self.relative_error:
            return (
                f"its largest error is {error:.2g} of the largest value, allowed is {self.relative_error:g}"
            )
        if self.sqnr_db is not None and parity.sqnr_db < self.sqnr_db:
            return f"its SQNR is {parity.sqnr_db:.1f} dB, at least {self.sqnr_db:g} dB is asked for"
        share, limit = parity.clear_top1_agreement, self.clear_top1_agreement
        if share is not None and limit is not None and share < limit:
            return f"{share:.1%} of its clear answers agree, at least {limit:.0%} is asked for"
        return None


TOLERANCES: dict[str, Tolerance] = {
    # The arithmetic is the same, only its order differs.
    "fp32": Tolerance(against=FLOAT, relative_error=1e-4),
    # Half precision rounds to 5e-4 in every layer, and that adds up.
    "fp16": Tolerance(against=FLOAT, relative_error=2e-2),
    # Weights are rounded to 1/254 of their range.
    "w8": Tolerance(against=FLOAT, sqnr_db=20, clear_top1_agreement=0.98),
    # Weights have 15 or 16 values: a file that is right may well have lost accuracy, which has to be measured.
    "w4": Tolerance(against=FLOAT, sqnr_db=5),
    # The integers are those of the reference; a runtime may round each to its neighbour. Deep networks may multiply
    # such steps, as they multiply the noise of int8 itself: where that leaves less, `_room` says what is
    # asked for.
    "w8a8": Tolerance(against=REFERENCE, sqnr_db=20, clear_top1_agreement=0.98),
}
"""What a file of each scheme has to hold."""

STORED: dict[str, Tolerance] = {
    "fp16": Tolerance(against=REFERENCE, relative_error=1e-4),
    # ONNX Runtime and LiteRT compute in float32; ExecuTorch rounds activations to int8, each by its own range.
    "w8": Tolerance(against=REFERENCE, sqnr_db=25, clear_top1_agreement=0.98),
    # LiteRT and ExecuTorch round activations to int8, each by its own range.
    "w4": Tolerance(against=REFERENCE, sqnr_db=25, clear_top1_agreement=0.98),
}
"""The same where the weights were rounded before the writer had them, so that torch could answer with them."""

_INDEPENDENT = 2.0
"""Power of what two realisations of int8 differ by, in units of what each differs from float by: when they are
equally far from float and their errors have nothing in common."""

_CONFIDENCE = 0.99
"""Share of right files that few inputs must not make wrong by chance."""

_DEVIATIONS = 3.0
"""A largest value is clear of errors when it leads the next one by so many standard deviations of their lead."""

QUANTIZED = Tolerance(against=FLOAT, sqnr_db=5)
"""What int8 has to leave of the float network's answers: with more noise the quantization is at fault, not the
file. Accuracy proper has to be measured on labelled clips."""

LITTLE_LOST = Tolerance(against=FLOAT, sqnr_db=10, clear_top1_agreement=0.9)
"""What rounding may take from the float network's answers without a word. A file that loses more is not wrong, but
its user has to know: it is said with the layers that cost most."""


LOST = "rounding lost much of the float network's answers"
"""How the note about it begins."""


@dataclass(frozen=True, kw_only=True)
class FileParity:
    """What one file answered, compared with torch."""

    runner: str | None
    """Program and version that ran the file; `None` when nothing could."""
    count: int
    """Number of inputs."""
    source: str
    """Where they are from."""
    against: Mapping[str, tuple[Parity, ...]]
    """`float`, `reference` or both -> one `Parity` per output."""
    wrong: str | None = None
    """Why the file is wrong; `None` when it is right, or nothing is known."""
    at_fault: Literal["file", "quantization"] | None = None
    """Of a wrong file: whether it differs from what it is to compute, or that is too far from float itself."""
    lost: str | None = None
    """What rounding took from the float network's answers, where that is much (`LITTLE_LOST`)."""
    unknown: str | None = None
    """Why nothing is known: this machine has no program that runs the format."""

    def to_dict(self, outputs: Sequence[str]) -> dict[str, Any]:
        """Plain data; `outputs` are the names of the outputs."""
        named = {
            name: [
                {"output": output, **asdict(one)}
                for output, one in zip(outputs, self.against[name], strict=True)
            ]
            for name in (FLOAT, REFERENCE)
            if name in self.against
        }
        return {
            "runner": self.runner,
            "count": self.count,
            "source": self.source,
            **named,
            "reason": self.unknown,
        }


def judge(executed: Executed, trial: Trial, *, scheme: str, outputs: Sequence[str]) -> FileParity:
    """Parity of what a file gave on the trial's inputs, and whether it is right for its scheme."""
    unjudged = FileParity(runner=executed.runner, count=trial.count, source=trial.source, against={})
    if not executed.available:
        return replace(unjudged, unknown=executed.reason)
    if executed.outputs is None:
        return replace(unjudged, wrong=f"the file does not run: {executed.reason}", at_fault="file")
    shapes = [list(array.shape[1:]) for array in executed.outputs]
    wanted = [list(array.shape[1:]) for array in next(iter(trial.answers.values()))]
    if shapes != wanted:
        wrong = f"the file gives outputs of shape {shapes}, the network {wanted}"
        return replace(unjudged, wrong=wrong, at_fault="file")
    against = {
        name: tuple(map(compare, answers, executed.outputs)) for name, answers in trial.answers.items()
    }
    parity = replace(unjudged, against=against)
    tolerance = STORED[scheme] if scheme in STORED and REFERENCE in against else TOLERANCES[scheme]
    reference = "torch int8 reference" if scheme == "w8a8" else "network with the weights that it stores"
    rooms = (
        list(map(_room, trial.answers[FLOAT], trial.answers[REFERENCE], executed.outputs))
        if scheme == "w8a8" and trial.answers.keys() >= {FLOAT, REFERENCE}
        else None
    )
    missed = _missed(tolerance, parity, outputs, rooms)
    if missed is not None:
        what = f"the file differs from the {'float network' if tolerance.against == FLOAT else reference}"
        return replace(parity, wrong=f"{what}: {missed}", at_fault="file")
    rounded = FLOAT in against and scheme != "fp32"
    lost = _missed(LITTLE_LOST, parity, outputs) if rounded else None
    parity = replace(parity, lost=lost and f"{LOST}: {lost}")
    missed = _missed(QUANTIZED, parity, outputs) if tolerance.against == REFERENCE else None
    if missed is not None:
        what = f"the file follows the {reference}, but rounding lost the float network's answers"
        return replace(parity, wrong=f"{what}: {missed}", at_fault="quantization")
    return parity


class _Room(NamedTuple):
    """What an output of an int8 file has to hold where the int8 reference itself is far from float."""

    sqnr_db: float
    """The SQNR to the reference that a file has at least whose errors are as large as the reference's own."""
    clear_top1_agreement: float | None
    """How many answers agree among those that such errors do not turn around."""


def _room(answers: np.ndarray, reference: np.ndarray, given: np.ndarray) -> _Room:
    """What an output has to hold, by the errors of the reference and those of a file with errors of its own.

    The power of errors is an estimate from these inputs: the quotient of two such estimates, of independent normal
    errors, has Fisher's F distribution.
    """
    spread = float(f_distribution.ppf(_CONFIDENCE, answers.size, answers.size))
    least_db = compare(answers, reference).sqnr_db - 10 * math.log10(_INDEPENDENT * spread)
    error = float(np.sqrt(np.mean(np.square(answers.astype(np.float64) - reference))))
    # The lead of one logit over another has the errors of both, in the reference and in the file.
    lead = max(CLEAR_LEAD * float(np.abs(reference).max()), _DEVIATIONS * math.sqrt(2 * _INDEPENDENT) * error)
    return _Room(least_db, agreement_beyond(lead, reference.astype(np.float64), given))


def _missed(
    tolerance: Tolerance, parity: FileParity, outputs: Sequence[str], rooms: Sequence[_Room] | None = None
) -> str | None:
    """The first limit that an output misses; `None` also where the network to compare with was not asked.

    Where `rooms` leave an output less SQNR than the tolerance asks for, they say what it has to hold.
    """
    for position, one in enumerate(parity.against.get(tolerance.against, ())):
        limits = tolerance
        if rooms is not None and tolerance.sqnr_db is not None:
            room = rooms[position]
            if room.sqnr_db < tolerance.sqnr_db:
                limits = replace(tolerance, sqnr_db=round(room.sqnr_db, 1))
                one = replace(one, clear_top1_agreement=room.clear_top1_agreement)
        missed = limits.missed(one)
        if missed is not None:
            return f"output {outputs[position]!r}, {missed}" if len(outputs) > 1 else missed
    return None
