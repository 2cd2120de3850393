"""Gather and scatter operators.

Source: coremltools 9, `ops/defs/iOS15/scatter_gather.py`, `iOS16`, `iOS17`. From iOS 17 on an index outside
`0..length-1` is undefined; here it raises IndexError or RuntimeError (of torch).
"""

from __future__ import annotations

import torch
from torch import Tensor

from export.emit.coreml.operators.arguments import Arguments, Operator, axis_of, number, text

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
"""Mode of MIL -> reduction of torch."""


def _gather(given: Arguments) -> Tensor:
    x, indices = given["x"], given["indices"].long()
    batch = int(number(given, "batch_dims", 0))
    axis = axis_of(given, default=0) % x.dim()
    if batch:
        inner = {"axis": torch.tensor(axis - 1), "batch_dims": torch.tensor(batch - 1)}
        rows = zip(x, indices, strict=True)
        return torch.stack([_gather({**inner, "x": row, "indices": index}) for row, index in rows])
    taken = x.index_select(axis, indices.reshape(-1))
    return taken.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _gather_nd(given: Arguments) -> Tensor:
    x, indices = given["x"], given["indices"].long()
    batch = int(number(given, "batch_dims", 0))
    if batch:
        inner = {"batch_dims": torch.tensor(batch - 1)}
        rows = zip(x, indices, strict=True)
        return torch.stack([_gather_nd({**inner, "x": row, "indices": index}) for row, index in rows])
    return x[tuple(indices.unbind(-1))]


def _scatter_along(data: Tensor, axis: int, indices: Tensor, given: Arguments) -> Tensor:
    """`data` with `updates` written to, or combined with, the positions along `axis`."""
    mode, updates = text(given, "mode", "add"), given["updates"]
    if mode == "update":
        return data.scatter(axis, indices, updates)
    if mode in ("sub", "div"):
        mode, updates = ("add", -updates) if mode == "sub" else ("mul", 1 / updates)
    return data.scatter_reduce(axis, indices, updates, _REDUCTIONS[mode])


def _scatter(given: Arguments) -> Tensor:
    data, updates = given["data"], given["updates"]
    axis = axis_of(given, default=0) % data.dim()
    shape = [-1 if position == axis else 1 for position in range(data.dim())]
    indices = given["indices"].long().reshape(shape).expand(updates.shape)
    return _scatter_along(data, axis, indices, given)


def _scatter_nd(given: Arguments) -> Tensor:
    """For each index, writes one row of `updates` over the flattened leading axes."""
    data, indices = given["data"], given["indices"].long()
    depth = indices.shape[-1]
    named, rest = data.shape[:depth], data.shape[depth:]
    flat = torch.zeros(indices.shape[:-1], dtype=torch.long)
    for position, length in zip(indices.unbind(-1), named, strict=True):
        flat = flat * length + position
    rows = {**given, "updates": given["updates"].reshape(flat.numel(), -1)}
    table = data.reshape(named.numel(), -1)
    places = flat.reshape(-1, 1).expand(rows["updates"].shape)
    return _scatter_along(table, 0, places, rows).reshape(*named, *rest)


INDEXING: dict[str, Operator] = {
    "gather": _gather,
    "gather_along_axis": lambda given: given["x"].gather(axis_of(given, default=0), given["indices"].long()),
    "gather_nd": _gather_nd,
    "scatter": _scatter,
    "scatter_along_axis": lambda given: _scatter_along(
        given["data"], axis_of(given, default=0), given["indices"].long(), given
    ),
    "scatter_nd": _scatter_nd,
}
"""Name in MIL -> implementation."""
