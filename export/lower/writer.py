"""Builds the lowered graph: nodes with shapes, weights by name, and the place in the user's source."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

aten = torch.ops.aten


class Writer:
    """Appends operators to a new graph and infers the shape of every result."""

    def __init__(self, fake_mode: Any) -> None:
        self.graph = fx.Graph()
        self.root = nn.Module()
        self.source: fx.Node | None = None
        """The captured node that is being lowered; new nodes inherit its place in the user's source."""
        self._fake_mode = fake_mode
        self._stored: dict[tuple[int, bool], tuple[Tensor, fx.Node]] = {}

    def input(self, placeholder: fx.Node) -> fx.Node:
        """An input with the name and shape of the captured graph's `placeholder`."""
        node = self.graph.placeholder(placeholder.name)
        node.meta["val"] = placeholder.meta["val"]
        return node

    def call(
        self,
        target: Any,
        args: Sequence[Any],
        *,
        name: str,
        kwargs: dict[str, Any] | None = None,
    ) -> fx.Node:
        """One operator; tensors among `args` are stored as constants of the graph."""
        stored: Any = map_aggregate(
            tuple(args), lambda a: self.constant(a, name=f"{name}_constant") if isinstance(a, Tensor) else a
        )
        node = self.graph.create_node("call_function", target, stored, kwargs or {}, name=name)
        values = fx.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
        with self._fake_mode, torch.no_grad():
            node.meta["val"] = target(*values[0], **values[1])
        if self.source is not None:
            for key in ("stack_trace", "nn_module_stack"):
                if key in self.source.meta:
                    node.meta[key] = self.source.meta[key]
        return node

    def weight(self, tensor: Tensor, *, name: str) -> fx.Node:
        """A trainable tensor of the lowered network; the same tensor is stored once."""
        return self._store(tensor, name, trainable=tensor.is_floating_point())

    def constant(self, tensor: Tensor, *, name: str) -> fx.Node:
        """A tensor that is not trained, unless it was a parameter of the user's network."""
        return self._store(tensor, name, trainable=isinstance(tensor, nn.Parameter) and tensor.requires_grad)

    def _store(self, tensor: Tensor, name: str, *, trainable: bool) -> fx.Node:
        known = self._stored.get((id(tensor), trainable))
        if known is not None:
            return known[1]
        name = name.replace(".", "_")
        while hasattr(self.root, name):
            name += "_"
        value = tensor.detach().clone()
        if trainable:
            self.root.register_parameter(name, nn.Parameter(value))
        else:
            self.root.register_buffer(name, value)
        first_call = self._first_call()
        with nullcontext() if first_call is None else self.graph.inserting_before(first_call):
            node = self.graph.create_node("get_attr", name, name=name)
        node.meta["val"] = self._fake_mode.from_tensor(getattr(self.root, name), static_shapes=True)
        self._stored[(id(tensor), trainable)] = (tensor, node)  # keeps the tensor, and so its id, alive
        return node

    def _first_call(self) -> fx.Node | None:
        for node in self.graph.nodes:
            if node.op not in ("placeholder", "get_attr"):
                return node
        return None

    def reshape(self, node: fx.Node, shape: Sequence[int], *, name: str) -> fx.Node:
        """`node` with another shape; consecutive reshapes are merged, a reshape to the same shape is omitted."""
        while node.target is aten.reshape.default:
            node = node.args[0]  # type: ignore[assignment]
        if tuple(node.meta["val"].shape) == tuple(shape):
            return node
        return self.call(aten.reshape.default, (node, list(shape)), name=name)

    def permute(self, node: fx.Node, order: Sequence[int], *, name: str) -> fx.Node:
        """`node` with its axes in another order."""
        return self.call(aten.permute.default, (node, list(order)), name=name)
