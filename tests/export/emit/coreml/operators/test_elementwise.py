import numpy as np
import pytest
import torch
import torch.nn.functional as F

from export.emit.coreml.operators.elementwise import ELEMENTWISE
from tests.export.emit.coreml.operators.oracle import (
    check_against_coremltools,
    check_against_torch,
    floats,
    ids,
    ints,
    tensors,
)

X, Y = floats(2, 3, 4), floats(2, 3, 4)
PICTURE = floats(2, 3, 5, 6)
UNIT, POSITIVE = floats(2, 3, low=-0.9, high=0.9), floats(2, 3, low=0.2, high=3)
HALF, LARGE = np.float32(0.5), np.float32(0.8)

CASES = [
    *[(name, {"x": X}) for name in ("identity", "abs", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor")],
    *[
        (name, {"x": X})
        for name in ("round", "sign", "sin", "sinh", "square", "tan", "tanh", "relu", "sigmoid")
    ],
    *[(name, {"x": 4 * X}) for name in ("relu6", "softplus", "softsign", "gelu")],
    *[("gelu", {"x": X, "mode": mode}) for mode in ("TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")],
    *[(name, {"x": UNIT}) for name in ("acos", "asin", "atan", "atanh")],
    *[(name, {"x": POSITIVE}) for name in ("inverse", "log", "rsqrt", "sqrt")],
    ("rsqrt", {"x": POSITIVE, "epsilon": np.float32(0.1)}),
    ("logical_not", {"x": X > 0}),
    ("cast", {"x": X, "dtype": "fp32"}),
    ("threshold", {"x": X, "alpha": HALF}),
    ("clip", {"x": X, "alpha": np.float32(-1), "beta": HALF}),
    *[(name, {"x": X, "y": Y}) for name in ("add", "sub", "mul", "real_div", "floor_div", "mod", "maximum")],
    *[
        (name, {"x": X, "y": Y[:, :1]})
        for name in ("minimum", "less", "less_equal", "greater", "greater_equal")
    ],
    *[(name, {"x": ints(2, 3), "y": ints(2, 3)}) for name in ("equal", "not_equal")],
    *[(name, {"x": X > 0, "y": Y > 0}) for name in ("logical_and", "logical_or", "logical_xor")],
    ("pow", {"x": POSITIVE, "y": UNIT}),
    ("select", {"cond": X > 0, "a": X, "b": Y}),
    *[(name, {"x": X, "alpha": HALF}) for name in ("leaky_relu", "elu", "thresholded_relu")],
    *[(name, {"x": X, "alpha": HALF, "beta": LARGE}) for name in ("clamped_relu", "sigmoid_hard")],
    *[(name, {"x": X, "alpha": HALF, "beta": LARGE}) for name in ("scaled_tanh", "linear_activation")],
    ("prelu", {"x": PICTURE, "alpha": floats(3)}),
    ("softplus_parametric", {"x": PICTURE, "alpha": floats(3), "beta": floats(3)}),
]


@pytest.mark.parametrize(("name", "given"), CASES, ids=ids(CASES))
def test_it_gives_what_coremltools_evaluates(name, given):
    check_against_coremltools(name, given)


def test_silu():
    check_against_torch("silu", tensors(x=X), lambda given: F.silu(given["x"]))


def test_integers_stay_integers():
    given = tensors(x=[7, -7], y=[2, 2])
    assert ELEMENTWISE["floor_div"](given).tolist() == [3, -4]
    assert ELEMENTWISE["floor_div"](given).dtype == torch.int32


def test_every_operator_is_checked():
    assert set(ELEMENTWISE) == {case[0] for case in CASES} | {"silu"}
