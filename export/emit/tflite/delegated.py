"""Rewrites int8 operators that the XNNPACK delegate does not support with operators that it supports.

An unsupported operator splits the graph in two partitions, with a copy at each border, and runs in a slow kernel.
Six pointwise convolutions with hard-swish on 8x28x28x64, one x86-64 core: 2.6 ms with the gate below, 10.2 ms with
HARD_SWISH, at one more quantization step of difference from the float function.

MAXIMUM, which implements dilated max pooling, is kept: LiteRT's int8 kernel for it is fast. As MAX_POOL_2D over the
concatenated tensors, the same numbers in one partition, a network with 3 x 3 such pooling of 28 x 28 to
112 x 112 x 64 took 20 to 50 % longer (one x86-64 core).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from export.emit.tflite.graph import CLAMPS, Graph, Op, Quantization, Tensor, constant, reshape

_LEAST_SCALE = 1e-6
"""Smallest input scale of HARD_SWISH for which the gate's offset of 1/2 fits int32 in units of that scale."""

_GATE = Quantization((float(np.float32(1 / 255)),), (-128,))
"""From exactly 0 to exactly 1; values outside saturate."""


def as_images(graph: Graph) -> None:
    """Reshapes int8 HARD_SWISH on rows to an image of height one, for `use_delegated`."""
    in_int8 = _in_int8(graph)
    ops: list[Op] = []
    for op in graph.ops:
        if op.kind != "HARD_SWISH" or op not in in_int8 or len(op.output.shape) == 4:
            ops.append(op)
            continue
        x, result = op.inputs[0], op.output
        shape = (1, 1, int(np.prod(x.shape[:-1])), x.shape[-1])
        image, swished = (Tensor(f"{result.name}/{part}", shape, "float32") for part in ("picture", "gated"))
        ops += [reshape(x, image), Op(op.kind, [image], [swished]), reshape(swished, result)]
    graph.ops = ops


def use_delegated(graph: Graph) -> None:
    """Rewrites AVERAGE_POOL_2D and HARD_SWISH of images between DEQUANTIZE and QUANTIZE."""
    in_int8 = _in_int8(graph)
    ops: list[Op] = []
    for op in graph.ops:
        rewrite = _REWRITES.get(op.kind)
        ops += rewrite(op) if rewrite and op in in_int8 and len(op.output.shape) == 4 else [op]
    graph.ops = ops


def _can_be_gated(numbers: Tensor) -> bool:
    return numbers.quantization is not None and numbers.quantization.scale[0] >= _LEAST_SCALE


def _in_int8(graph: Graph) -> set[Op]:
    """The operators between DEQUANTIZE and QUANTIZE, except HARD_SWISH of numbers close to zero."""
    producers, consumers = graph.producers(), graph.consumers()
    found: set[Op] = set()
    for op in graph.ops:
        source = producers.get(op.inputs[0]) if op.inputs else None
        readers = consumers.get(op.output, []) if len(op.outputs) == 1 else []
        if source is None or source.kind != "DEQUANTIZE" or not readers:
            continue
        if op.kind == "HARD_SWISH" and not _can_be_gated(source.inputs[0]):
            continue
        if all(reader.kind == "QUANTIZE" for reader in readers):
            found.add(op)
    return found


def clamp_by_product(graph: Graph) -> None:
    """Replaces an int8 clamp that is not fused with a MUL by exactly 1 with that clamp fused."""
    for op in graph.ops:
        if op.kind in CLAMPS and op.output.dtype == "int8":
            one = Quantization((float(np.float32(1 / 127)),), (0,))
            op.inputs.append(constant(f"{op.output.name}/one", np.asarray([127], np.int8), quantization=one))
            op.kind, op.options = "MUL", {"fusedActivationFunction": op.kind}


def repeat_by_sum(graph: Graph) -> None:
    """Replaces BROADCAST_TO, and RESIZE_NEAREST_NEIGHBOR by integer factors, with an ADD of zeros.

    The zeros have only the repeated axes. The numbers are exactly the same, in int8 too: all have one scale.
    """
    ops: list[Op] = []
    for op in graph.ops:
        x, result = op.inputs[0] if op.inputs else None, op.outputs[0]
        if x is None or x.dtype not in ("float32", "int8") or op.kind not in _REPEATING:
            ops.append(op)
        elif op.kind == "BROADCAST_TO":
            ops.append(_sum_with_zeros(x, result))
        else:
            ops += _enlarged(op, x, result)
    graph.ops = ops


_REPEATING = ("BROADCAST_TO", "RESIZE_NEAREST_NEIGHBOR")


def _sum_with_zeros(x: Tensor, result: Tensor) -> Op:
    shape = [new if old != new else 1 for old, new in zip(x.shape, result.shape, strict=True)]
    zero = x.quantization.zero_point[0] if x.quantization else 0
    numbers = np.full(shape, zero, np.int8 if x.dtype == "int8" else np.float32)
    zeros = constant(f"{result.name}/zeros", numbers, quantization=x.quantization)
    return Op("ADD", [x, zeros], [result], {"fusedActivationFunction": "NONE"})


def _enlarged(op: Op, x: Tensor, result: Tensor) -> list[Op]:
    """Repeats every pixel along columns by the factor, then every row."""
    (n, h, w, c), (_, rows, columns, _) = x.shape, result.shape
    if rows % h or columns % w:
        return [op]

    def part(name: str, *shape: int) -> Tensor:
        return Tensor(f"{result.name}/{name}", shape, x.dtype, quantization=x.quantization)

    pixels, wider = part("pixels", n * h * w, 1, c), part("wider", n * h * w, columns // w, c)
    lines, higher = part("lines", n * h, 1, columns * c), part("higher", n * h, rows // h, columns * c)
    steps = [] if columns == w else [reshape(x, pixels), _sum_with_zeros(pixels, wider)]
    last = wider if steps else x
    if rows != h:
        steps += [reshape(last, lines), _sum_with_zeros(lines, higher)]
        last = higher
    return [*steps, reshape(last, result)]


def _average_as_convolution(op: Op) -> list[Op]:
    """AVERAGE_POOL_2D as a depthwise convolution with equal weights, which may also change the scale."""
    height, width = op.options["filterHeight"], op.options["filterWidth"]
    if op.options["padding"] != "VALID":
        return [op]
    steps = {name: op.options[name] for name in ("padding", "strideH", "strideW")}
    return _depthwise(op, factor=1 / (height * width), offset=0.0, kernel=(height, width), options=steps)


def _gated(op: Op) -> list[Op]:
    """HARD_SWISH as `x * gate`, where the gate x / 6 + 1/2 saturates at 0 and 1 by its own scale and zero point."""
    x, result = op.inputs[0], op.output
    raw, number, gate = (
        Tensor(f"{result.name}/{part}", result.shape, dtype)
        for part, dtype in (("gate/float", "float32"), ("gate", "int8"), ("gate/read", "float32"))
    )
    number.quantization = _GATE
    steps: dict[str, int | str] = {"padding": "VALID", "strideH": 1, "strideW": 1}
    return [
        *_depthwise(Op("", [x], [raw]), factor=1 / 6, offset=0.5, kernel=(1, 1), options=steps),
        Op("QUANTIZE", [raw], [number]),
        Op("DEQUANTIZE", [number], [gate]),
        Op("MUL", [x, gate], [result]),
    ]


def _depthwise(
    op: Op, *, factor: float, offset: float, kernel: Sequence[int], options: dict[str, int | str]
) -> list[Op]:
    """`factor` times the sum over a window plus `offset`; the int8 weight 127 stands for exactly `factor`."""
    channels = op.output.shape[3]
    meaning = Quantization((float(np.float32(factor / 127)),) * channels, (0,) * channels, 3)
    numbers = np.full((1, *kernel, channels), 127, np.int8)
    stored = constant(f"{op.output.name}/weight", numbers, quantization=meaning)
    weight = Tensor(f"{stored.name}/read", stored.shape, "float32")
    bias = constant(f"{op.output.name}/bias", np.full(channels, offset, np.float32))
    options = {**options, "depthMultiplier": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    return [
        Op("DEQUANTIZE", [stored], [weight]),
        Op("DEPTHWISE_CONV_2D", [op.inputs[0], weight, bias], op.outputs, options),
    ]


_REWRITES: dict[str, Callable[[Op], list[Op]]] = {
    "AVERAGE_POOL_2D": _average_as_convolution,
    "HARD_SWISH": _gated,
}
