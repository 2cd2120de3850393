import numpy as np
import pytest

from export.emit.coreml.operators.compressed import COMPRESSED
from tests.export.emit.coreml.operators.oracle import check_against_coremltools, floats, ints, packed, target

SPARSE = np.array([[0, 1.5, 0, 2], [3, 0, 0, 0], [0, 0, 4, 5]], np.float32)
MASK = (SPARSE != 0).astype(np.uint8)
PACKED_INDICES = np.packbits(np.array([0, 0, 1, 0, 0, 1, 1, 1, 0, 1], np.uint8), bitorder="little")
INT8 = ints(4, 6, high=200).astype(np.int8)

CASES = [
    (
        "quantize",
        {"input": floats(2, 3, high=90), "scale": np.float32(0.5), "zero_point": np.int8(3)},
        "int8",
    ),
    ("quantize", {"input": floats(2, 3), "scale": floats(3, low=0.1), "axis": 1}, "uint8"),
    ("dequantize", {"input": INT8, "scale": np.float32(0.5), "zero_point": np.int8(3)}, None),
    ("constexpr_cast", {"source_val": floats(2, 3).astype(np.float16), "output_dtype": "fp32"}, None),
    (
        "constexpr_blockwise_shift_scale",
        {"data": INT8, "scale": floats(4, 2), "offset": ints(4, 2).astype(np.int8)},
        None,
    ),
    ("constexpr_lut_to_dense", {"indices": packed(ints(4, 6), "uint2"), "lut": floats(2, 1, 4, 1)}, None),
    (
        "constexpr_lut_to_dense",
        {"indices": packed(ints(4, 3), "uint2"), "lut": floats(2, 3, 4, 2), "vector_axis": 1},
        None,
    ),
    (
        "constexpr_sparse_to_dense",
        {"nonzero_data": SPARSE[MASK != 0], "mask": packed(MASK, "uint1")},
        None,
    ),
    (
        "constexpr_lut_to_sparse",
        {
            "indices_mask": packed(MASK, "uint1"),
            "indices_nonzero_data": packed(ints(MASK.sum()), "uint2"),
            "lut": floats(1, 1, 4, 1),
        },
        None,
    ),
    (
        "constexpr_sparse_blockwise_shift_scale",
        {
            "data_mask": packed(MASK, "uint1"),
            "nonzero_data": INT8.flatten()[: MASK.sum()],
            "scale": floats(3, 1),
        },
        None,
    ),
]
"""Operator, its constants, and the type of its result if one of them specifies it."""

OF_IOS_17 = [
    (
        "constexpr_affine_dequantize",
        {"quantized_data": INT8, "zero_point": np.int8(1), "scale": floats(6), "axis": 1},
    ),
    (
        "constexpr_lut_to_dense",
        {"indices": PACKED_INDICES, "lut": floats(4), "shape": np.array([5], np.uint32)},
    ),
    (
        "constexpr_sparse_to_dense",
        {
            "nonzero_data": SPARSE[MASK != 0],
            "mask": np.packbits(MASK, bitorder="little"),
            "shape": np.array([3, 4], np.uint32),
        },
    ),
]
"""Older forms, which the opset of iOS 17 has: sub-byte numbers packed into bytes."""


@pytest.mark.parametrize(("name", "given", "kind"), CASES, ids=[case[0] for case in CASES])
def test_it_gives_what_coremltools_evaluates(name, given, kind):
    check_against_coremltools(name, given if kind is None else {**given, "output_dtype": kind})


@pytest.mark.parametrize(("name", "given"), OF_IOS_17, ids=[case[0] for case in OF_IOS_17])
def test_older_forms_give_what_coremltools_evaluates(name, given):
    check_against_coremltools(name, given, target.iOS17)


def test_every_operator_is_checked():
    assert set(COMPRESSED) == {case[0] for case in (*CASES, *OF_IOS_17)}
