"""Division with rounding, remainders, and fractional parts.

Quotients are divided, never multiplied by a reciprocal: 49 / 49 is 1, and 49 * (1 / 49) is less in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

aten = torch.ops.aten


def _number(value: float, like: Tensor) -> Tensor:
    """`value` as a tensor, in the type of arithmetic of the two."""
    return torch.full((), value, dtype=torch.result_type(like, value))


def remainder_scalar(x: Tensor, other: float) -> Tensor:
    """`x % other`, with the sign of `other`."""
    return aten.remainder.Tensor(x, _number(other, x))


def scalar_remainder(x: float, other: Tensor) -> Tensor:
    """`x % other` of a constant `x`."""
    return aten.remainder.Tensor(_number(x, other), other)


def fmod_scalar(x: Tensor, other: float) -> Tensor:
    """The remainder with the sign of `x`."""
    return aten.fmod.Tensor(x, _number(other, x))


def div_scalar_rounded(x: Tensor, other: float, *, rounding_mode: str | None = None) -> Tensor:
    """`x / other`, rounded."""
    return div_rounded(x, _number(other, x), rounding_mode=rounding_mode)


def div_rounded(x: Tensor, other: Tensor | float, *, rounding_mode: str | None = None) -> Tensor:
    """`x / other`, rounded down or towards zero: lowering has a rule for the former."""
    if rounding_mode is None:
        return x / other
    if rounding_mode == "floor":
        return NotImplemented
    if not isinstance(other, Tensor):
        other = _number(other, x)
    quotient = aten.div.Tensor_mode(x.abs(), other.abs(), rounding_mode="floor")
    return torch.where(torch.logical_xor(x < 0, other < 0), -quotient, quotient)


def floor_divide(x: Tensor, other: Tensor | float) -> Tensor:
    """`x // other`."""
    return aten.div.Tensor_mode(x, other, rounding_mode="floor")


def floor_divide_scalar(x: Tensor, other: float) -> Tensor:
    """`x // other`."""
    return aten.div.Tensor_mode(x, _number(other, x), rounding_mode="floor")


def frac(x: Tensor) -> Tensor:
    """Fractional part, with the sign of `x`."""
    return x - trunc(x)


def trunc(x: Tensor) -> Tensor:
    """The next integer towards zero."""
    return x.sign() * x.abs().floor() if x.is_floating_point() else x


def round_decimals(x: Tensor, *, decimals: int) -> Tensor:
    """`x` rounded to `decimals`; negative ones round to tens, hundreds, ..."""
    factor = 10.0 ** abs(decimals)
    return (x * factor).round() / factor if decimals >= 0 else (x / factor).round() * factor


def fmod(x: Tensor, other: Tensor) -> Tensor:
    """The remainder with the sign of `x`, from the one with the sign of `other`."""
    rest = aten.remainder.Tensor(x.abs(), other.abs())
    return torch.where(x < 0, -rest, rest)
