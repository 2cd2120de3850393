"""Converts int4 weights with a scale per group for Core ML: `constexpr_blockwise_shift_scale` of iOS 18.

coremltools 9 converts `torchao.dequantize_affine` for matrices only, although the operator of Core ML takes blocks
of any rank. Source: coremltools, `converters/mil/mil/ops/defs/iOS18/compression.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def convert_groups() -> None:
    """Makes coremltools convert groups in weights of any rank; needs an import of coremltools before."""
    from coremltools.converters.mil import Builder, register_torch_op
    from coremltools.converters.mil.mil import types

    @register_torch_op(torch_alias=["torchao::dequantize_affine", "torchao.dequantize_affine"], override=True)
    def dequantize_affine(context: Any, node: Any) -> None:
        numbers, scale = (context[node.inputs[at]].val for at in (0, 2))
        int4 = types.nptype_from_builtin(types.int4)
        read = Builder.constexpr_blockwise_shift_scale(
            data=numbers.astype(int4), scale=scale.astype(np.float32), name=node.name
        )
        context.add(read, node.name)
