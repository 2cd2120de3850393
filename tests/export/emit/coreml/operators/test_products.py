import pytest

from export.emit.coreml.operators.products import PRODUCTS
from tests.export.emit.coreml.operators.oracle import check_against_coremltools, floats, ids

X, QUERY, KEY, VALUE = floats(2, 3, 4), floats(1, 2, 3, 4), floats(1, 2, 5, 4), floats(1, 2, 5, 6)

CASES = [
    ("linear", {"x": X, "weight": floats(5, 4), "bias": floats(5)}),
    ("matmul", {"x": X, "y": floats(2, 3, 5), "transpose_x": True, "transpose_y": False}),
    ("matmul", {"x": X, "y": floats(5, 4), "transpose_x": False, "transpose_y": True}),
    ("einsum", {"values": (floats(2, 3, 4, 5), floats(2, 5, 4, 6)), "equation": "nchw,nwhu->nchu"}),
    ("scaled_dot_product_attention", {"query": QUERY, "key": KEY, "value": VALUE}),
    ("scaled_dot_product_attention", {"query": QUERY, "key": KEY, "value": VALUE, "attn_mask": floats(3, 5)}),
    (
        "scaled_dot_product_attention",
        {"query": QUERY, "key": KEY, "value": VALUE, "attn_mask": floats(3, 5) > -1.5},
    ),
]


@pytest.mark.parametrize(("name", "given"), CASES, ids=ids(CASES))
def test_it_gives_what_coremltools_evaluates(name, given):
    check_against_coremltools(name, given)


def test_every_operator_is_checked():
    assert set(PRODUCTS) == {case[0] for case in CASES}
