"""Operators that the runtimes support, as tables by ATen names (`export.lower.source.operator_name`).

Sources, in these versions: ExecuTorch 1.4.1, `backends/xnnpack/partition/config/*.py` (operators of XNNPACK, in
float and between quantize and dequantize) and `kernels/portable/functions.yaml` (portable kernels); torch 2.13,
`torch/onnx/_internal/exporter/_torchlib` (operators with an ONNX form); onnxruntime 1.31, the selectors of its Q/DQ
transformer (`core/optimizer/qdq_transformer/selectors_actions`); coremltools 9.0,
`converters/mil/frontend/torch/ops.py`. LiteRT has no table here: the check uses the writer's own translation and
`export.verify.coverage.litert_rules` for its delegate. Tests compare all of them with the runtimes.
"""

from __future__ import annotations

XNNPACK = frozenset(
    (
        "_softmax", "abs", "add", "addmm", "avg_pool2d", "bmm", "cat", "ceil", "clamp", "clone",
        "constant_pad_nd", "convolution", "cos", "div", "exp", "floor", "gelu", "hardswish", "hardtanh",
        "leaky_relu", "linear", "log", "max", "max_pool2d", "maximum", "mean", "minimum", "mm", "mul",
        "neg", "permute", "pow", "prelu", "relu", "rsqrt", "sigmoid", "sin", "slice", "sqrt", "sub", "tanh",
        "unsqueeze", "upsample_bilinear2d", "view",
    )
)  # fmt: skip
"""Core ATen operators that ExecuTorch's XNNPACK partitioner has a rule for."""

XNNPACK_KEEPS = (
    "hardswish.default", "linear.default", "max_pool2d.default", "prelu.default", "upsample_bilinear2d.vec",
)  # fmt: skip
"""Operators that ExecuTorch does not decompose, since XNNPACK supports them."""

XNNPACK_INT8 = frozenset(
    (
        "add", "addmm", "cat", "clamp", "convolution", "hardtanh", "linear", "max_pool2d", "mean", "mul",
        "permute", "relu", "slice", "sub", "unsqueeze", "view",
    )
)  # fmt: skip
"""Those of them that it supports between quantize and dequantize; the others compute in float there."""

PORTABLE = frozenset(
    (
        "_adaptive_avg_pool2d", "_cdist_forward", "_log_softmax", "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training", "_pdist_forward", "_softmax", "_to_copy",
        "_upsample_bilinear2d_aa", "abs", "acos", "acosh", "add", "addmm", "alias", "amax", "amin", "any",
        "arange", "argmax", "argmin", "as_strided", "asin", "asinh", "atan", "atan2", "atanh", "avg_pool2d",
        "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "bmm", "cat", "ceil", "clamp", "clone",
        "constant_pad_nd", "convolution", "copy", "cos", "cosh", "cumsum", "detach", "diagonal", "div",
        "elu", "embedding", "empty", "eq", "erf", "exp", "expand", "expm1", "fill", "flip", "floor",
        "floor_divide", "fmod", "full", "full_like", "gather", "ge", "gelu", "glu", "grid_sampler_2d", "gt",
        "hardtanh", "index", "index_put", "index_select", "isinf", "isnan", "le", "leaky_relu",
        "lift_fresh", "linear", "log", "log10", "log1p", "log2", "logical_and", "logical_not", "logical_or",
        "logical_xor", "logit", "lt", "masked_fill", "masked_scatter", "max", "max_pool2d_with_indices",
        "maximum", "mean", "min", "minimum", "mm", "mul", "native_dropout", "native_group_norm",
        "native_layer_norm", "ne", "neg", "nonzero", "ones", "permute", "pixel_shuffle", "pixel_unshuffle",
        "pow", "prod", "reciprocal", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "relu",
        "remainder", "repeat", "repeat_interleave", "replication_pad1d", "replication_pad2d",
        "replication_pad3d", "roll", "round", "rsqrt", "rsub", "scalar_tensor", "scatter", "scatter_add",
        "select", "select_scatter", "sigmoid", "sign", "sin", "sinh", "slice", "slice_scatter", "split",
        "split_with_sizes", "sqrt", "squeeze", "stack", "sub", "sum", "t", "tan", "tanh", "topk",
        "transpose", "tril", "trunc", "unbind", "unfold", "unsqueeze", "upsample_bilinear2d",
        "upsample_nearest2d", "var", "var_mean", "view", "where", "zeros",
    )
)  # fmt: skip
"""Core ATen operators with a portable kernel, which is correct and many times slower than XNNPACK."""

NO_ONNX_FORM = frozenset(
    ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "_cdist_forward", "_pdist_forward", "randperm")
)
"""Core ATen operators without an ONNX form in torch."""

NO_COREML_FORM = frozenset(
    (
        "_adaptive_avg_pool3d", "_cdist_forward", "_embedding_bag", "_fft_c2r", "_fft_r2c",
        "_pdist_forward", "as_strided", "bitwise_or", "bitwise_xor", "cdist", "conv_transpose2d",
        "conv_transpose3d", "fft_rfft", "fmod", "isinf", "masked_scatter", "prod", "randperm",
        "scatter_reduce", "trunc",
    )
)  # fmt: skip
"""Operators without a converter in coremltools."""

COREML_NAMES = {
    "acos": "acos", "argmin": "reduce_argmin", "asin": "asin", "atanh": "atanh", "cosh": "cosh", "cos": "cos",
    "cumsum": "cumsum", "gru": "gru", "index_put": "scatter_nd", "logical_and": "logical_and",
    "logical_or": "logical_or", "logical_xor": "logical_xor", "lstm": "lstm", "prod": "reduce_prod",
    "remainder": "mod", "rnn_relu": "rnn", "rnn_tanh": "rnn", "scatter": "scatter_along_axis", "sin": "sin",
    "sinh": "sinh", "tan": "tan",
}  # fmt: skip
"""MIL's names of operators that the Neural Engine does not support, by torch's; see `emit.coreml.neural_engine`."""

ONNXRUNTIME_INT8 = frozenset(
    (
        "adaptive_avg_pool2d", "add", "avg_pool2d", "cat", "conv1d", "conv2d", "hardsigmoid", "hardswish",
        "leaky_relu", "linear", "matmul", "max_pool2d", "mean", "mul", "sigmoid", "silu", "softmax",
        "upsample_nearest2d",
    )
)  # fmt: skip
"""Operators that ONNX Runtime computes in integers between quantize and dequantize; curves in the form that the
writer gives them (`export.emit.onnx.passes.curves`)."""

NORM = "use BatchNorm3d, which folds into the convolution before it"
GROUPS = (
    "use BatchNorm3d, which folds into the convolution before it; this norm cannot be folded, since it measures "
    "every clip anew"
)

INSTEAD: dict[str, str] = {
    "_softmax": "use it only on small tensors, where it costs little",
    "adaptive_avg_pool2d": "average over rows and columns, or over all of time and space, axes kept",
    "add": "add outputs of layers: adding a constant or a parameter stays in float",
    "avg_pool2d": "use MaxPool, a convolution with stride, or the mean over the whole image",
    "argmax": "return the logits and find the largest in the application",
    "topk": "return the logits and find the largest in the application",
    "bmm": "use convolutions instead of attention, or the scheme w8",
    "clamp": "use ReLU or ReLU6",
    "baddbmm": "use convolutions instead of attention, or the scheme w8",
    "batch_norm": "put it directly after a convolution, into which it folds",
    "conv_transpose2d": "use Upsample and a convolution",
    "conv_transpose3d": "use Upsample and a convolution",
    "conv2d": "take channels in multiples of 4, and groups of one channel or of whole blocks of 16",
    "conv3d": "take channels in multiples of 4, and groups of one channel or of whole blocks of 16",
    "cos": "precompute it if it depends on positions only: register_buffer",
    "cumsum": "multiply by a triangular matrix of ones",
    "elu": "use ReLU6 or Hardswish",
    "embedding": "keep it: a lookup costs little",
    "gelu": "use Hardswish or ReLU6",
    "expand": "let the operator after it broadcast: sums and products need no copies",
    "group_norm": GROUPS,
    "gru": "use temporal convolutions, or only short sequences of few values",
    "hardsigmoid": "use Sigmoid, or use it only on small tensors, where it costs little",
    "hardswish": "use ReLU6 if speed matters most",
    "instance_norm": GROUPS,
    "leaky_relu": "use ReLU6",
    "lstm": "use temporal convolutions, or only short sequences of few values",
    "log_softmax": "return the logits",
    "_log_softmax": "return the logits",
    "matmul": "use convolutions instead of attention, or the scheme w8",
    "max_pool2d": "put a ReLU before it, or remove its padding",
    "mean": "average over rows and columns, or over all of time and space, axes kept",
    "mul": "multiply outputs of layers, or fold the factor into the weights before it",
    "native_group_norm": GROUPS,
    "native_layer_norm": NORM,
    "layer_norm": NORM,
    "multi_head_attention_forward": "use convolutions instead of attention, or the scheme w8",
    "pow": "write x * x for a square, products for other integer powers",
    "scaled_dot_product_attention": "use convolutions instead of attention, or the scheme w8",
    "sigmoid": "use Hardsigmoid, or use it only on small tensors, where it costs little",
    "silu": "use Hardswish or ReLU6",
    "softmax": "use it only on small tensors, where it costs little",
    "sin": "precompute it if it depends on positions only: register_buffer",
    "sub": "let layers subtract: a bias, or BatchNorm3d for a constant mean",
    "tanh": "use ReLU6, or use it only on small tensors, where it costs little",
    "upsample_nearest2d": "use pixel_shuffle after a convolution, or use it only on small images",
}
"""Suggestion for each operator."""

REWRITE = "use it only on small tensors, or rewrite the line with layers that the runtime supports"
"""Suggestion for all other operators."""

SCHEMES: dict[tuple[str, str], str] = {
    (
        "executorch",
        "fp16",
    ): "ExecuTorch writes the weights of convolutions as float32 even where they compute in "
    "float16, so a file would be no smaller",
}
"""Why a format does not support a scheme, if there is a specific reason."""
