"""How far the logits of a file are from those of the network that it came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SQNR_LIMIT_DB = 160.0
"""Bound of `sqnr_db` on both sides: beyond it (float32 resolves 144 dB) lies equality, or no signal at all."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Differences of two arrays of logits `N K`; all three are finite, so that they are valid JSON."""

    max_abs_error: float
    sqnr_db: float
    """Signal to quantization noise ratio, 10 log10(sum reference^2 / sum (reference - candidate)^2)."""
    top1_agreement: float
    """Share of rows with the same largest logit, 0..1."""


def compare(reference: np.ndarray, candidate: np.ndarray) -> Parity:
    """Parity of `candidate` with `reference`, both `N K` with N >= 1.

    Raises ValueError where the shapes differ or a value is not finite.
    """
    if reference.shape != candidate.shape or reference.ndim != 2 or not reference.size:
        raise ValueError(
            f"logits to compare must both be N K and not empty: reference {list(reference.shape)}, "
            f"candidate {list(candidate.shape)}"
        )
    for name, values in (("reference", reference), ("candidate", candidate)):
        wrong = int(np.sum(~np.isfinite(values)))
        if wrong:
            raise ValueError(f"{wrong} of {values.size} logits of the {name} are NaN or infinite")
    signal = reference.astype(np.float64)
    noise = signal - candidate.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        sqnr_db = 10 * np.log10(np.sum(signal**2) / np.sum(noise**2))
    exact = not np.any(noise)
    return Parity(
        max_abs_error=float(np.abs(noise).max()),
        sqnr_db=SQNR_LIMIT_DB if exact else float(np.clip(sqnr_db, -SQNR_LIMIT_DB, SQNR_LIMIT_DB)),
        top1_agreement=float(np.mean(reference.argmax(1) == candidate.argmax(1))),
    )
