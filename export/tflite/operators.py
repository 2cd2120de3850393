"""`OPERATORS`: how every ATen operator that a LiteRT file can hold is written; what to use instead of others."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torchao.quantization.pt2e  # noqa: F401  registers torch.ops.quantized_decomposed

from export.tflite import logic, pointwise, products, quantized, shapes, windows

aten = torch.ops.aten
pt2e = torch.ops.quantized_decomposed

OPERATORS: dict[Any, Callable[..., Any]] = {
    # windows over a picture
    aten.conv2d.default: windows.conv2d,
    aten.conv1d.default: windows.conv1d,
    aten.convolution.default: windows.convolution,
    aten.max_pool2d.default: windows.max_pool2d,
    aten.avg_pool2d.default: windows.avg_pool2d,
    # number by number
    aten.add.Tensor: pointwise.add,
    aten.add.Scalar: pointwise.add,
    aten.sub.Tensor: pointwise.sub,
    aten.sub.Scalar: pointwise.sub,
    aten.rsub.Tensor: pointwise.rsub,
    aten.rsub.Scalar: pointwise.rsub,
    aten.mul.Tensor: pointwise.mul,
    aten.mul.Scalar: pointwise.mul,
    aten.div.Tensor: pointwise.div,
    aten.div.Scalar: pointwise.div,
    aten.maximum.default: pointwise.maximum,
    aten.minimum.default: pointwise.minimum,
    aten.eq.Scalar: logic.equal,
    aten.eq.Tensor: logic.equal,
    aten.ne.Scalar: logic.not_equal,
    aten.ne.Tensor: logic.not_equal,
    aten.gt.Scalar: logic.greater,
    aten.gt.Tensor: logic.greater,
    aten.ge.Scalar: logic.greater_equal,
    aten.ge.Tensor: logic.greater_equal,
    aten.lt.Scalar: logic.less,
    aten.lt.Tensor: logic.less,
    aten.le.Scalar: logic.less_equal,
    aten.le.Tensor: logic.less_equal,
    aten.logical_and.default: logic.both,
    aten.bitwise_and.Tensor: logic.both,
    aten.logical_or.default: logic.either,
    aten.bitwise_or.Tensor: logic.either,
    aten.logical_not.default: logic.opposite,
    aten.bitwise_not.default: logic.opposite,
    aten.where.self: logic.where,
    aten._to_copy.default: logic.cast,
    aten.pow.Tensor_Scalar: pointwise.power,
    aten.pow.Tensor_Tensor: pointwise.power,
    aten.relu.default: pointwise.relu,
    aten.relu6.default: pointwise.relu6,
    aten.clamp.default: pointwise.clamp,
    aten.clamp_min.default: pointwise.clamp,
    aten.clamp_max.default: pointwise.clamp_max,
    aten.hardtanh.default: pointwise.hardtanh,
    aten.hardswish.default: pointwise.hardswish,
    aten.hardsigmoid.default: pointwise.hardsigmoid,
    aten.sigmoid.default: pointwise.sigmoid,
    aten.silu.default: pointwise.silu,
    aten.tanh.default: pointwise.tanh,
    aten.gelu.default: pointwise.gelu,
    aten.leaky_relu.default: pointwise.leaky_relu,
    aten.elu.default: pointwise.elu,
    aten.exp.default: pointwise.exp,
    aten.expm1.default: pointwise.expm1,
    aten.log.default: pointwise.log,
    aten.log1p.default: pointwise.log1p,
    aten.sin.default: pointwise.sine,
    aten.cos.default: pointwise.cosine,
    aten.sign.default: pointwise.sign,
    aten.floor.default: pointwise.floor,
    aten.ceil.default: pointwise.ceil,
    aten.round.default: pointwise.nearest_integer,
    aten.reciprocal.default: pointwise.reciprocal,
    aten.sqrt.default: pointwise.sqrt,
    aten.rsqrt.default: pointwise.rsqrt,
    aten.neg.default: pointwise.neg,
    aten.abs.default: pointwise.absolute,
    # sums over an axis
    aten.linear.default: products.linear,
    aten.addmm.default: products.addmm,
    aten.mm.default: products.matmul,
    aten.bmm.default: products.matmul,
    aten.matmul.default: products.matmul,
    aten.softmax.int: products.softmax,
    aten._softmax.default: products.softmax,
    aten.log_softmax.int: products.log_softmax,
    aten.mean.default: products.mean,
    aten.mean.dim: products.mean,
    aten.sum.dim_IntList: products.total,
    aten.amax.default: products.largest,
    aten.amin.default: products.smallest,
    aten.argmax.default: products.place_of_largest,
    aten.argmin.default: products.place_of_smallest,
    aten.layer_norm.default: products.layer_norm,
    aten._native_batch_norm_legit_no_training.default: products.batch_norm,
    aten.embedding.default: products.embedding,
    # moves
    aten.permute.default: shapes.permute,
    aten.transpose.int: shapes.transpose,
    aten.t.default: shapes.transpose_matrix,
    aten.reshape.default: shapes.reshape,
    aten.view.default: shapes.reshape,
    aten._unsafe_view.default: shapes.reshape,
    aten.flatten.using_ints: shapes.flatten,
    aten.unsqueeze.default: shapes.unsqueeze,
    aten.squeeze.default: shapes.squeeze,
    aten.squeeze.dim: shapes.squeeze,
    aten.squeeze.dims: shapes.squeeze,
    aten.expand.default: shapes.expand,
    aten.slice.Tensor: shapes.slice_axis,
    aten.select.int: shapes.select,
    aten.split.Tensor: shapes.split,
    aten.split_with_sizes.default: shapes.split_sizes,
    operator.getitem: shapes.item,
    aten.upsample_nearest2d.vec: shapes.nearest,
    aten.upsample_bilinear2d.vec: shapes.bilinear,
    aten.index_select.default: shapes.pick,
    aten.cat.default: shapes.cat,
    aten.constant_pad_nd.default: shapes.pad,
    aten.clone.default: shapes.same,
    aten.contiguous.default: shapes.same,
    aten.alias.default: shapes.same,
    aten.detach.default: shapes.same,
    aten.dropout.default: shapes.same,
    # what PT2E decided
    pt2e.quantize_per_tensor.default: quantized.quantize,
    pt2e.quantize_per_tensor.tensor: quantized.quantize,
    pt2e.dequantize_per_tensor.default: quantized.dequantize,
    pt2e.dequantize_per_tensor.tensor: quantized.dequantize,
    pt2e.dequantize_per_channel.default: quantized.dequantize_per_channel,
}
"""Functions take an `Emitter`, then the arguments of the ATen schema with values in the place of tensors."""

MEANINGS = (
    pt2e.dequantize_per_tensor.default,
    pt2e.dequantize_per_tensor.tensor,
    pt2e.dequantize_per_channel.default,
)
"""Never computed ahead, even on constants: the file keeps the int8 numbers."""

INSTEAD: dict[str, str] = {
    "conv3d": "lower the graph first (export.lower), which writes it as 2D convolutions",
    "max_pool3d": "lower the graph first (export.lower), which writes it as 2D poolings",
    "adaptive_max_pool2d": "use MaxPool2d with an explicit kernel",
    "group_norm": "use BatchNorm, which folds into the convolution before it",
    "native_group_norm": "use BatchNorm, which folds into the convolution before it",
    "instance_norm": "use BatchNorm, which folds into the convolution before it",
    "conv_transpose2d": "use a nearest-neighbour interpolation followed by a convolution",
    "upsample_bicubic2d": "use mode 'bilinear'",
    "erf": "use GELU, or tanh",
    "lstm": "write the cell with Linear, sigmoid and tanh, one step per frame",
    "gru": "write the cell with Linear, sigmoid and tanh, one step per frame",
}
"""What to use in the place of an operator that is not in the table."""
