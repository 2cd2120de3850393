"""The result of decoding. Imports no torch, which decoding processes do not need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One modality of the rows of a clip set."""

    sha256: str
    """Over all values of all rows; independent of the paths of the files."""
    values: np.ndarray
    """Memory-mapped, one entry per row: frames uint8 `N T R R 3`, or log-mel float32 `N M B`."""
    refused: dict[int, str]
    """Reason for missing values, by row number."""
    notes: list[tuple[Path, str]]
