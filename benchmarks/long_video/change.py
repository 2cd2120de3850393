"""How much a picture differs from those before it: a cheap signal that says where the content of a video changes.

    histogram[c, b] = share of the pixels whose colour channel c lies near b; 8 places, a pixel between two
                      places counts in both, the nearer one more
    change          = 1/2 * mean over c of sum over b |histogram[c, b] - mean histogram of the window so far[c, b]|

0: the colours are those of the window; 1: none of them is. A cut and a slow fade both exceed a limit, since the
comparison is with the whole window and not with the frame before; things that move within the picture hardly
change its histogram. The frame rate does not matter. Flicker of the light and flashes do count.

Sources: histograms of frames for finding changes of content, Zhang, Kankanhalli, Smoliar 1993, "Automatic
partitioning of full-motion video"; the distance is one minus the histogram intersection of Swain & Ballard 1991,
"Color indexing".
"""

from __future__ import annotations

import numpy as np

_PLACES = 8


def _shares() -> np.ndarray:
    """How much a channel's value 0..255 counts at each place, `256 8`: linear between the two nearest places."""
    at = np.clip(np.arange(256) / (256 / _PLACES) - 0.5, 0, _PLACES - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(_PLACES)))


_SHARES = _shares()


def histogram(picture: np.ndarray) -> np.ndarray:
    """Soft histogram of each colour channel of a picture, uint8 `H W 3`: `3 8`, each row adding up to 1."""
    pixels = picture.reshape(-1, 3)
    counts = np.stack([np.bincount(pixels[:, channel], minlength=256) for channel in range(3)])
    return counts @ _SHARES / len(pixels)


class Change:
    """The change signal of one window: compares pictures with the mean of those that were added to it."""

    def __init__(self) -> None:
        self._sum = np.zeros((3, _PLACES))
        self._count = 0

    def of(self, picture: np.ndarray) -> float:
        """How much a picture, uint8 `H W 3`, differs from the window so far, 0..1; 0 when there is none yet."""
        if not self._count:
            return 0.0
        return float(np.abs(histogram(picture) - self._sum / self._count).sum() / 2 / 3)

    def add(self, picture: np.ndarray) -> None:
        """Makes a picture part of the window."""
        self._sum += histogram(picture)
        self._count += 1
