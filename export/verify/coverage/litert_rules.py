"""Reasons why LiteRT's XNNPACK delegate does not take an operator: a table of its rules, which it does not report.

Source: the checks in `xnnpack_delegate.cc` of google-ai-edge/LiteRT, read for the release of 2026.
"""

from __future__ import annotations

from collections.abc import Callable

from export.verify.coverage.litert_file import Operator

UNEXPLAINED = "the XNNPACK delegate did not take it, for an unknown reason"

_FLOAT_ONLY = frozenset(
    (
        "ABS", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CEIL", "COS", "DIV", "EXP", "FLOOR", "GELU",
        "HARD_SWISH", "MAXIMUM", "MINIMUM", "NEG", "PRELU", "RELU", "RELU6", "RELU_N1_TO_1", "ROUND",
        "RSQRT", "SIN", "SOFTMAX", "SQRT", "SQUARE", "SQUARED_DIFFERENCE",
    )
)  # fmt: skip
_FLOAT_AND_INT8 = frozenset(
    (
        "ADD", "CONCATENATION", "CONV_2D", "DEPTH_TO_SPACE", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "ELU",
        "FULLY_CONNECTED", "LEAKY_RELU", "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "PAD", "QUANTIZE",
        "REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_BILINEAR", "SLICE", "SPACE_TO_DEPTH", "SPLIT",
        "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE", "TRANSPOSE_CONV",
    )
)  # fmt: skip
_LAYERS = frozenset(("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"))
_CONSTANTS = {"CONV_2D": (1, 2), "DEPTHWISE_CONV_2D": (1, 2), "TRANSPOSE_CONV": (1, 3)}
"""Indices of weights and bias among the inputs, which must be constant."""

_MOST_AXES = 6
_MOST_JOINED = 5
_LEAST_RATIO, _MOST_RATIO = 1 / 1024, 256
"""Bounds of input scale / output scale in int8 sums."""


def reason(op: Operator) -> str:
    """Why the delegate did not take `op`, in one sentence; `UNEXPLAINED` if no rule of the table applies."""
    found = (rule(op) for rule in _RULES)
    return next((sentence for sentence in found if sentence), UNEXPLAINED)


def _unknown_kind(op: Operator) -> str | None:
    if op.kind in _FLOAT_ONLY | _FLOAT_AND_INT8:
        return None
    return f"the XNNPACK delegate has no {op.kind}"


def _number_type(op: Operator) -> str | None:
    """The first operand decides: others may be axes and shapes."""
    given = op.outputs[0].dtype if op.kind == "QUANTIZE" else op.inputs[0].dtype
    if given == "int8" and op.kind in _FLOAT_ONLY:
        return f"the XNNPACK delegate takes {op.kind} in float32 only, and this one computes in int8"
    if given not in ("float32", "int8"):
        return f"the XNNPACK delegate computes in float32 and int8, and this {op.kind} in {given}"
    return None


def _computed_weights(op: Operator) -> str | None:
    needed = [op.inputs[i] for i in _CONSTANTS.get(op.kind, ()) if i < len(op.inputs)]
    computed = [tensor.name for tensor in needed if not tensor.is_constant]
    if not computed:
        return None
    return (
        f"the XNNPACK delegate takes {op.kind} with constant weights and bias only, and {computed[0]!r} "
        "is computed"
    )


def _few_bits(op: Operator) -> str | None:
    """The runtime reports int4 weights as int8."""
    if op.kind not in _CONSTANTS or op.inputs[0].dtype != "float32" or op.inputs[1].dtype == "float32":
        return None
    return "it computes on float values with integer weights; the XNNPACK delegate does so in FULLY_CONNECTED only"


def _scales_per_channel(op: Operator) -> str | None:
    """Weights that are processed at run time."""
    if op.kind in _LAYERS or all(len(tensor.scales) < 2 for tensor in (*op.inputs, *op.outputs)):
        return None
    return "it processes weights with a scale per channel, which the XNNPACK delegate takes as constants only"


def _many_axes(op: Operator) -> str | None:
    most = max(len(tensor.shape) for tensor in (*op.inputs, *op.outputs))
    return (
        f"it has {most} axes; the XNNPACK delegate takes {_MOST_AXES} at most" if most > _MOST_AXES else None
    )


def _many_joined(op: Operator) -> str | None:
    if op.kind != "CONCATENATION" or 2 <= len(op.inputs) <= _MOST_JOINED:
        return None
    return f"it concatenates {len(op.inputs)} tensors; the XNNPACK delegate concatenates 2 to {_MOST_JOINED}"


def _far_scales(op: Operator) -> str | None:
    if op.kind not in ("ADD", "SUB") or op.outputs[0].dtype != "int8":
        return None
    ratios = [tensor.scales[0] / op.outputs[0].scales[0] for tensor in op.inputs]
    far = [ratio for ratio in ratios if not _LEAST_RATIO <= ratio < _MOST_RATIO]
    if not far:
        return None
    return (
        f"a scale of its inputs is {far[0]:.3g} times that of its output; the XNNPACK delegate takes "
        f"1/1024 to {_MOST_RATIO}"
    )


def _strides(op: Operator) -> str | None:
    if op.kind != "STRIDED_SLICE":
        return None
    return "the XNNPACK delegate takes STRIDED_SLICE with steps of 1 only, and without dropped or new axes"


_RULES: tuple[Callable[[Operator], str | None], ...] = (
    _unknown_kind,
    _few_bits,
    _scales_per_channel,
    _number_type,
    _computed_weights,
    _many_axes,
    _many_joined,
    _far_scales,
    _strides,
)
"""In order: the first rule that applies gives the reason."""
