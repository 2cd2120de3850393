"""Axis orders: how torch's `T C H W` is stored in memory as `T H W C`, and which operations are then free.

An order lists, for each axis in memory, its torch axis: `T C H W` stored as `T H W C` has the order
(0, 2, 3, 1). A torch permute only renames axes, so it only changes the order. A torch reshape is free if
every new axis consists of old axes (or factors of one) that are adjacent in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

Order = tuple[int, ...]


def identity(rank: int) -> Order:
    """The order of a value stored as in torch."""
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """Axis 1 moved to the end, LiteRT's order for images: (0, 2, 3, 1) for rank 4.

    >>> channels_last(4)
    (0, 2, 3, 1)
    """
    return (0, *range(2, rank), 1) if rank > 2 else identity(rank)


def permuted(order: Order, dims: Sequence[int]) -> Order:
    """The order of `x.permute(dims)` if `x` has `order`: memory does not move.

    >>> permuted((0, 2, 3, 1), (1, 0, 2, 3))
    (1, 2, 3, 0)
    """
    return tuple(list(dims).index(axis) for axis in order)


def stored(shape: Sequence[int], order: Order) -> tuple[int, ...]:
    """The shape in memory of a value of torch shape `shape`."""
    return tuple(shape[axis] for axis in order)


def same_memory(shape: Sequence[int], one: Order, other: Order) -> bool:
    """Whether two orders of one value are the same bytes: they differ only in axes of length 1."""
    return [a for a in one if shape[a] != 1] == [a for a in other if shape[a] != 1]


def reshaped(shape: Sequence[int], order: Order, new_shape: Sequence[int]) -> Order | None:
    """The order of `x.reshape(new_shape)` over the same bytes, or None if the bytes would have to move.

    >>> reshaped((4, 16, 8, 8), (0, 2, 3, 1), (1, 4, 16, 64))     # T C H W -> 1 T C HW, stored 1 T HW C
    (0, 1, 3, 2)
    >>> reshaped((4, 16, 8, 8), (0, 2, 3, 1), (4, 1024)) is None  # C and H are not adjacent in memory
    True
    """
    parts = _common_parts(shape, new_shape)
    if parts is None:
        as_torch = same_memory(shape, order, identity(len(order)))
        return identity(len(new_shape)) if as_torch else None
    in_memory = [part for axis in order for part in range(len(parts)) if parts[part][0] == axis]
    axes = list(dict.fromkeys(parts[part][1] for part in in_memory))
    if in_memory != [part for axis in axes for part in range(len(parts)) if parts[part][1] == axis]:
        return None
    return _with_ones(axes, new_shape)


def _common_parts(shape: Sequence[int], new_shape: Sequence[int]) -> list[tuple[int, int]] | None:
    """(old axis, new axis) of each factor, outermost first, if both shapes group the same finer axes."""
    old = [(axis, size) for axis, size in enumerate(shape) if size != 1]
    new = [(axis, size) for axis, size in enumerate(new_shape) if size != 1]
    parts = []
    while old and new:
        (old_axis, old_size), (new_axis, new_size) = old.pop(), new.pop()
        parts.append((old_axis, new_axis))
        if old_size % new_size and new_size % old_size:
            return None
        if old_size > new_size:
            old.append((old_axis, old_size // new_size))
        elif new_size > old_size:
            new.append((new_axis, new_size // old_size))
    return parts[::-1]


def _with_ones(axes: list[int], shape: Sequence[int]) -> Order:
    """`axes` in memory order, completed by the axes of length 1, which may be anywhere."""
    for order in (channels_last(len(shape)), identity(len(shape))):
        if [axis for axis in order if shape[axis] != 1] == axes:
            return order
    order_found = list(axes)
    for axis, size in enumerate(shape):
        if size == 1:
            order_found.insert(order_found.index(axis - 1) + 1 if axis else 0, axis)
    return tuple(order_found)
