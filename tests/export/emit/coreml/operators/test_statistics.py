import numpy as np
import pytest
import torch.nn.functional as F

from export.emit.coreml.operators.statistics import STATISTICS
from tests.export.emit.coreml.operators.oracle import (
    check_against_coremltools,
    check_against_torch,
    floats,
    ids,
    tensors,
)

X, PICTURE, HALF = floats(2, 3, 4), floats(2, 3, 5, 6), np.float32(0.5)

AGAINST_COREMLTOOLS = [
    *[
        (f"reduce_{kind}", {"x": np.abs(X) + 0.1, "axes": axes, "keep_dims": keep})
        for kind in ("sum", "mean", "max", "min", "prod", "l1_norm", "l2_norm", "sum_square", "log_sum")
        for axes, keep in (([-1, 0], True), ([1], False))
    ],
    ("reduce_sum", {"x": X}),
    ("reduce_log_sum_exp", {"x": X, "axes": [1], "keep_dims": True}),
    ("reduce_argmax", {"x": X, "axis": 1, "keep_dims": False}),
    ("reduce_argmin", {"x": X, "axis": -1, "keep_dims": True}),
    ("softmax", {"x": X, "axis": 1}),
    ("cumsum", {"x": X, "axis": 1}),
    ("cumsum", {"x": X, "axis": 1, "reverse": True}),
    ("layer_norm", {"x": X, "axes": [1, 2], "gamma": floats(3, 4), "beta": floats(3, 4)}),
    ("layer_norm", {"x": X, "axes": [-1], "epsilon": HALF}),
    ("l2_norm", {"x": PICTURE}),
]

AGAINST_TORCH = [
    (
        "batch_norm",
        tensors(x=PICTURE, mean=floats(3), variance=floats(3, low=0.5), gamma=floats(3), beta=floats(3)),
        lambda given: F.batch_norm(*(given[name] for name in ("x", "mean", "variance", "gamma", "beta"))),
    ),
    (
        "instance_norm",
        tensors(x=PICTURE, gamma=floats(3), beta=floats(3)),
        lambda given: F.instance_norm(given["x"], weight=given["gamma"], bias=given["beta"]),
    ),
    (
        "local_response_norm",
        tensors(x=PICTURE, size=2, alpha=HALF, beta=HALF, k=HALF),
        lambda given: F.local_response_norm(given["x"], 2, 0.5, 0.5, 0.5),
    ),
    (
        "cumsum",
        tensors(x=X, axis=2, exclusive=True),
        lambda given: F.pad(given["x"].cumsum(2)[..., :-1], (1, 0)),
    ),
]


@pytest.mark.parametrize(("name", "given"), AGAINST_COREMLTOOLS, ids=ids(AGAINST_COREMLTOOLS))
def test_it_gives_what_coremltools_evaluates(name, given):
    check_against_coremltools(name, given)


@pytest.mark.parametrize(("name", "given", "wanted"), AGAINST_TORCH, ids=ids(AGAINST_TORCH))
def test_it_gives_what_torch_gives(name, given, wanted):
    check_against_torch(name, given, wanted)


def test_every_operator_is_checked():
    assert set(STATISTICS) == {case[0] for case in (*AGAINST_COREMLTOOLS, *AGAINST_TORCH)}
