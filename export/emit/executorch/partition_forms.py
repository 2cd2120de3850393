"""Rewrites operators that ExecuTorch's XNNPACK partitioner refuses (1.4.1), so that none splits a partition.

A refused operator runs in a portable kernel between two partitions, with a copy at each border. The replacements
compute the same numbers; in an int8 program they compute in float, as the originals did.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from export.emit.executorch.weights import stored
from export.lower.source import bind

if TYPE_CHECKING:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

aten = torch.ops.aten

MOST_AXES = 6
"""Maximum rank in XNNPACK."""


def in_forms_of_xnnpack(program: ExportedProgram) -> ExportedProgram:
    """The program with repetition, means and sums over any axes, and constants as XNNPACK takes them."""
    graph = program.module(check_guards=False)
    assert isinstance(graph, fx.GraphModule) and program.example_inputs is not None
    nodes = [node for node in graph.graph.nodes if node.target in _FORMS and _is_float(node)]
    changed = [node for node in nodes if _written(graph, node)]
    if not changed:
        return program
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return torch.export.export(graph, program.example_inputs[0])


def partitioner() -> XnnpackPartitioner:
    """ExecuTorch's partitioner, which here also takes `cat` of one tensor with itself."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.config.generic_node_configs import CatConfig
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    class JoinConfig(CatConfig):
        def check_constraints(self, node: fx.Node, ep: ExportedProgram) -> bool:
            several = len(node.args[0]) >= 2 and len(node.all_input_nodes) == 1  # type: ignore[arg-type]
            if several:
                return bool(self.check_common_constraints(node, ep))
            return bool(super().check_constraints(node, ep))

    configs = [JoinConfig if config is CatConfig else config for config in ALL_PARTITIONER_CONFIGS]
    return XnnpackPartitioner(configs=configs)


class _Place:
    """Writes the replacement of a node in front of it."""

    def __init__(self, graph: fx.GraphModule, node: fx.Node) -> None:
        self.graph, self.node = graph, node
        self.given: dict[str, Any] = bind(node, node.args, node.kwargs)

    def call(self, target: Any, *args: Any) -> fx.Node:
        made = self.graph.graph.call_function(target, args)
        made.meta = {key: value for key, value in self.node.meta.items() if key != "val"}
        return made

    def repeated(self, x: fx.Node, now: Sequence[int], wanted: Sequence[int]) -> fx.Node:
        """`x`, viewed with the shape `now`, broadcast to `wanted` by adding zeros, which have only the repeated
        axes."""
        shape = [new if old != new else 1 for old, new in zip(now, wanted, strict=True)]
        zeros = self.constant(torch.zeros(shape))
        return self.call(aten.add.Tensor, self.call(aten.reshape.default, x, list(now)), zeros)

    def constant(self, value: Tensor) -> fx.Node:
        """A node with the constant `value`."""
        count = len(list(self.graph.named_buffers(recurse=False, remove_duplicate=False)))
        return stored(self.graph, f"{self.node.name}_constant_{count}", value)


def _written(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Replaces `node` with other operators if needed. Returns whether it did."""
    with graph.graph.inserting_before(node):
        result = _FORMS[node.target](_Place(graph, node))
    if result is None:
        return False
    result.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(result)
    graph.graph.erase_node(node)
    return True


def _expanded(place: _Place) -> fx.Node | None:
    x = place.given["self"]
    before, after = _shape(x), _shape(place.node)
    now = (1,) * (len(after) - len(before)) + before
    if now == after or x.op == "get_attr" or len(after) > MOST_AXES:
        return None
    return place.repeated(x, now, after)


def _enlarged(place: _Place) -> fx.Node | None:
    """Nearest-neighbour resizing by integer factors: repeats every pixel along columns, then every row."""
    x = place.given["input"]
    (n, c, h, w), (_, _, rows, columns) = _shape(x), _shape(place.node)
    if rows % h or columns % w:
        return None
    y = x
    if columns != w:
        y = place.repeated(y, (n * c * h * w, 1), (n * c * h * w, columns // w))
    if rows != h:
        y = place.repeated(y, (n * c * h, 1, columns), (n * c * h, rows // h, columns))
    return place.call(aten.reshape.default, y, [n, c, rows, columns])


def _reduced(place: _Place) -> fx.Node | None:
    """A mean as a mean over the last two of four axes; a sum is that mean times the number of elements."""
    x, node = place.given["self"], place.node
    sizes, rank = _shape(x), len(_shape(x))
    given = place.given["dim"]
    axes = sorted(axis % rank for axis in given) if given else list(range(rank))
    is_sum = node.target is aten.sum.dim_IntList
    if not _shape(node) or rank > MOST_AXES or place.given["dtype"] is not None:
        return None
    if not is_sum and rank == 4 and axes == [2, 3] and place.given["keepdim"]:
        return None
    kept = [axis for axis in range(rank) if axis not in axes]
    y = x if [*kept, *axes] == [*range(rank)] else place.call(aten.permute.default, x, [*kept, *axes])
    left = [1, *(sizes[axis] for axis in kept)]
    count = math.prod(sizes[axis] for axis in axes)
    y = place.call(aten.reshape.default, y, [math.prod(left[:-1]), left[-1], count, 1])
    y = place.call(aten.mean.dim, y, [2, 3], True)
    if is_sum:
        y = place.call(aten.mul.Tensor, y, float(count))
    return place.call(aten.reshape.default, y, list(_shape(node)))


def _with_numbers(place: _Place) -> fx.Node | None:
    """Arithmetic without integer constants, which become integer tensors, and without `alpha`."""
    node, other = place.node, place.given["other"]
    alpha = place.given.get("alpha", 1)
    if alpha == 1 and type(other) is not int:
        return None
    scaled = (
        place.call(aten.mul.Tensor, other, float(alpha))
        if isinstance(other, fx.Node)
        else float(other) * alpha
    )
    return place.call(node.target, place.given["self"], scaled)


def _subtracted(place: _Place) -> fx.Node:
    """`other - alpha * x`, whose constant becomes an integer that is converted at run time."""
    x, other, alpha = (place.given[name] for name in ("self", "other", "alpha"))
    if not isinstance(other, fx.Node):
        other = place.constant(torch.tensor([float(other)]))
    return place.call(
        aten.sub.Tensor, other, x if alpha == 1 else place.call(aten.mul.Tensor, x, float(alpha))
    )


def _clamped(place: _Place) -> fx.Node:
    """Hardsigmoid with floats: ExecuTorch decomposes it with integers, which are converted at run time."""
    shifted = place.call(aten.add.Tensor, place.given["self"], 3.0)
    return place.call(aten.div.Tensor, place.call(aten.clamp.default, shifted, 0.0, 6.0), 6.0)


def _gelu(place: _Place) -> fx.Node | None:
    """GELU approximated by tanh, for which XNNPACK would compute the exact one."""
    if place.given["approximate"] == "none":
        return None
    x = place.given["self"]
    cube = place.call(aten.mul.Tensor, place.call(aten.mul.Tensor, x, x), x)
    inner = place.call(aten.add.Tensor, x, place.call(aten.mul.Tensor, cube, 0.044715))
    tanh = place.call(aten.tanh.default, place.call(aten.mul.Tensor, inner, math.sqrt(2 / math.pi)))
    half = place.call(aten.mul.Tensor, x, 0.5)
    return place.call(aten.mul.Tensor, half, place.call(aten.add.Tensor, tanh, 1.0))


def _product(place: _Place) -> fx.Node | None:
    """A product with a constant matrix as a linear layer: ExecuTorch would expand the matrix at run time."""
    x, other = place.given["self"], place.given["other"]
    if other.op != "get_attr" or len(_shape(other)) != 2 or len(_shape(x)) < 2:
        return None
    matrix = operator.attrgetter(str(other.target))(place.graph)
    return place.call(aten.linear.default, x, place.constant(matrix.detach().T.contiguous()))


def _squared(place: _Place) -> fx.Node | None:
    exponent = place.given["exponent"]
    if type(exponent) is int or exponent != 2:
        return None
    return place.call(place.node.target, place.given["self"], 2)


_FORMS: dict[Any, Callable[[_Place], fx.Node | None]] = {
    aten.expand.default: _expanded,
    aten.upsample_nearest2d.vec: _enlarged,
    aten.mean.dim: _reduced,
    aten.sum.dim_IntList: _reduced,
    aten.add.Tensor: _with_numbers,
    aten.sub.Tensor: _with_numbers,
    aten.mul.Tensor: _with_numbers,
    aten.div.Tensor: _with_numbers,
    aten.rsub.Scalar: _subtracted,
    aten.rsub.Tensor: _subtracted,
    aten.matmul.default: _product,
    aten.pow.Tensor_Scalar: _squared,
    aten.gelu.default: _gelu,
    aten.hardsigmoid.default: _clamped,
}
"""Operator -> function that writes its replacement, `None` if it stays."""


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _is_float(node: fx.Node) -> bool:
    values = [node.meta.get("val"), *(source.meta.get("val") for source in node.all_input_nodes)]
    return all(isinstance(value, Tensor) and value.dtype is torch.float32 for value in values)
