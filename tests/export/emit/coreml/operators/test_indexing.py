import pytest
import torch

from export.emit.coreml.operators.indexing import INDEXING
from tests.export.emit.coreml.operators.oracle import (
    check_against_coremltools,
    check_against_torch,
    floats,
    ids,
    ints,
    tensors,
)

X = floats(2, 3, 4)
ALONG = {"data": X, "indices": ints(2, 1, 4, high=3), "updates": floats(2, 1, 4), "axis": 1, "mode": "update"}
MODES = {"update": (2, 4), "add": (10, 12), "sub": (6, 4), "mul": (16, 32), "div": (4, 2), "max": (8, 8)}

AGAINST_COREMLTOOLS = [
    ("gather", {"x": X, "indices": ints(2, 2, high=3), "axis": 1}),
    ("gather", {"x": X, "indices": ints(2, 2, high=4), "axis": 2, "batch_dims": 1}),
    ("gather_along_axis", {"x": X, "indices": ints(2, 3, 2, high=4), "axis": 2}),
    ("scatter_along_axis", ALONG),
]

AGAINST_TORCH = [
    (
        "gather_nd",
        tensors(x=X, indices=[[[0, 1], [1, 2]]]),
        lambda given: torch.stack([given["x"][0, 1], given["x"][1, 2]])[None],
    ),
    (
        "gather_nd",
        tensors(x=X, indices=[[[2]], [[0]]], batch_dims=1),
        lambda given: torch.stack([given["x"][0, 2:], given["x"][1, :1]]),
    ),
    # The example of MIL's own documentation.
    (
        "scatter",
        tensors(data=[[1.0, 2, 3], [4, 5, 6]], indices=[1, 0], updates=[[5.0, 6, 7], [8, 9, 10]], mode="add"),
        lambda given: torch.tensor([[9.0, 11, 13], [9, 11, 13]]),
    ),
    *[
        (
            "scatter_nd",
            tensors(data=[[8.0, 8], [8, 8]], indices=[[0, 1], [1, 0]], updates=[2.0, 4.0], mode=mode),
            lambda given, results=results: torch.tensor([[8.0, results[0]], [results[1], 8.0]]),
        )
        for mode, results in MODES.items()
    ],
]


@pytest.mark.parametrize(("name", "given"), AGAINST_COREMLTOOLS, ids=ids(AGAINST_COREMLTOOLS))
def test_it_gives_what_coremltools_evaluates(name, given):
    check_against_coremltools(name, given)


@pytest.mark.parametrize(("name", "given", "wanted"), AGAINST_TORCH, ids=ids(AGAINST_TORCH))
def test_it_gives_what_torch_gives(name, given, wanted):
    check_against_torch(name, given, wanted)


def test_an_index_that_a_device_leaves_undefined_is_an_error():
    with pytest.raises(IndexError, match="out of"):
        INDEXING["gather"](tensors(x=X, indices=[-1], axis=0))


def test_every_operator_is_checked():
    assert set(INDEXING) == {case[0] for case in (*AGAINST_COREMLTOOLS, *AGAINST_TORCH)}
