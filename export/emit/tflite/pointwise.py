"""Elementwise operators with broadcasting: arithmetic, activations, comparisons."""

from __future__ import annotations

import numpy as np

from export.emit.tflite import shapes
from export.emit.tflite.emit import Emitter, Value, elements
from export.emit.tflite.graph import Tensor
from export.emit.tflite.layout import Order, identity

Operand = Value | float


def binary(e: Emitter, kind: str, a: Operand, b: Operand, *, dtype: str | None = None) -> Value:
    """`kind` over two operands, at least one a value; the larger computed one determines the memory order."""
    values = [operand for operand in (a, b) if isinstance(operand, Value)]
    rank = max(value.rank for value in values)
    lifted = [_lift(e, operand, rank) for operand in (a, b)]
    leader = max((v for v in lifted if isinstance(v, Value)), key=lambda v: (not v.is_constant, elements(v)))
    order = leader.order
    left, right = (_operand(e, operand, order, leader.tensor.dtype) for operand in lifted)
    shape = np.broadcast_shapes(left.shape, right.shape)
    return Value(e.op(kind, [left, right], shape, dtype=dtype or leader.tensor.dtype), order)


def _lift(e: Emitter, operand: Operand, rank: int) -> Operand:
    if not isinstance(operand, Value):
        return operand
    return e.reshape(operand, (1,) * (rank - operand.rank) + operand.shape)


def _operand(e: Emitter, operand: Operand, order: Order, dtype: str) -> Tensor:
    if isinstance(operand, Value):
        return e.place(operand, order)
    return e.constant(np.asarray([operand] if order else operand, dtype))


def _scaled(e: Emitter, operand: Operand, alpha: float) -> Operand:
    if alpha == 1:
        return operand
    return mul(e, operand, alpha) if isinstance(operand, Value) else operand * alpha


def add(e: Emitter, a: Operand, b: Operand, *, alpha: float = 1) -> Value:
    """`a + alpha * b`."""
    return binary(e, "ADD", a, _scaled(e, b, alpha))


def sub(e: Emitter, a: Operand, b: Operand, *, alpha: float = 1) -> Value:
    """`a - alpha * b`."""
    return binary(e, "SUB", a, _scaled(e, b, alpha))


def rsub(e: Emitter, a: Operand, b: Operand, alpha: float = 1) -> Value:
    """`b - alpha * a`."""
    return binary(e, "SUB", b, _scaled(e, a, alpha))


def mul(e: Emitter, a: Operand, b: Operand) -> Value:
    """`a * b`."""
    return binary(e, "MUL", a, b)


def div(e: Emitter, a: Operand, b: Operand) -> Value:
    """`a / b`; a constant divisor becomes a factor, which has an int8 form."""
    if not isinstance(b, Value):
        return mul(e, a, 1.0 / b)
    if b.is_constant and b.tensor.quantization is None:
        data = e.place(b, identity(b.rank)).data
        assert data is not None
        return mul(e, a, Value(e.constant((1.0 / data).astype(np.float32)), identity(b.rank)))
    return binary(e, "DIV", a, b)


def floor_div(e: Emitter, a: Operand, b: Operand, *, rounding_mode: str) -> Value:
    """`a / b`, rounded down, the only rounding mode after lowering."""
    assert rounding_mode == "floor"
    return binary(e, "FLOOR_DIV", a, b)


def floor_mod(e: Emitter, a: Operand, b: Operand) -> Value:
    """Remainder of `a / b` rounded down, with the sign of `b`."""
    return binary(e, "FLOOR_MOD", a, b)


def atan2(e: Emitter, a: Value, b: Value) -> Value:
    """The angle of the point (b, a), ATAN2. Operands are expanded: the kernel reads beyond broadcast operands."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    return binary(e, "ATAN2", _in_full(e, a, shape), _in_full(e, b, shape))


def _in_full(e: Emitter, x: Value, shape: tuple[int, ...]) -> Value:
    if not x.is_constant:
        return shapes.expand(e, x, shape)
    data = e.place(x, identity(x.rank)).data
    assert data is not None
    return Value(e.constant(np.ascontiguousarray(np.broadcast_to(data, shape))), identity(len(shape)))


def maximum(e: Emitter, a: Operand, b: Operand) -> Value:
    """The larger of each pair."""
    return binary(e, "MAXIMUM", a, b)


def minimum(e: Emitter, a: Operand, b: Operand) -> Value:
    """The smaller of each pair."""
    return binary(e, "MINIMUM", a, b)


def power(e: Emitter, a: Value, exponent: Operand) -> Value:
    """`a ** exponent`; a square is a product, which has an int8 form."""
    if not isinstance(exponent, Value) and exponent == 2:
        return mul(e, a, a)
    return binary(e, "POW", a, exponent)


def unary(e: Emitter, kind: str, x: Value, **options: float | bool) -> Value:
    """`kind` of every element."""
    tensor = e.place(x, x.order)
    return Value(e.op(kind, [tensor], tensor.shape, options=dict(options), dtype=tensor.dtype), x.order)


def relu(e: Emitter, x: Value) -> Value:
    """`max(x, 0)`."""
    return unary(e, "RELU", x)


def clamp(e: Emitter, x: Value, low: float | None = None, high: float | None = None) -> Value:
    """`x` between `low` and `high`: one of LiteRT's named clamps if available, else MAXIMUM and MINIMUM."""
    named: dict[tuple[float | None, float | None], str] = {
        (0.0, None): "RELU",
        (0.0, 6.0): "RELU6",
        (-1.0, 1.0): "RELU_N1_TO_1",
    }
    if (low, high) in named:
        return unary(e, named[low, high], x)
    if low is not None:
        x = relu(e, x) if low == 0 else maximum(e, x, low)
    return x if high is None else minimum(e, x, high)


def clamp_max(e: Emitter, x: Value, high: float) -> Value:
    """The smaller of `x` and `high`."""
    return clamp(e, x, None, high)


def hardtanh(e: Emitter, x: Value, min_val: float = -1.0, max_val: float = 1.0) -> Value:
    """Alias of `clamp`."""
    return clamp(e, x, min_val, max_val)


def relu6(e: Emitter, x: Value) -> Value:
    """`x` between 0 and 6."""
    return unary(e, "RELU6", x)


def hardswish(e: Emitter, x: Value) -> Value:
    """`x * relu6(x + 3) / 6` (MobileNetV3, arXiv:1905.02244, section 5.2)."""
    return unary(e, "HARD_SWISH", x)


def hardsigmoid(e: Emitter, x: Value) -> Value:
    """`relu6(x + 3) / 6`."""
    return mul(e, relu6(e, add(e, x, 3.0)), 1.0 / 6.0)


def sigmoid(e: Emitter, x: Value) -> Value:
    """`1 / (1 + exp(-x))`."""
    return unary(e, "LOGISTIC", x)


def silu(e: Emitter, x: Value) -> Value:
    """`x * sigmoid(x)`."""
    return mul(e, x, sigmoid(e, x))


def tanh(e: Emitter, x: Value) -> Value:
    """Hyperbolic tangent."""
    return unary(e, "TANH", x)


def gelu(e: Emitter, x: Value, *, approximate: str = "none") -> Value:
    """`x * P(X <= x)` for a standard normal X (arXiv:1606.08415), exact or with its tanh approximation."""
    return unary(e, "GELU", x, approximate=approximate == "tanh")


def leaky_relu(e: Emitter, x: Value, negative_slope: float = 0.01) -> Value:
    """`x` where positive, else `negative_slope * x`."""
    return unary(e, "LEAKY_RELU", x, alpha=negative_slope)


def prelu(e: Emitter, x: Value, slope: Value) -> Value:
    """`x` where positive, else `slope * x` with one slope, or one per channel, the last axis of PRELU in memory."""
    if slope.shape != (1,) and x.order[-1] != 1:
        per_channel = e.reshape(slope, (-1, *(1,) * (x.rank - 2)))
        return sub(e, relu(e, x), mul(e, per_channel, relu(e, neg(e, x))))
    tensor = e.place(x, x.order)
    data = e.place(slope, (0,)).data
    assert data is not None, "slopes are weights of the network"
    slopes = e.constant(np.broadcast_to(data, (tensor.shape[-1],)).reshape(*(1,) * (x.rank - 2), -1))
    return Value(e.op("PRELU", [tensor, slopes], tensor.shape), x.order)


def elu(e: Emitter, x: Value, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    """`scale * x` where positive, else `scale * alpha * (exp(input_scale * x) - 1)` (arXiv:1511.07289)."""
    if (alpha, scale, input_scale) == (1, 1, 1):
        return unary(e, "ELU", x)
    below = relu(e, neg(e, unary(e, "ELU", mul(e, x, input_scale))))
    return sub(e, mul(e, relu(e, x), scale), mul(e, below, scale * alpha))


def exp(e: Emitter, x: Value) -> Value:
    """`e ** x`."""
    return unary(e, "EXP", x)


def sqrt(e: Emitter, x: Value) -> Value:
    """Square root."""
    return unary(e, "SQRT", x)


def rsqrt(e: Emitter, x: Value) -> Value:
    """`1 / sqrt(x)`."""
    return unary(e, "RSQRT", x)


def neg(e: Emitter, x: Value) -> Value:
    """`-x`."""
    return unary(e, "NEG", x)


def absolute(e: Emitter, x: Value) -> Value:
    """`|x|`."""
    return unary(e, "ABS", x)


def log(e: Emitter, x: Value) -> Value:
    """Natural logarithm."""
    return unary(e, "LOG", x)


def log1p(e: Emitter, x: Value) -> Value:
    """`log(1 + x)`."""
    return log(e, add(e, x, 1.0))


def expm1(e: Emitter, x: Value) -> Value:
    """`e ** x - 1`."""
    return sub(e, exp(e, x), 1.0)


def reciprocal(e: Emitter, x: Value) -> Value:
    """`1 / x`."""
    return binary(e, "DIV", 1.0, x)


def sin(e: Emitter, x: Value) -> Value:
    """Sine."""
    return unary(e, "SIN", x)


def cos(e: Emitter, x: Value) -> Value:
    """Cosine."""
    return unary(e, "COS", x)


def sign(e: Emitter, x: Value) -> Value:
    """-1, 0 or 1."""
    return unary(e, "SIGN", x)


def floor(e: Emitter, x: Value) -> Value:
    """The largest integer not above each element."""
    return unary(e, "FLOOR", x)


def ceil(e: Emitter, x: Value) -> Value:
    """The smallest integer not below each element."""
    return unary(e, "CEIL", x)


def round_half_to_even(e: Emitter, x: Value) -> Value:
    """The nearest integer, the even one of two."""
    return unary(e, "ROUND", x)
