"""A value `N C T H W` of the captured graph and the rank-4 tensors that represent it in the lowered graph."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import fx

from export.lower.writer import Writer

aten = torch.ops.aten

Form = Literal["frames", "plane"]
"""`frames` is the tensor (N*T, C, H, W), `plane` is (N, C, T, H*W)."""

HELD = "held"
"""Key of a lowered node's `meta`: the form and the shape `N C T H W` of its value."""

HELD_FROM = "held_from"
"""Key of a lowered node's `meta`: the node with the same value in the other form."""


def shape_in(form: Form, of: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Shape of the tensor for a value of shape `N C T H W` in `form`."""
    n, c, t, h, w = of
    return (n * t, c, h, w) if form == "frames" else (n, c, t, h * w)


class Volume:
    """A value of shape `N C T H W`; each form is written on first use, and then shared."""

    def __init__(
        self, writer: Writer, shape: tuple[int, int, int, int, int], form: Form, node: fx.Node
    ) -> None:
        self.shape = shape
        self._writer = writer
        self._forms: dict[Form, fx.Node] = {}
        self._hold(form, node)

    def _hold(self, form: Form, node: fx.Node) -> None:
        self._forms[form] = node
        node.meta.setdefault(HELD, (form, self.shape))

    @property
    def forms(self) -> tuple[Form, ...]:
        """The forms that already exist."""
        return tuple(self._forms)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def name(self) -> str:
        """Name of the node that represents this value."""
        return next(iter(self._forms.values())).name

    def __getitem__(self, form: Form) -> fx.Node:
        """The tensor in `form`: a reshape and a swap of the axes C and T from the other form."""
        if form not in self._forms:
            n, c, t, h, w = self.shape
            other: Form = "plane" if form == "frames" else "frames"
            node, name, writer = self._forms[other], self.name, self._writer
            if t == 1:
                node = writer.reshape(node, shape_in(form, self.shape), name=f"{name}_{form}")
            elif other == "plane":
                swapped = writer.permute(node, (0, 2, 1, 3), name=f"{name}_by_frame")
                node = writer.reshape(swapped, (n * t, c, h, w), name=f"{name}_frames")
            else:
                flat = writer.reshape(node, (n, t, c, h * w), name=f"{name}_flat")
                node = writer.permute(flat, (0, 2, 1, 3), name=f"{name}_plane")
            if node is not self._forms[other]:
                node.meta.setdefault(HELD_FROM, self._forms[other])
            self._hold(form, node)
        return self._forms[form]

    def in_form(self, form: Form, node: fx.Node, shape: tuple[int, ...] | None = None) -> Volume:
        """A new value held by `node` in `form`; shape `N C T H W` as this one's unless given."""
        shape = shape or self.shape
        assert len(shape) == 5
        volume = Volume(self._writer, shape, form, node)  # type: ignore[arg-type]
        assert tuple(node.meta["val"].shape) == shape_in(form, shape), (
            node,
            node.meta["val"].shape,
            shape,
            form,
        )
        return volume


class Padded(Volume):
    """A value with padding around T, H and W that is written only if its consumer is not a convolution."""

    def __init__(
        self,
        writer: Writer,
        inner: Volume,
        around: tuple[tuple[int, int], ...],
        value: float,
        *,
        name: str,
    ) -> None:
        n, c, *sizes = inner.shape
        t, h, w = (before + size + after for size, (before, after) in zip(sizes, around, strict=True))
        self.shape = (n, c, t, h, w)
        self.inner, self.around = inner, around
        self.is_zeros = value == 0
        """Whether the implicit padding of a convolution can replace this padding."""
        self._writer, self._value, self._name = writer, value, name
        self._forms = {}

    @property
    def forms(self) -> tuple[Form, ...]:
        """The available forms, or those of the inner value while the padding is not written."""
        return tuple(self._forms) or self.inner.forms

    @property
    def name(self) -> str:
        """Name of the padding operator."""
        return self._name

    def __getitem__(self, form: Form) -> fx.Node:
        """The padded tensor: rows and columns in frames, then time in the plane."""
        if not self._forms:
            (t0, t1), (h0, h1), (w0, w1) = self.around
            n, c, t, _, _ = self.inner.shape
            volume = self.inner
            if h0 or h1 or w0 or w1:
                amounts = [w0, w1, h0, h1]
                y = self._writer.call(
                    aten.constant_pad_nd.default, (volume["frames"], amounts, self._value), name=self._name
                )
                volume = volume.in_form("frames", y, (n, c, t, *self.shape[3:]))
            if t0 or t1:
                amounts = [0, 0, t0, t1]
                y = self._writer.call(
                    aten.constant_pad_nd.default,
                    (volume["plane"], amounts, self._value),
                    name=f"{self._name}_time",
                )
                volume = volume.in_form("plane", y, self.shape)
            self._forms = dict(volume._forms)
        return super().__getitem__(form)
