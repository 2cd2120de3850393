"""Differences between the outputs of a file and those of its reference network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SQNR_LIMIT_DB = 160.0
"""Bound of `sqnr_db` on both sides: values beyond it (float32 resolves 144 dB) mean equality, or no signal at
all."""

CLEAR_LEAD = 0.05
"""A largest value is clear if its lead over the next one exceeds this share of the largest magnitude of all: more
than six steps of an int8 output, which rounding does not reverse."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Differences of one output over all inputs; valid JSON for any output."""

    max_abs_error: float | None
    """`None` if the candidate has values that are not finite."""
    relative_error: float | None
    """`max_abs_error` relative to the largest magnitude of the reference; `None` if that is 0."""
    sqnr_db: float
    """Signal to quantization noise ratio, 10 log10(sum reference^2 / sum (reference - candidate)^2)."""
    top1_agreement: float | None
    """Share of predictions with the same largest value, 0..1; a row that is not finite agrees with nothing."""
    clear_top1_agreement: float | None
    """The same among the predictions whose largest value is clear (`CLEAR_LEAD`); `None` if none is."""


def compare(reference: np.ndarray, candidate: np.ndarray) -> Parity:
    """Parity of `candidate` with `reference`, both N outputs of one shape, with N >= 1.

    A prediction is a row of logits: the last axis of outputs `N K`, `N 1 K` and `N 1 T K` (logits per frame).
    Outputs of higher rank are feature maps, and outputs with K = 1 are plain numbers: they have no largest class,
    so both agreements are `None`. The other metrics use all values together, for any shape.

    Raises ValueError if the shapes differ or the reference is not finite.
    """
    if reference.shape != candidate.shape or not reference.size:
        raise ValueError(
            f"outputs to compare must have one shape and not be empty: reference {list(reference.shape)}, "
            f"candidate {list(candidate.shape)}"
        )
    if not np.isfinite(reference).all():
        raise ValueError("the reference has values that are NaN or infinite; nothing can be compared with it")
    signal = reference.astype(np.float64)
    noise = signal - candidate.astype(np.float64)
    finite = bool(np.isfinite(noise).all())
    error, largest = float(np.abs(noise).max()), float(np.abs(signal).max())
    top1 = agreement_beyond(-1.0, signal, candidate)  # the largest value leads by 0 or more
    clear = agreement_beyond(CLEAR_LEAD * largest, signal, candidate)
    return Parity(
        max_abs_error=error if finite else None,
        relative_error=error / largest if finite and largest else None,
        sqnr_db=_sqnr_db(signal, noise) if finite else -SQNR_LIMIT_DB,
        top1_agreement=top1,
        clear_top1_agreement=clear,
    )


def agreement_beyond(lead: float, reference: np.ndarray, candidate: np.ndarray) -> float | None:
    """Share of rows with the same largest value, among those whose largest value leads the next one by more.

    `reference` and `candidate` are outputs of one shape, as in `compare`; `None` if no row leads by more
    than `lead`, or outputs have no largest class.
    """
    classes = reference.shape[-1]
    if not 2 <= reference.ndim <= 4 or classes < 2:
        return None
    rows, others = reference.reshape(-1, classes), candidate.reshape(-1, classes)
    agreed = np.isfinite(others).all(1) & (rows.argmax(1) == others.argmax(1))
    second, first = np.partition(rows, -2, axis=1)[:, -2:].T
    beyond = first - second > lead
    return float(agreed[beyond].mean()) if beyond.any() else None


def _sqnr_db(signal: np.ndarray, noise: np.ndarray) -> float:
    if not np.any(noise):
        return SQNR_LIMIT_DB
    with np.errstate(divide="ignore"):
        sqnr_db = 10 * np.log10(np.sum(signal**2) / np.sum(noise**2))
    return float(np.clip(sqnr_db, -SQNR_LIMIT_DB, SQNR_LIMIT_DB))
