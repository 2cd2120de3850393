import doctest
import itertools
import math

import numpy as np
import pytest

from export.emit.tflite import layout
from export.emit.tflite.layout import channels_last, identity, permuted, reshaped, same_memory, stored


def test_the_examples_in_the_module_hold():
    assert doctest.testmod(layout).failed == 0


def in_memory(array: np.ndarray, order: layout.Order) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(order))


@pytest.mark.parametrize("dims", [(1, 0, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)])
def test_a_permute_only_renames_axes(dims):
    x, order = np.arange(120).reshape(2, 3, 4, 5), channels_last(4)
    y = x.transpose(dims)
    assert (in_memory(y, permuted(order, dims)) == in_memory(x, order)).all()


@pytest.mark.parametrize(
    ("shape", "new_shape"),
    [
        ((4, 6, 2, 3), (1, 4, 6, 6)),
        ((1, 4, 6, 6), (4, 6, 2, 3)),
        ((1, 3, 4, 2, 2), (1, 3, 4, 4)),
        ((4, 6, 2, 3), (4, 36)),
        ((2, 6), (2, 2, 3)),
        ((4, 6), (6, 4)),
        ((1, 6, 1, 1), (1, 6)),
    ],
)
def test_a_free_reshape_has_the_same_bytes_and_only_a_free_one_is_found(shape, new_shape):
    x = np.arange(math.prod(shape)).reshape(shape)
    y = x.reshape(new_shape)
    for order in itertools.permutations(range(len(shape))):
        found = reshaped(shape, order, new_shape)
        flat = in_memory(x, order).ravel()
        if found is None:
            candidates = itertools.permutations(range(len(new_shape)))
            assert not any((in_memory(y, candidate).ravel() == flat).all() for candidate in candidates)
        else:
            assert (in_memory(y, found).ravel() == flat).all()
            assert stored(new_shape, found) == in_memory(y, found).shape


def test_axes_of_length_one_move_for_nothing():
    assert same_memory((1, 8, 1, 1), identity(4), channels_last(4))
    assert not same_memory((1, 8, 2, 1), identity(4), channels_last(4))
