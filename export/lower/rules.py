"""The table of lowering rules by operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import fx

from export.lower.composites.table import COMPOSITES
from export.lower.convolution import convolution
from export.lower.elementwise import arithmetic, converted, elementwise, unary
from export.lower.lowering import Lowering
from export.lower.normalisation import BATCH_NORM, LAYERS, batch_norm
from export.lower.pooling import avg_pool2d, max_pool2d, max_pool_without_indices, pool
from export.lower.products import embedding, layer_norm, linear, matmul
from export.lower.reductions import amax, arg_extreme, mean, reduce, softmax, topk
from export.lower.reshaping import expand, identity, permute, reshape
from export.lower.slicing import concatenate, constant_pad, pick, take
from export.private.torch import schema_of

aten = torch.ops.aten

Rule = Callable[[Lowering, fx.Node, dict[str, Any]], Any]


def _core_operators() -> Iterator[Any]:
    """Core ATen operators without in-place ones: those that torch decomposes all others into."""
    for packet in (getattr(aten, name) for name in dir(aten)):
        for overload in getattr(packet, "overloads", list)():
            found = getattr(packet, overload)
            if torch.Tag.core in found.tags and not _schema(found).is_mutable:
                yield found


def _schema(target: Any) -> Any:
    schema = schema_of(target)
    assert schema is not None, f"{target} has no schema"
    return schema


def _tensors(target: Any) -> int:
    """Number of tensor arguments of an operator."""
    return sum(str(argument.type) == "Tensor" for argument in _schema(target).arguments)


NOT_WRITTEN = (
    aten.bitwise_and.Scalar,
    aten.bitwise_or.Scalar,
    aten.bitwise_xor.Scalar,
)
"""Pointwise operators that no writer supports: bitwise ones with a constant."""

PARTLY_COMPOSITE = (
    aten.div.Tensor_mode,
    aten.logical_and.default,
    aten.logical_not.default,
    aten.logical_or.default,
)
"""Operators that `COMPOSITES` rewrites for some types and keeps for others."""

POINTWISE = frozenset(
    operator
    for operator in _core_operators()
    if torch.Tag.pointwise in operator.tags
    and (operator not in COMPOSITES or operator in PARTLY_COMPOSITE)
    and operator not in (*NOT_WRITTEN, aten.clone.default)
)
"""Operators that torch tags as pointwise."""

KEPT_WHOLE = (
    aten.clamp_max.default,
    aten.clamp_min.default,
    aten.hardsigmoid.default,
    aten.hardswish.default,
    aten.relu6.default,
    aten.silu.default,
)
"""Pointwise operators that torch would decompose and runtimes support."""

ONLY_WIDE: dict[Any, Rule] = {
    aten.conv3d.default: convolution,
    aten.conv3d.padding: convolution,
    aten.max_pool3d.default: pool,
    aten.avg_pool3d.default: pool,
}
"""Operators without a replacement at rank 4: they must not be copied."""

RULES: dict[Any, Rule] = {
    **ONLY_WIDE,
    BATCH_NORM: batch_norm,
    **{operator: unary if _tensors(operator) == 1 else elementwise for operator in POINTWISE},
    **dict.fromkeys(KEPT_WHOLE, unary),
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
    aten.max_pool2d_with_indices.default: max_pool_without_indices,
    aten.max_pool3d_with_indices.default: max_pool_without_indices,
    aten.max_pool2d.default: max_pool2d,
    aten.avg_pool2d.default: avg_pool2d,
    aten.mean.dim: mean,
    aten.sum.dim_IntList: reduce,
    aten.amax.default: amax,
    aten.amin.default: reduce,
    aten.argmax.default: arg_extreme,
    aten.argmin.default: arg_extreme,
    aten.topk.default: topk,
    aten.softmax.int: softmax,
    aten.log_softmax.int: softmax,
    aten.linear.default: linear,
    aten.layer_norm.default: layer_norm,
    aten.matmul.default: matmul,
    aten.embedding.default: embedding,
}
"""The rule of each operator on values of rank 5 and above. Operators on rank <= 4 are copied unchanged."""

ANY_RANK = (
    aten.avg_pool2d.default,
    aten.max_pool2d.default,
    aten.max_pool2d_with_indices.default,
    aten.index_select.default,
    # As slices: XNNPACK has no rule for these in ExecuTorch, and int8 slices keep the scale of their input.
    aten.select.int,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten._to_copy.default,
    aten.expand.default,
)
"""Operators whose rule also applies at rank 4 and below."""

INDIFFERENT: tuple[Rule, ...] = (unary, elementwise, arithmetic, identity, convolution, batch_norm)
"""Rules that work in either form; the consumers of the result decide."""

KNOWN = {
    *RULES,
    *LAYERS,
    aten.upsample_nearest2d.vec,
    aten.upsample_bilinear2d.vec,
}
"""Operators that are kept; all others are rewritten with simpler ones if possible."""
