"""Matrix products, attention and einsum.

Source: coremltools 9, `ops/defs/iOS15/linear.py` and `ops/defs/iOS18/transformers.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from export.emit.coreml.operators.arguments import Arguments, Operator, flag


def _matmul(given: Arguments) -> Tensor:
    x, y = given["x"], given["y"]
    x = x.transpose(-1, -2) if flag(given, "transpose_x") else x
    y = y.transpose(-1, -2) if flag(given, "transpose_y") else y
    return torch.matmul(x, y)


def _attention(given: Arguments) -> Tensor:
    return F.scaled_dot_product_attention(
        given["query"], given["key"], given["value"], attn_mask=given.get("attn_mask")
    )


PRODUCTS: dict[str, Operator] = {
    "linear": lambda given: F.linear(given["x"], given["weight"], given.get("bias")),
    "matmul": _matmul,
    "einsum": lambda given: torch.einsum(given["equation"], *given["values"]),
    "scaled_dot_product_attention": _attention,
}
"""Name in MIL -> implementation."""
