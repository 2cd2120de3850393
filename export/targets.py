"""Targets: the processors that files are for, the rules that choose forms for them without a measurement, and the
bits of their int8 weights.

A rule depends on the network alone, so that the same network gives the same bytes on every build machine with the
same versions of the packages.
"""

from __future__ import annotations

from dataclasses import dataclass

BATCHED, PER_FRAME, ORIGINAL = "batched frames", "per-frame", "original network"

FORMS = (BATCHED, PER_FRAME, ORIGINAL)
"""The forms of a float network in a file for ONNX Runtime (`export.layout.forms`). Every network has the first."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A row of `TARGETS`."""

    forms: tuple[str, ...]
    """Forms by preference: a file has the first that its network has."""
    evidence: str
    """What the preference rests on, as the end of a sentence."""
    weight_bits: int = 8
    """Bits of int8 weights (`export.quantize.observers.WEIGHT_LIMITS`)."""


_BLOCKED = (
    "the fastest in 15 of 17 networks of docs/comparison.md on x86-64 with AVX-512 and for the student of "
    "docs/results.md on another; slower in slowfast_r50 (1.16x) and movinet_a0 (1.60x)"
)

_UNKNOWN = "the documented default: no form was measured on this target"

TARGETS: dict[str, Target] = {
    "x86-64-amx": Target(forms=(PER_FRAME, BATCHED), evidence=_BLOCKED),
    "x86-64-vnni": Target(forms=(PER_FRAME, BATCHED), evidence=_BLOCKED),
    "x86-64-avx2": Target(
        forms=(PER_FRAME, BATCHED),
        evidence="not measured with AVX2 alone; as with AVX-512, ONNX Runtime has kernels in blocks of channels",
        # Its integer products are added in pairs of 16 bits: `export.emit.onnx.passes.saturation`.
        weight_bits=7,
    ),
    "arm64": Target(forms=(BATCHED,), evidence=_UNKNOWN),
    "apple": Target(forms=(BATCHED,), evidence=_UNKNOWN),
    "wasm": Target(forms=(BATCHED,), evidence=_UNKNOWN),
}
"""Targets by name."""
