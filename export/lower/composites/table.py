"""`COMPOSITES`: which function writes which operator with simpler ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from export.lower.composites.attention import attention, bilinear
from export.lower.composites.curves import power_of_number, prelu, random_leaky_relu, softplus
from export.lower.composites.extremes import (
    maximum_along,
    maximum_of_all,
    mean_of_all,
    minimum_along,
    minimum_of_all,
    running_sum,
)
from export.lower.composites.moves import (
    copied,
    filled_like,
    flipped,
    padded,
    picked,
    repeated,
    repeated_each,
    rolled,
    windows,
    with_entry,
    with_slice,
)
from export.lower.composites.norms import (
    group_norm,
    instance_norm,
    log_sum_exp,
    variance,
    variance_and_mean,
    vector_norm,
)
from export.lower.composites.pooling import adaptive_average, adaptive_maximum, avg_pool1d, max_pool1d
from export.lower.composites.resampling import (
    linear_resize,
    nearest_exact_resize,
    nearest_resize,
    nearest_resize_3d,
)
from export.lower.composites.same import convolution_in_words

aten = torch.ops.aten

COMPOSITES: dict[Any, Callable[..., Any]] = {
    aten.conv1d.padding: convolution_in_words,
    aten.conv2d.padding: convolution_in_words,
    aten.group_norm.default: group_norm,
    aten.instance_norm.default: instance_norm,
    aten.prelu.default: prelu,
    aten.softplus.default: softplus,
    aten.rrelu.default: random_leaky_relu,
    aten.pow.Scalar: power_of_number,
    aten.max_pool1d.default: max_pool1d,
    aten.avg_pool1d.default: avg_pool1d,
    aten.logsumexp.default: log_sum_exp,
    aten.linalg_vector_norm.default: vector_norm,
    aten.var.correction: variance,
    aten.var_mean.correction: variance_and_mean,
    aten.max.dim: maximum_along,
    aten.min.dim: minimum_along,
    aten.cumsum.default: running_sum,
    aten.scaled_dot_product_attention.default: attention,
    aten.bilinear.default: bilinear,
    aten.adaptive_avg_pool1d.default: adaptive_average,
    aten.adaptive_avg_pool2d.default: adaptive_average,
    aten.adaptive_avg_pool3d.default: adaptive_average,
    aten.adaptive_max_pool1d.default: adaptive_maximum,
    aten.adaptive_max_pool2d.default: adaptive_maximum,
    aten.adaptive_max_pool3d.default: adaptive_maximum,
    aten.upsample_nearest3d.vec: nearest_resize_3d,
    aten.upsample_nearest1d.vec: nearest_resize,
    aten._upsample_nearest_exact1d.vec: nearest_exact_resize,
    aten._upsample_nearest_exact2d.vec: nearest_exact_resize,
    aten._upsample_nearest_exact3d.vec: nearest_exact_resize,
    aten.upsample_linear1d.vec: linear_resize,
    aten.upsample_trilinear3d.vec: linear_resize,
    aten.pad.default: padded,
    aten.repeat.default: repeated,
    aten.repeat_interleave.self_int: repeated_each,
    aten.roll.default: rolled,
    aten.flip.default: flipped,
    aten.unfold.default: windows,
    aten.slice_scatter.default: with_slice,
    aten.select_scatter.default: with_entry,
    aten.copy.default: copied,
    aten.full_like.default: filled_like,
    aten.index.Tensor: picked,
    aten.mean.default: mean_of_all,
    aten.max.default: maximum_of_all,
    aten.min.default: minimum_of_all,
}
"""Functions by the operator that they stand for."""
