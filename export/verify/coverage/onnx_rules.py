"""The fast kernels of ONNX Runtime's CPU provider, and reasons why a layer does not get one.

Sources: onnxruntime's `nchwc_transformer.cc` (which convolutions are blocked) and the selectors of its Q/DQ
transformer (which layers become integer kernels); the rules are checked by tests against the runtime itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.verify.coverage.onnx_file import Graph

if TYPE_CHECKING:
    import onnx

BLOCKED = "com.microsoft.nchwc"
"""Domain of the kernels that compute in blocks of channels, as wide as the processor's vectors."""

_PRODUCTS = frozenset(
    ("Gemm", "FusedGemm", "MatMul", "FusedMatMul", "MatMulNBits", "Attention", "MultiHeadAttention")
)
_RECURRENT = frozenset(("LSTM", "GRU", "RNN"))
_INTEGER = frozenset(
    ("QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat",
     "DynamicQuantizeMatMul", "QAttention", "DynamicQuantizeLSTM")
)  # fmt: skip
_CONVOLUTIONS = frozenset(("Conv", "FusedConv", "ConvTranspose"))

LAYERS = _PRODUCTS | _RECURRENT | _INTEGER | _CONVOLUTIONS
"""Operators of an optimised graph that multiply and add."""

_HAVE_INTEGER_KERNELS = ("Conv", "Gemm", "MatMul")
_ALIGNMENT = 4
_CLAMPS = ("Relu", "Clip")


def is_accelerated(kernel: onnx.NodeProto, *, integers: bool) -> bool:
    """Whether a layer of an optimised graph runs in the fast kernels for the types of its file."""
    if integers:
        return kernel.op_type in _INTEGER
    products = _PRODUCTS | _RECURRENT | _INTEGER
    return kernel.op_type in products or (kernel.op_type == "Conv" and kernel.domain == BLOCKED)


def float_reason(kernel: onnx.NodeProto, optimised: Graph) -> str:
    """Why a convolution of an optimised graph has no blocked kernel."""
    instead = "it runs as im2col and a matrix product"
    if kernel.op_type == "ConvTranspose":
        return "ONNX Runtime has no blocked kernel for transposed convolutions: a matrix product and a sum instead"
    weights = optimised.constants.get(kernel.input[1])
    if weights is None:
        return f"its weights are computed, and blocked kernels take constant ones; {instead}"
    axes = len(weights) - 2
    if axes != 2:
        return f"it has {axes} axes besides channels, and blocked kernels support 2; {instead}"
    found = misfit(weights, groups=_groups(kernel))
    if found is not None:
        return f"{found}; {instead}"
    if all(node.domain != BLOCKED for node in optimised.nodes):
        return f"ONNX Runtime used no blocked kernel at all on this processor; {instead}"
    return f"ONNX Runtime gave it no blocked kernel, for an unknown reason; {instead}"


def misfit(weights: tuple[int, ...], *, groups: int) -> str | None:
    """Why blocked kernels do not support a 2D convolution with weights of shape `O I H W`; `None` if they do."""
    results, channels = weights[:2]
    if groups == 1 and channels % _ALIGNMENT:
        return f"it reads {channels} channels, and blocked kernels take a multiple of {_ALIGNMENT}"
    if channels == 1 and results == groups:
        fits = results % _ALIGNMENT == 0
        return (
            None if fits else f"it has {groups} channels, and blocked kernels take a multiple of {_ALIGNMENT}"
        )
    if groups > 1:
        return (
            f"it has {groups} groups of {channels} to {results // groups} channels, and blocked kernels take "
            "depthwise ones with as many outputs as inputs, or whole blocks of channels in every group"
        )
    return None


def _groups(kernel: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in kernel.attribute if attribute.name == "group"), 1)


def integer_reason(layer: onnx.NodeProto, written: Graph) -> str:
    """Why a layer of a written int8 file computes in float: its neighbours in that file."""
    if layer.op_type not in _HAVE_INTEGER_KERNELS:
        return (
            f"it computes in float: ONNX Runtime has no integer kernel for {layer.op_type} between Q/DQ pairs"
        )
    for position, role in enumerate(("input", "second operand" if layer.op_type == "MatMul" else "weights")):
        maker = written.makers.get(layer.input[position])
        if maker is None or maker.op_type != "DequantizeLinear":
            origin = "is float in the file" if maker is None else f"comes in float from {described(maker)}"
            return f"it computes in float: its {role} {origin}"
    for reader in written.readers.get(layer.output[0], []):
        after = written.readers.get(reader.output[0], []) if reader.op_type in _CLAMPS else [reader]
        unquantized = [node for node in after if node.op_type != "QuantizeLinear"]
        if unquantized:
            return (
                f"it computes in float: {described(unquantized[0])} uses its output before that is quantized"
            )
    return "it computes in float: ONNX Runtime did not fuse its Q/DQ pairs, for an unknown reason"


def described(node: onnx.NodeProto) -> str:
    """A node by kind and name."""
    return f"{node.op_type} {name_of(node)}"


def name_of(node: onnx.NodeProto) -> str:
    """A node's name, or that of its output if it has none."""
    return node.name or node.output[0]
