"""Which rule writes which operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from export.lower.convolution import convolution
from export.lower.elementwise import arithmetic, converted, elementwise, unary
from export.lower.lowering import Lowering
from export.lower.normalisation import BATCH_NORM, LAYERS, batch_norm
from export.lower.pieces import concatenate, constant_pad, pick, take
from export.lower.pooling import average_pictures, maxima_alone, maximum_of_pictures, pool
from export.lower.products import embedding, layer_norm, linear, matmul
from export.lower.reductions import first_in_order, largest, mean, place_of_extreme, reduce, softmax
from export.lower.reshaping import expand, identity, permute, reshape

aten = torch.ops.aten

Rule = Callable[[Lowering, fx.Node, dict[str, Any]], Any]

ONLY_WIDE: dict[Any, Rule] = {
    aten.conv3d.default: convolution,
    aten.conv3d.padding: convolution,
    aten.max_pool3d.default: pool,
    aten.avg_pool3d.default: pool,
}
"""Operators that there are no others for at rank 4: they must not be copied."""

RULES: dict[Any, Rule] = {
    **ONLY_WIDE,
    BATCH_NORM: batch_norm,
    **dict.fromkeys(
        (
            aten.relu.default,
            aten.relu6.default,
            aten.hardtanh.default,
            aten.clamp.default,
            aten.clamp_min.default,
            aten.clamp_max.default,
            aten.hardswish.default,
            aten.hardsigmoid.default,
            aten.silu.default,
            aten.sigmoid.default,
            aten.tanh.default,
            aten.gelu.default,
            aten.elu.default,
            aten.leaky_relu.default,
            aten.exp.default,
            aten.expm1.default,
            aten.log.default,
            aten.log1p.default,
            aten.neg.default,
            aten.abs.default,
            aten.sign.default,
            aten.sqrt.default,
            aten.rsqrt.default,
            aten.reciprocal.default,
            aten.sin.default,
            aten.cos.default,
            aten.erf.default,
            aten.log2.default,
            aten.log10.default,
            aten.tan.default,
            aten.atan.default,
            aten.asin.default,
            aten.acos.default,
            aten.sinh.default,
            aten.cosh.default,
            aten.asinh.default,
            aten.acosh.default,
            aten.atanh.default,
            aten.trunc.default,
            aten.isnan.default,
            aten.isinf.default,
            aten.bitwise_not.default,
            aten.floor.default,
            aten.ceil.default,
            aten.round.default,
            aten.pow.Tensor_Scalar,
            aten.gt.Scalar,
            aten.ge.Scalar,
            aten.lt.Scalar,
            aten.le.Scalar,
            aten.eq.Scalar,
            aten.ne.Scalar,
            aten.logical_not.default,
        ),
        unary,
    ),
    aten._to_copy.default: converted,
    **dict.fromkeys(
        (
            aten.add.Tensor,
            aten.add.Scalar,
            aten.sub.Tensor,
            aten.sub.Scalar,
            aten.mul.Tensor,
            aten.mul.Scalar,
            aten.div.Tensor,
            aten.div.Scalar,
            aten.rsub.Scalar,
            aten.rsub.Tensor,
        ),
        arithmetic,
    ),
    **dict.fromkeys(
        (
            aten.maximum.default,
            aten.minimum.default,
            aten.pow.Tensor_Tensor,
            aten.atan2.default,
            aten.remainder.Tensor,
            aten.fmod.Tensor,
            aten.div.Tensor_mode,
            aten.where.self,
            aten.gt.Tensor,
            aten.ge.Tensor,
            aten.lt.Tensor,
            aten.le.Tensor,
            aten.eq.Tensor,
            aten.ne.Tensor,
            aten.logical_and.default,
            aten.logical_or.default,
            aten.bitwise_and.Tensor,
            aten.bitwise_or.Tensor,
        ),
        elementwise,
    ),
    aten.clone.default: identity,
    aten.contiguous.default: identity,
    aten.detach.default: identity,
    aten.alias.default: identity,
    aten.dropout.default: identity,
    aten.view.default: reshape,
    aten.reshape.default: reshape,
    aten._unsafe_view.default: reshape,
    aten.flatten.using_ints: reshape,
    aten.squeeze.dim: reshape,
    aten.squeeze.dims: reshape,
    aten.unsqueeze.default: reshape,
    aten.permute.default: permute,
    aten.transpose.int: permute,
    aten.expand.default: expand,
    aten.cat.default: concatenate,
    aten.slice.Tensor: take,
    aten.select.int: take,
    aten.split.Tensor: take,
    aten.split_with_sizes.default: take,
    aten.index_select.default: pick,
    aten.constant_pad_nd.default: constant_pad,
    aten.max_pool2d_with_indices.default: maxima_alone,
    aten.max_pool3d_with_indices.default: maxima_alone,
    aten.max_pool2d.default: maximum_of_pictures,
    aten.avg_pool2d.default: average_pictures,
    aten.mean.dim: mean,
    aten.sum.dim_IntList: reduce,
    aten.amax.default: largest,
    aten.amin.default: reduce,
    aten.argmax.default: place_of_extreme,
    aten.argmin.default: place_of_extreme,
    aten.topk.default: first_in_order,
    aten.softmax.int: softmax,
    aten.log_softmax.int: softmax,
    aten.linear.default: linear,
    aten.layer_norm.default: layer_norm,
    aten.matmul.default: matmul,
    aten.embedding.default: embedding,
}
"""How each operator on a value of rank 5 and above is written. Operators on rank <= 4 are copied unchanged."""

ANY_RANK = (
    aten.avg_pool2d.default,
    aten.max_pool2d.default,
    aten.max_pool2d_with_indices.default,
    aten.index_select.default,
    # As slices: XNNPACK has no rule for these in ExecuTorch, and int8 slices keep the scale of what they read.
    aten.select.int,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten._to_copy.default,
    aten.expand.default,
)
"""Operators whose rule is followed at rank 4 and below, too."""

INDIFFERENT: tuple[Rule, ...] = (unary, elementwise, arithmetic, identity, convolution, batch_norm)
"""Rules that work in either form; what counts is who reads their result."""

KNOWN = {
    *RULES,
    *LAYERS,
    aten.upsample_nearest2d.vec,
    aten.upsample_bilinear2d.vec,
}
"""Operators that stay as they are: everything else is written with simpler ones where there is a way."""
