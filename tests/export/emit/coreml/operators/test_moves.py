import numpy as np
import pytest
import torch
import torch.nn.functional as F

from export.emit.coreml.operators.data_movement import MOVES
from tests.export.emit.coreml.operators.oracle import (
    check_against_coremltools,
    check_against_torch,
    floats,
    ids,
    ints,
    tensors,
)

X, Y = floats(2, 3, 4), floats(2, 3, 4)
PICTURE, HALF = floats(2, 3, 5, 6), np.float32(0.5)

AGAINST_COREMLTOOLS = [
    ("reshape", {"x": X, "shape": [4, -1]}),
    ("reshape", {"x": X[0], "shape": [1, 0, -1, 0]}),
    ("expand_dims", {"x": X, "axes": [0, -1]}),
    ("squeeze", {"x": X[:1, :, :1], "axes": [0, -1]}),
    ("transpose", {"x": X, "perm": [2, 0, 1]}),
    ("flatten2d", {"x": PICTURE, "axis": 2}),
    ("shape", {"x": X}),
    ("slice_by_index", {"x": X, "begin": [1, 0, 0], "end": [2, 3, -1], "stride": [1, 2, 1]}),
    (
        "slice_by_index",
        {
            "x": X,
            "begin": [0, 1, 3],
            "end": [0, 0, 0],
            "stride": [1, 1, -1],
            "begin_mask": [True, False, True],
            "end_mask": [True, False, True],
            "squeeze_mask": [False, True, False],
        },
    ),
    ("slice_by_size", {"x": X, "begin": [0, 1, -2], "size": [-1, 2, 2]}),
    ("slice_update", {"x": X, "update": floats(1, 3, 4), "begin": [1, 0, 0], "end": [2, 3, 4]}),
    ("reverse", {"x": X, "axes": [0, 2]}),
    ("concat", {"values": (X, Y), "axis": 1}),
    ("stack", {"values": (X, Y), "axis": 1}),
    ("split", {"x": X, "num_splits": 2, "axis": 2}),
    ("split", {"x": X, "split_sizes": [1, 3], "axis": 2}),
    ("tile", {"x": X, "reps": [1, 2, 3]}),
    ("pad", {"x": X, "pad": [0, 1, 2, 0], "constant_val": HALF}),
    *[("pad", {"x": X, "pad": [1, 2, 1, 1], "mode": mode}) for mode in ("reflect", "replicate")],
    ("fill", {"shape": [2, 3], "value": HALF}),
    ("fill_like", {"ref_tensor": X, "value": HALF}),
    ("range_1d", {"start": 1, "end": 9, "step": 3}),
    ("band_part", {"x": floats(2, 4, 5), "lower": 1, "upper": 2}),
    ("band_part", {"x": floats(2, 4, 5), "lower": -1, "upper": 0}),
    ("non_zero", {"x": ints(3, 4, high=2)}),
    ("argsort", {"x": X, "axis": 1}),
    ("topk", {"x": X, "k": 2, "axis": 2}),
    ("topk", {"x": X, "k": 1, "axis": 1, "ascending": True}),
]

AGAINST_TORCH = [
    (
        "crop",
        tensors(x=PICTURE, crop_height=[1, 2], crop_width=[0, 3]),
        lambda given: given["x"][..., 1:3, :3],
    ),
    (
        "concat",
        {**tensors(axis=1, interleave=True), "values": (torch.tensor(X), torch.tensor(Y))},
        lambda given: torch.stack(given["values"], 2).reshape(2, 6, 4),
    ),
    (
        "sliding_windows",
        tensors(x=X, axis=2, size=2, stride=2),
        lambda given: torch.stack([given["x"][..., :2], given["x"][..., 2:]], 2),
    ),
    (
        "one_hot",
        tensors(indices=[2, 0], one_hot_vector_size=3),
        lambda given: F.one_hot(given["indices"].long(), 3),
    ),
    (
        "reverse_sequence",
        tensors(x=X, lengths=[2, 4], seq_axis=2, batch_axis=0),
        lambda given: torch.stack([given["x"][0][:, [1, 0, 2, 3]], given["x"][1][:, [3, 2, 1, 0]]]),
    ),
    (
        "pixel_shuffle",
        tensors(x=floats(1, 8, 2, 3), upscale_factor=2),
        lambda given: F.pixel_shuffle(given["x"], 2),
    ),
    (
        "pixel_unshuffle",
        tensors(x=floats(1, 2, 4, 6), downscale_factor=2),
        lambda given: F.pixel_unshuffle(given["x"], 2),
    ),
    # As tf.nn.space_to_depth and depth_to_space in NCHW: channel `position in the block * channels + channel`.
    (
        "space_to_depth",
        tensors(x=floats(1, 2, 4, 6), block_size=2),
        lambda given: torch.cat([given["x"][..., r::2, c::2] for r in (0, 1) for c in (0, 1)], 1),
    ),
    (
        "depth_to_space",
        tensors(x=floats(1, 8, 2, 3), block_size=2),
        lambda given: F.pixel_shuffle(given["x"].unflatten(1, (4, 2)).transpose(1, 2).flatten(1, 2), 2),
    ),
]


@pytest.mark.parametrize(("name", "given"), AGAINST_COREMLTOOLS, ids=ids(AGAINST_COREMLTOOLS))
def test_it_gives_what_coremltools_evaluates(name, given):
    check_against_coremltools(name, given)


@pytest.mark.parametrize(("name", "given", "wanted"), AGAINST_TORCH, ids=ids(AGAINST_TORCH))
def test_it_gives_what_torch_gives(name, given, wanted):
    check_against_torch(name, given, wanted)


def test_every_operator_is_checked():
    assert set(MOVES) == {case[0] for case in (*AGAINST_COREMLTOOLS, *AGAINST_TORCH)}
