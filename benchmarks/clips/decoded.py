"""What decoding gives. Without torch, which processes that decode do not load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One modality of the rows of a clip set."""

    sha256: str
    """Over all values of all rows: the same clips decode to the same hash, wherever they lie."""
    values: np.ndarray
    """Memory-mapped, one entry per row: frames uint8 `N T R R 3`, or log-mel float32 `N M B`."""
    refused: dict[int, str]
    """Why a row has no values, by its number."""
    notes: list[tuple[Path, str]]
