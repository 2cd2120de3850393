"""Difference of a frame from the frames before it: a cheap signal for changes of content in a video.

    histogram[c, b] = share of the pixels whose colour channel c is near bin centre b; 8 bins, a pixel counts in the
                      two nearest ones by its distance
    change          = 1/2 * mean over c of sum over b |histogram[c, b] - mean histogram of the window so far[c, b]|

0: the colours equal those of the window; 1: they are disjoint. A cut and a slow fade both exceed a threshold, since
the comparison is with the whole window, not with the previous frame; motion within the frame hardly changes the
histogram. The signal does not depend on the frame rate. Flicker and flashes do affect it.

Sources: histograms of frames for finding changes of content, Zhang, Kankanhalli, Smoliar 1993, "Automatic
partitioning of full-motion video"; the distance is one minus the histogram intersection of Swain & Ballard 1991,
"Color indexing".
"""

from __future__ import annotations

import numpy as np

_PLACES = 8


def _shares() -> np.ndarray:
    """Weight of a channel value 0..255 in each bin, `256 8`: linear between the two nearest bin centres."""
    at = np.clip(np.arange(256) / (256 / _PLACES) - 0.5, 0, _PLACES - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(_PLACES)))


_SHARES = _shares()


def histogram(picture: np.ndarray) -> np.ndarray:
    """Soft histogram of each colour channel of a frame, uint8 `H W 3`: `3 8`, each row sums to 1."""
    pixels = picture.reshape(-1, 3)
    counts = np.stack([np.bincount(pixels[:, channel], minlength=256) for channel in range(3)])
    return counts @ _SHARES / len(pixels)


class Change:
    """The change signal of one window: compares frames with the mean histogram of the window."""

    def __init__(self) -> None:
        self._sum = np.zeros((3, _PLACES))
        self._count = 0

    def of(self, picture: np.ndarray) -> float:
        """Difference of a frame, uint8 `H W 3`, from the window so far, 0..1; 0 for an empty window."""
        if not self._count:
            return 0.0
        return float(np.abs(histogram(picture) - self._sum / self._count).sum() / 2 / 3)

    def add(self, picture: np.ndarray) -> None:
        """Adds a frame to the window."""
        self._sum += histogram(picture)
        self._count += 1
