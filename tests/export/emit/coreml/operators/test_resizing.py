import math

import pytest
import torch
import torch.nn.functional as F

from export.emit.coreml.operators.resizing import RESIZING
from tests.export.emit.coreml.operators.oracle import check_against_torch, floats, ids, tensors

X = floats(2, 3, 5, 6)


def resized(height, width, corners=None):
    """Nearest neighbours, or bilinear if `corners` specifies whether they are aligned."""
    mode = "nearest" if corners is None else "bilinear"
    return lambda given: F.interpolate(given["x"], (height, width), mode=mode, align_corners=corners)


def sampled(*, corners, border=False):
    """Bilinear samples at coordinates -1..1, one by one, from the formula of MIL's documentation."""

    def sample(given):
        x, coordinates = given["x"], given["coordinates"]
        batch, channels, height, width = x.shape
        result = torch.zeros(batch, channels, *coordinates.shape[1:3])
        for n in range(batch):
            for i in range(coordinates.shape[1]):
                for j in range(coordinates.shape[2]):
                    across, down = (
                        (float(at) + 1) / 2 * (size - 1) if corners else ((float(at) + 1) * size - 1) / 2
                        for at, size in zip(coordinates[n, i, j], (width, height), strict=True)
                    )
                    if border:
                        across, down = min(max(across, 0), width - 1), min(max(down, 0), height - 1)
                    left, top = math.floor(across), math.floor(down)
                    for column in (left, left + 1):
                        for row in (top, top + 1):
                            weight = (1 - abs(across - column)) * (1 - abs(down - row))
                            if 0 <= column < width and 0 <= row < height:
                                result[n, :, i, j] += weight * x[n, :, row, column]
        return result

    return sample


PLACES = {
    "x": X,
    "coordinates": floats(2, 4, 3, 2, low=-1.4, high=1.4),
    "sampling_mode": "bilinear",
    "coordinates_mode": "normalized_minus_one_to_one",
}

SIZE = {"x": X, "target_size_height": 3, "target_size_width": 9}

CASES = [
    ("upsample_nearest_neighbor", tensors(x=X, scale_factor_height=2, scale_factor_width=3), resized(10, 18)),
    ("resize_nearest_neighbor", tensors(x=X, target_size_height=3, target_size_width=4), resized(3, 4)),
    *[
        (
            "upsample_bilinear",
            tensors(x=X, scale_factor_height=2.0, scale_factor_width=1.5, align_corners=corners),
            resized(10, 9, corners),
        )
        for corners in (False, True)
    ],
    ("resize_bilinear", tensors(**SIZE, sampling_mode="UNALIGN_CORNERS"), resized(3, 9, False)),
    ("resize_bilinear", tensors(**SIZE, sampling_mode="STRICT_ALIGN_CORNERS"), resized(3, 9, True)),
    ("resize_bilinear", tensors(**SIZE, sampling_mode="ALIGN_CORNERS"), resized(3, 9, True)),
    (
        "resize",
        tensors(x=X, shape=[7, 0], resized_dims=2, sampling_mode="UNALIGN_CORNERS"),
        resized(7, 6, False),
    ),
    (
        "resize",
        tensors(x=X, shape=[12], resized_dims=1, interpolation_mode="NEAREST_NEIGHBOR"),
        resized(5, 12),
    ),
    *[
        (
            "resample",
            tensors(**PLACES, padding_mode=padding, padding_value=0.0, align_corners=corners),
            sampled(corners=corners, border=padding == "border"),
        )
        for padding in ("constant", "border")
        for corners in (False, True)
    ],
]


@pytest.mark.parametrize(("name", "given", "wanted"), CASES, ids=ids(CASES))
def test_it_gives_what_torch_gives(name, given, wanted):
    check_against_torch(name, given, wanted)


@pytest.mark.parametrize(
    ("mode", "points"),
    [("DEFAULT", [0, 0.4, 0.8, 1, 1]), ("OFFSET_CORNERS", [0.1, 0.3, 0.5, 0.7, 0.9])],
)
def test_grids_without_a_twin_in_torch_are_those_of_mils_documentation(mode, points):
    ramp = tensors(x=[[[0.0, 1.0]]], target_size_height=1, target_size_width=5, sampling_mode=mode)
    torch.testing.assert_close(
        RESIZING["resize_bilinear"](ramp)[0, 0], torch.tensor(points, dtype=torch.float32)
    )


def test_more_than_two_axes_are_refused():
    with pytest.raises(NotImplementedError, match="resize of 3 axes"):
        RESIZING["resize"](tensors(x=X, shape=[3, 7, 0], resized_dims=3))


def test_every_operator_is_checked():
    assert set(RESIZING) == {case[0] for case in CASES}
