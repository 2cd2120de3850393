"""Operators that Apple's Neural Engine supports, by public sources: tables, not measurements.

Sources, named in brackets with each rule:

- [apple] Core ML Tools guide, "Typed Execution": float16 programs may run on the Neural Engine, float32 ones run on
  the GPU and the CPU.
- [ane] S. Bryngelson, "Apple Neural Engine: Architecture, Programming, and Performance", 2026, arXiv:2606.22283:
  appendix A (operators by family), chapters 4 and 17 (limits of shapes). Measured on M1, M2 and M5.
- [hollance] M. Hollemans, "The Neural Engine - what do we know about it?", docs/unsupported-layers.md.

Apple publishes no such table. The rules describe A14 / M2 and later; Core ML decides on every device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from export.emit.coreml.operators import OPERATORS

if TYPE_CHECKING:
    from coremltools.converters.mil.mil import Operation, Var

SOURCE = (
    "operator tables of the Neural Engine (A14 / M2 and later), not measured: [ane] arXiv:2606.22283, [apple] Core "
    "ML Tools guide, [hollance] github.com/hollance/neural-engine"
)

_NO_SUCH = (
    *(
        "mod",
        "logical_and",
        "logical_or",
        "logical_xor",
        "reduce_prod",
        "reverse_sequence",
        "range_1d",
        "band_part",
    ),
    *("non_zero", "one_hot", "shape", "sliding_windows", "scatter", "scatter_along_axis", "scatter_nd"),
    *(
        "tan",
        "asin",
        "acos",
        "atanh",
        "sinh",
        "cosh",
        "random_bernoulli",
        "random_categorical",
        "random_normal",
    ),
    *("list_gather", "list_length", "list_read", "list_scatter", "list_write", "make_list"),
)

REFUSED: dict[str, str] = {
    **dict.fromkeys(_NO_SUCH, "the Neural Engine has no such operator [ane]"),
    **dict.fromkeys(("lstm", "gru", "rnn"), "the Neural Engine has no recurrent cells [ane, hollance]"),
    **dict.fromkeys(("cond", "while_loop"), "the Neural Engine runs no branches and loops [ane]"),
    **dict.fromkeys(("sin", "cos", "reduce_argmin", "random_uniform"), "only from A15 / M3 on [ane]"),
    "cumsum": "the Neural Engine has it outside of Core ML only [ane]",
    "non_maximum_suppression": "it runs on the CPU or GPU only [ane]",
}
"""Operators that are not supported, with the reason."""

LONGEST_SIDE = 16384
"""Longest row and column [ane]; A16 and later take 65536."""

MOST_CHANNELS = 65536
"""Largest size of any other axis [ane]."""

WIDEST_KERNEL, TALLEST_KERNEL = 13, 29
"""Of a float16 convolution on M1, the smallest such limit [ane, chapter 17]."""


def refusal(operation: Operation) -> str | None:
    """Why the Neural Engine leaves `operation` to the GPU or the CPU; `None` if no rule applies."""
    if operation.op_type in REFUSED:
        return REFUSED[operation.op_type]
    if operation.op_type not in OPERATORS:
        return "no source covers this operator"
    for rule in (_type_refusal, _shape_refusal, _window_refusal, _pad_refusal):
        reason = rule(operation)
        if reason is not None:
            return reason
    return None


def variables(operation: Operation) -> Iterator[Var]:
    """Inputs and outputs of an operation, without constants."""
    for value in operation.inputs.values():
        for var in value if isinstance(value, list | tuple) else (value,):
            if var is not None and not var.is_descendant_of_const:
                yield var
    yield from operation.outputs


def _type_refusal(operation: Operation) -> str | None:
    from coremltools.converters.mil.mil import types

    kinds = {types.builtin_to_string(var.dtype) for var in variables(operation)}
    wide = sorted(kinds & {"int32", "int16", "uint16"})
    if wide:
        return f"it works on {wide[0]}, the Neural Engine on float16 [ane]"
    if "fp32" in kinds and operation.op_type != "cast":
        return "it works on float32, the Neural Engine on float16 [apple]"
    return None


def _shape_refusal(operation: Operation) -> str | None:
    for var in variables(operation):
        shape = tuple(var.shape)
        if len(shape) > 5:
            return f"a value has rank {len(shape)}, the Neural Engine takes up to 5 [ane]"
        longest, most = max(shape[-2:], default=1), max(shape[:-2], default=1)
        if longest > LONGEST_SIDE:
            return f"a side of {longest} elements, it takes {LONGEST_SIDE} (A16 and later 65536) [ane]"
        if most > MOST_CHANNELS:
            return f"an axis of {most} elements, it takes {MOST_CHANNELS} [ane]"
    rank = len(operation.outputs[0].shape)
    if operation.op_type in ("conv", "conv_transpose", "linear", "matmul") and rank > 4:
        return f"{operation.op_type} of rank {rank}, the Neural Engine takes up to 4 [ane]"
    return None


def _window_refusal(operation: Operation) -> str | None:
    if operation.op_type not in ("conv", "conv_transpose"):
        return None
    kernel = operation.inputs["weight"].shape[2:]
    height = kernel[-2] if len(kernel) > 1 else 1
    if kernel[-1] > WIDEST_KERNEL or height > TALLEST_KERNEL:
        return (
            f"a kernel of {height} x {kernel[-1]}, where {TALLEST_KERNEL} x {WIDEST_KERNEL} are taken on every "
            "chip [ane]"
        )
    return None


def _pad_refusal(operation: Operation) -> str | None:
    if operation.op_type != "pad" or operation.inputs["pad"].val is None:
        return None
    amounts: Any = operation.inputs["pad"].val
    if any(amounts[:-4]):
        return "it pads other axes than rows and columns [ane]"
    return None
