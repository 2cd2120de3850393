"""Checks the outputs of a file against acceptance limits: parity of every output, and the reason for a failure.

A file must compute the outputs of its reference in torch: for `w8a8` the torch int8 reference, for `fp16`, `w8`,
`w4` and `p4` the network with the stored weights. This decides; the quantization cost, against the float network,
is reported in addition. `fp32`, and formats whose writers round weights themselves, are compared with the float
network only.
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
    """Limits of one scheme; a limit that is `None` is not checked."""

    against: str
    relative_error: float | None = None
    """Largest error relative to the largest value."""
    sqnr_db: float | None = None
    clear_top1_agreement: float | None = None

    def missed(self, parity: Parity) -> str | None:
        """The limit that `parity` misses, for a message; `None` if it meets all."""
        if parity.max_abs_error is None:
            return "it has values that are NaN or infinite"
        # For an output of zeros the absolute error is used.
        error = parity.max_abs_error if parity.relative_error is None else parity.relative_error
        if self.relative_error is not None and error > self.relative_error:
            return (
                f"its largest error is {error:.2g} of the largest value, allowed is {self.relative_error:g}"
            )
        if self.sqnr_db is not None and parity.sqnr_db < self.sqnr_db:
            return f"its SQNR is {parity.sqnr_db:.1f} dB, at least {self.sqnr_db:g} dB is required"
        share, limit = parity.clear_top1_agreement, self.clear_top1_agreement
        if share is not None and limit is not None and share < limit:
            return f"{share:.1%} of its clear predictions agree, at least {limit:.0%} is required"
        return None


TOLERANCES: dict[str, Tolerance] = {
    # The arithmetic is the same; only its order differs.
    "fp32": Tolerance(against=FLOAT, relative_error=1e-4),
    # Half precision rounds to 5e-4 in every layer, which accumulates.
    "fp16": Tolerance(against=FLOAT, relative_error=2e-2),
    # Weights are rounded to 1/254 of their range.
    "w8": Tolerance(against=FLOAT, sqnr_db=20, clear_top1_agreement=0.98),
    # Weights have 15 or 16 values: a correct file may have lost accuracy, which must be measured.
    "w4": Tolerance(against=FLOAT, sqnr_db=5),
    "p4": Tolerance(against=FLOAT, sqnr_db=5),
    # Another tool chose the integers: there is no reference in torch.
    "w8a8_nncf": Tolerance(against=FLOAT, sqnr_db=5),
    # The integers are those of the reference; a runtime may round each to its neighbour. Deep networks may amplify
    # such steps, as they amplify the noise of int8 itself: `_achievable_limits` then gives the limits.
    "w8a8": Tolerance(against=REFERENCE, sqnr_db=20, clear_top1_agreement=0.98),
}
"""Limits for the files of each scheme."""

STORED: dict[str, Tolerance] = {
    "fp16": Tolerance(against=REFERENCE, relative_error=1e-4),
    # ONNX Runtime and LiteRT compute in float32; ExecuTorch rounds activations to int8, each with its own range.
    "w8": Tolerance(against=REFERENCE, sqnr_db=25, clear_top1_agreement=0.98),
    # LiteRT and ExecuTorch round activations to int8, each with its own range.
    "w4": Tolerance(against=REFERENCE, sqnr_db=25, clear_top1_agreement=0.98),
    "p4": Tolerance(against=REFERENCE, sqnr_db=25, clear_top1_agreement=0.98),
}
"""The same if the weights were rounded before the writer, so that torch computed outputs with them."""

_INDEPENDENT = 2.0
"""Power of the difference between two int8 implementations, in units of the difference of each from float: if they
are equally far from float and their errors are independent."""

_CONFIDENCE = 0.99
"""Share of correct files that must not fail by chance when there are few inputs."""

_DEVIATIONS = 3.0
"""A largest value is clear if its lead over the next one is this many standard deviations."""

QUANTIZED = Tolerance(against=FLOAT, sqnr_db=5)
"""Minimum agreement of int8 with the float network: with more noise the quantization is at fault, not the file.
Accuracy itself must be measured on labelled clips."""

LOW_COST = Tolerance(against=FLOAT, sqnr_db=10, clear_top1_agreement=0.9)
"""Quantization cost up to which no note is written. A file that costs more is not wrong, but the user must know:
the note names the layers that cost most."""


HIGH_COST = "the quantization cost is high"
"""Beginning of the note."""


@dataclass(frozen=True, kw_only=True)
class FileParity:
    """The outputs of one file, compared with torch."""

    runner: str | None
    """Program and version that ran the file; `None` if none could."""
    count: int
    """Number of inputs."""
    source: str
    """Origin of the inputs."""
    against: Mapping[str, tuple[Parity, ...]]
    """`float`, `reference` or both -> one `Parity` per output."""
    wrong: str | None = None
    """Why the file is wrong; `None` if it is correct, or not known."""
    at_fault: Literal["file", "quantization"] | None = None
    """For a wrong file: whether it differs from its reference, or the reference is too far from float."""
    quantization_cost: str | None = None
    """The quantization cost, if it is high (`LOW_COST`)."""
    unknown: str | None = None
    """Why the file was not checked: this machine has no program that runs the format."""

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


def check_parity(executed: Executed, trial: Trial, *, scheme: str, outputs: Sequence[str]) -> FileParity:
    """Parity of a file's outputs for the inputs of the trial, and whether they meet the limits of its scheme."""
    unchecked = FileParity(runner=executed.runner, count=trial.count, source=trial.source, against={})
    if not executed.available:
        return replace(unchecked, unknown=executed.reason)
    if executed.outputs is None:
        return replace(unchecked, wrong=f"the file does not run: {executed.reason}", at_fault="file")
    shapes = [list(array.shape[1:]) for array in executed.outputs]
    shapes_wanted = [list(array.shape[1:]) for array in next(iter(trial.outputs.values()))]
    if shapes != shapes_wanted:
        wrong = f"the file returns outputs of shape {shapes}, the network {shapes_wanted}"
        return replace(unchecked, wrong=wrong, at_fault="file")
    against = {name: tuple(map(compare, wanted, executed.outputs)) for name, wanted in trial.outputs.items()}
    parity = replace(unchecked, against=against)
    tolerance = STORED[scheme] if scheme in STORED and REFERENCE in against else TOLERANCES[scheme]
    reference = "torch int8 reference" if scheme == "w8a8" else "network with the stored weights"
    achievable = (
        list(map(_achievable_limits, trial.outputs[FLOAT], trial.outputs[REFERENCE], executed.outputs))
        if scheme == "w8a8" and trial.outputs.keys() >= {FLOAT, REFERENCE}
        else None
    )
    missed = _missed(tolerance, parity, outputs, achievable)
    if missed is not None:
        what = f"the file differs from the {'float network' if tolerance.against == FLOAT else reference}"
        return replace(parity, wrong=f"{what}: {missed}", at_fault="file")
    rounded = FLOAT in against and scheme != "fp32"
    quantization_cost = _missed(LOW_COST, parity, outputs) if rounded else None
    parity = replace(parity, quantization_cost=quantization_cost and f"{HIGH_COST}: {quantization_cost}")
    missed = _missed(QUANTIZED, parity, outputs) if tolerance.against == REFERENCE else None
    if missed is not None:
        what = f"the file matches the {reference}, but its quantization cost is too high"
        return replace(parity, wrong=f"{what}: {missed}", at_fault="quantization")
    return parity


class _Limits(NamedTuple):
    """Limits for an output of an int8 file if the int8 reference itself is far from float."""

    sqnr_db: float
    """Minimum SQNR to the reference of a file whose errors are as large as those of the reference."""
    clear_top1_agreement: float | None
    """Share of equal predictions among those that such errors do not change."""


def _achievable_limits(floats: np.ndarray, reference: np.ndarray, given: np.ndarray) -> _Limits:
    """Limits for an output, from the errors of the reference and independent errors of a file.

    The power of errors is estimated from these inputs: the quotient of two such estimates, of independent normal
    errors, has Fisher's F distribution.
    """
    spread = float(f_distribution.ppf(_CONFIDENCE, floats.size, floats.size))
    least_db = compare(floats, reference).sqnr_db - 10 * math.log10(_INDEPENDENT * spread)
    error = float(np.sqrt(np.mean(np.square(floats.astype(np.float64) - reference))))
    # The lead of one logit over another has the errors of both, in the reference and in the file.
    lead = max(CLEAR_LEAD * float(np.abs(reference).max()), _DEVIATIONS * math.sqrt(2 * _INDEPENDENT) * error)
    return _Limits(least_db, agreement_beyond(lead, reference.astype(np.float64), given))


def _missed(
    tolerance: Tolerance,
    parity: FileParity,
    outputs: Sequence[str],
    achievable: Sequence[_Limits] | None = None,
) -> str | None:
    """The first limit that an output misses; `None` also if the outputs of the other network are not available.

    If `achievable` require less SQNR of an output than the tolerance, they replace its limits.
    """
    for position, one in enumerate(parity.against.get(tolerance.against, ())):
        limits = tolerance
        if achievable is not None and tolerance.sqnr_db is not None:
            least = achievable[position]
            if least.sqnr_db < tolerance.sqnr_db:
                limits = replace(tolerance, sqnr_db=round(least.sqnr_db, 1))
                one = replace(one, clear_top1_agreement=least.clear_top1_agreement)
        missed = limits.missed(one)
        if missed is not None:
            return f"output {outputs[position]!r}, {missed}" if len(outputs) > 1 else missed
    return None
