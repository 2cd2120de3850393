"""How far the logits of a file are from those of the network that it came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SQNR_LIMIT_DB = 160.0
"""Bound of `sqnr_db` on both sides: beyond it (float32 resolves 144 dB) lies equality, or no signal at all."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Differences of two arrays of logits `N K`; valid JSON whatever the logits are."""

    max_abs_error: float | None
    """`None` where the candidate has logits that are not finite."""
    sqnr_db: float
    """Signal to quantization noise ratio, 10 log10(sum reference^2 / sum (reference - candidate)^2)."""
    top1_agreement: float
    """Share of rows with the same largest logit, 0..1; a row that is not finite agrees with nothing."""


def compare(reference: np.ndarray, candidate: np.ndarray) -> Parity:
    """Parity of `candidate` with `reference`, both `N K` with N >= 1.

    Raises ValueError where the shapes differ or the reference is not finite.
    """
    if reference.shape != candidate.shape or reference.ndim != 2 or not reference.size:
        raise ValueError(
            f"logits to compare must both be N K and not empty: reference {list(reference.shape)}, "
            f"candidate {list(candidate.shape)}"
        )
    if not np.isfinite(reference).all():
        raise ValueError(
            "the reference has logits that are NaN or infinite; there is nothing to compare with"
        )
    finite = np.isfinite(candidate).all(axis=1)
    agreed = finite & (reference.argmax(1) == candidate.argmax(1))
    signal = reference.astype(np.float64)
    noise = signal - candidate.astype(np.float64)
    return Parity(
        max_abs_error=float(np.abs(noise).max()) if finite.all() else None,
        sqnr_db=_sqnr_db(signal, noise) if finite.all() else -SQNR_LIMIT_DB,
        top1_agreement=float(np.mean(agreed)),
    )


def _sqnr_db(signal: np.ndarray, noise: np.ndarray) -> float:
    if not np.any(noise):
        return SQNR_LIMIT_DB
    with np.errstate(divide="ignore"):
        sqnr_db = 10 * np.log10(np.sum(signal**2) / np.sum(noise**2))
    return float(np.clip(sqnr_db, -SQNR_LIMIT_DB, SQNR_LIMIT_DB))
