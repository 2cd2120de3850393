import pytest
import torch.nn.functional as F

from export.emit.coreml.operators.windows import WINDOWS
from tests.export.emit.coreml.operators.oracle import check_against_torch, floats, ids, tensors

X, WEIGHT, DEPTHWISE = floats(2, 3, 5, 6), floats(4, 3, 3, 2), floats(6, 1, 3, 3)
POOL = {"x": X, "kernel_sizes": [3, 2], "strides": [2, 2]}

CASES = [
    (
        "conv",
        tensors(x=X, weight=WEIGHT, bias=floats(4), strides=[2, 1], pad_type="custom", pad=[1, 1, 0, 0]),
        lambda given: F.conv2d(given["x"], given["weight"], given["bias"], (2, 1), (1, 0)),
    ),
    (
        "conv",
        tensors(x=X, weight=WEIGHT, pad_type="custom", pad=[0, 2, 1, 0], dilations=[2, 1]),
        lambda given: F.conv2d(F.pad(given["x"], (1, 0, 0, 2)), given["weight"], dilation=(2, 1)),
    ),
    (
        "conv",
        tensors(x=X, weight=WEIGHT, pad_type="same"),
        lambda given: F.conv2d(given["x"], given["weight"], padding="same"),
    ),
    (
        "conv",
        tensors(x=X[:, :, :4], weight=floats(4, 3, 3, 2), pad_type="same_lower", strides=[2, 1]),
        lambda given: F.conv2d(F.pad(given["x"], (1, 0, 1, 0)), given["weight"], stride=(2, 1)),
    ),
    (
        "conv",
        tensors(x=X, weight=DEPTHWISE, groups=3, pad_type="valid"),
        lambda given: F.conv2d(given["x"], given["weight"], groups=3),
    ),
    (
        "conv",
        tensors(x=floats(1, 2, 3, 4, 5), weight=floats(4, 2, 2, 2, 2), strides=[1, 2, 2]),
        lambda given: F.conv3d(given["x"], given["weight"], stride=(1, 2, 2)),
    ),
    (
        "conv_transpose",
        tensors(
            x=X,
            weight=WEIGHT[:3],
            strides=[2, 2],
            pad_type="custom",
            pad=[1, 1, 0, 0],
            output_shape=[2, 3, 10, 12],
        ),
        lambda given: F.conv_transpose2d(
            given["x"], given["weight"], stride=2, padding=(1, 0), output_padding=(1, 0)
        ),
    ),
    (
        "conv_transpose",
        tensors(x=X, weight=floats(3, 2, 3, 3), bias=floats(6), groups=3, dilations=[2, 1]),
        lambda given: F.conv_transpose2d(
            given["x"], given["weight"], given["bias"], groups=3, dilation=(2, 1)
        ),
    ),
    (
        "conv_transpose",
        tensors(x=X, weight=WEIGHT[:3], strides=[3, 3], pad_type="same"),
        lambda given: F.pad(F.conv_transpose2d(given["x"], given["weight"], stride=3), (0, 1)),
    ),
    (
        "max_pool",
        tensors(**POOL, pad_type="custom", pad=[1, 1, 0, 0]),
        lambda given: F.max_pool2d(given["x"], (3, 2), 2, (1, 0)),
    ),
    (
        "max_pool",
        tensors(x=X, kernel_sizes=[2, 3], strides=[2, 2], pad_type="valid", ceil_mode=True),
        lambda given: F.max_pool2d(given["x"], (2, 3), 2, ceil_mode=True),
    ),
    *[
        (
            "avg_pool",
            tensors(
                **POOL,
                pad_type="custom",
                pad=[1, 1, 1, 1],
                ceil_mode=True,
                exclude_padding_from_average=exclude,
            ),
            lambda given, exclude=exclude: F.avg_pool2d(
                given["x"], (3, 2), 2, 1, ceil_mode=True, count_include_pad=not exclude
            ),
        )
        for exclude in (False, True)
    ],
    ("l2_pool", tensors(**POOL, pad_type="valid"), lambda given: F.lp_pool2d(given["x"], 2, (3, 2), 2)),
]


@pytest.mark.parametrize(("name", "given", "wanted"), CASES, ids=ids(CASES))
def test_it_gives_what_torch_gives(name, given, wanted):
    check_against_torch(name, given, wanted)


def test_every_operator_is_checked():
    assert set(WINDOWS) == {case[0] for case in CASES}
