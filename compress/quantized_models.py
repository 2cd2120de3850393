"""Names of the quantized networks of a run: one stage `quantize`, or several in unlike schemes."""

from __future__ import annotations

from collections.abc import Sequence

LAST = "student_quantized"
"""The network of the last stage `quantize`."""

SCHEMES = ("w8a8", "w8", "w4")
"""Schemes of the stage `quantize`."""


def quantized_names(schemes: Sequence[str]) -> list[str]:
    """A name for the network of each stage `quantize`, by the schemes of all of them: `student_quantized` for a
    single one, else `student_quantized_w8a8`."""
    return [LAST] if len(schemes) == 1 else [f"{LAST}_{scheme}" for scheme in schemes]
