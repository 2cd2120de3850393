"""Pads depthwise convolutions with zero channels where ONNX Runtime's blocked kernels refuse their channel count.

A depthwise convolution of, say, 54 channels runs in a generic kernel, several times slower than one of 56. Where
all its channels come from dense convolutions and go into dense convolutions, these get zero weights for a few more
channels, which changes no output.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, fx

from export.lower.source import bind, shape

aten = torch.ops.aten

MULTIPLE = 8
"""Depthwise kernels of the blocked layout take multiples of this number of channels."""

ALONG = (
    aten.relu.default,
    aten.relu6.default,
    aten.hardtanh.default,
    aten.clamp.default,
    aten.sigmoid.default,
    aten.hardsigmoid.default,
    aten.tanh.default,
    aten.gelu.default,
    aten.add.Tensor,
    aten.mul.Tensor,
    aten.maximum.default,
    aten.mean.dim,
    aten.max_pool2d.default,
    aten.avg_pool2d.default,
    aten.adaptive_avg_pool2d.default,
    aten.upsample_nearest2d.default,
)
"""Operators on `1 C H W` whose channel c depends only on the channels c of their operands."""


def align_channels(graph_module: fx.GraphModule) -> None:
    """Widens every convolution that allows it, in place; shapes recorded in the graph are not updated."""
    groups = _Groups()
    for node in graph_module.graph.nodes:
        _enter(groups, node)
    for width, members in groups.to_widen():
        added = -width % MULTIPLE
        for node, dim in members:
            _widen(graph_module, node, dim, added)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


class _Groups:
    """Values with the same channels (union-find), and the constants with a matching dimension."""

    def __init__(self) -> None:
        self._parent: dict[Any, Any] = {}
        self._members: dict[Any, list[tuple[tuple[fx.Node, int], int]]] = defaultdict(list)
        self._fixed: set[Any] = set()
        self._depthwise: dict[Any, int] = {}

    def root(self, value: Any) -> Any:
        self._parent.setdefault(value, value)
        while self._parent[value] != value:
            value = self._parent[value]
        return value

    def join(self, a: Any, b: Any) -> None:
        """The channels of `a` and `b` are the same."""
        self._parent[self.root(a)] = self.root(b)

    def fix(self, value: Any) -> None:
        """The channels of `value` cannot be widened."""
        self._fixed.add(value)

    def needs(self, value: Any, reader: fx.Node, argument: int, dim: int) -> None:
        """If `value` is widened, dimension `dim` of the constant that `reader` takes as `argument` must be too."""
        self._members[value].append(((reader, argument), dim))

    def depthwise(self, value: Any, channels: int) -> None:
        """A depthwise convolution works on `value`."""
        self._depthwise[value] = channels

    def to_widen(self) -> list[tuple[int, list[tuple[tuple[fx.Node, int], int]]]]:
        """Channels and constants of each group with a depthwise convolution whose width the kernels refuse."""
        fixed = {self.root(value) for value in self._fixed}
        widths = {
            self.root(value): width
            for value, width in self._depthwise.items()
            if width % MULTIPLE and width > MULTIPLE
        }
        members: dict[Any, list[tuple[tuple[fx.Node, int], int]]] = defaultdict(list)
        for value, listed in self._members.items():
            members[self.root(value)] += listed
        return [(width, members[root]) for root, width in widths.items() if root not in fixed]


def _enter(groups: _Groups, node: fx.Node) -> None:
    """Records which channels `node` reads and writes."""
    if node.op == "get_attr":
        return
    if node.target is aten.conv2d.default and _enter_convolution(groups, node):
        return
    operands = node.all_input_nodes
    if node.target in ALONG and len(shape(node)) == 4 and not _is_mean_over_channels(node):
        for position, operand in enumerate(node.args):
            if isinstance(operand, fx.Node):
                _enter_operand(groups, node, operand, position)
        return
    if _joins_along_other_axes(node):
        for operand in operands:
            groups.join(node, operand)
        return
    groups.fix(node)
    for operand in operands:
        groups.fix(operand)


def _enter_operand(groups: _Groups, node: fx.Node, operand: fx.Node, position: int) -> None:
    """Records that channel c of `node` depends on channel c of `operand`, or on its only channel, which stays."""
    sizes = shape(operand)
    if len(sizes) not in (0, 4):
        groups.fix(node)
        groups.fix(operand)
    elif not sizes or sizes[1] != shape(node)[1]:
        return
    elif operand.op == "get_attr":
        groups.needs(node, node, position, 1)
    else:
        groups.join(node, operand)


def _is_mean_over_channels(node: fx.Node) -> bool:
    """Whether `node` is a mean that additional channels would change."""
    if node.target is not aten.mean.dim:
        return False
    dims = bind(node, node.args, node.kwargs)["dim"]
    return not dims or any(dim % 4 == 1 for dim in dims)


def _joins_along_other_axes(node: fx.Node) -> bool:
    """Whether `node` concatenates computed values of rank 4 along an axis other than the channels."""
    if node.target is not aten.cat.default or len(shape(node)) != 4:
        return False
    along = bind(node, node.args, node.kwargs)["dim"] % 4
    return along != 1 and all(operand.op != "get_attr" for operand in node.all_input_nodes)


def _enter_convolution(groups: _Groups, node: fx.Node) -> bool:
    """Whether `node` is a dense or a depthwise convolution with constant weights."""
    args = bind(node, node.args, node.kwargs)
    x, weight, bias, count = args["input"], args["weight"], args["bias"], args["groups"]
    if x.op == "get_attr" or weight.op != "get_attr" or (bias is not None and bias.op != "get_attr"):
        return False
    outputs, inputs = shape(weight)[:2]
    if count == outputs and inputs == 1 and count > 1:
        groups.join(node, x)
        groups.depthwise(node, outputs)
    elif count == 1:
        groups.needs(x, node, 1, 1)
    else:
        return False
    groups.needs(node, node, 1, 0)
    if bias is not None:
        groups.needs(node, node, 2, 0)
    return True


def _widen(module: fx.GraphModule, member: tuple[fx.Node, int], dim: int, added: int) -> None:
    """Appends `added` zeros along `dim` of a constant; equal requests share the result."""
    reader, argument = member
    old: Any = reader.args[argument]
    name = f"{old.target}_wide{dim}"
    if not hasattr(module, name):
        tensor: Tensor = operator.attrgetter(str(old.target))(module)
        zeros = tensor.new_zeros([added if d == dim else size for d, size in enumerate(tensor.shape)])
        module.register_buffer(name, torch.cat([tensor.detach(), zeros], dim))
    with module.graph.inserting_before(old):
        new = module.graph.get_attr(name)
    new.meta = dict(old.meta)
    reader.update_arg(argument, new)
    if reader.target is aten.conv2d.default and argument == 1 and dim == 0:
        count = bind(reader, reader.args, reader.kwargs)["groups"]
        if count > 1:
            reader.args = (*reader.args[:6], count + added)
