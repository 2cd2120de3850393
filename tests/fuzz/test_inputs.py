"""Random shapes and arrays as arguments: refused as invalid, or accepted."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.capture.inputs import parse_inputs
from export.samples import random_samples, read_samples
from tests.fuzz.hostile import TEXTS, cases, damaged

SHAPES = st.one_of(
    TEXTS,
    st.lists(st.sampled_from(["0", "1", "-1", "3", "8", "", "x", "1e3", "9" * 15, "²", "٣"]), max_size=6).map(
        "x".join
    ),
    st.tuples(TEXTS, st.sampled_from(["1x3x4x8x8", "1x8:int", "1x8:int64", ":", "1x8:0..9"])).map("=".join),
    st.text(alphabet="0123456789x=:.-intfloa", max_size=24),
)
ONE = parse_inputs(["1x3x4x8x8"])


@cases(200)
@given(st.lists(SHAPES, max_size=3))
def test_shapes(texts: list[str]) -> None:
    try:
        inputs = parse_inputs(texts)
        if any(math.prod(one.shape) > 10**6 for one in inputs):
            return  # a wish that takes long, not a wrong one
        samples = random_samples(inputs, count=2)
    except ValueError as error:
        assert str(error)
        return
    assert all(tensor.numel() > 0 for tensor in samples.tensors(0))


def _saved(kind: str) -> bytes:
    buffer = io.BytesIO()
    array = np.zeros((2, 3, 4, 8, 8), np.float32)
    if kind == ".npy":
        np.save(buffer, array)
    else:
        np.savez(buffer, clip=array)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [".npy", ".npz"])
@cases(100)
@given(data=st.data())
def test_damaged_arrays(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path = tmp_path / f"clips{kind}"
    path.write_bytes(data.draw(damaged(_saved(kind))))
    try:
        samples = read_samples(path, ONE, what="clips")
    except ValueError as error:
        assert re.search(r"clips\.np[yz]", str(error))
        return
    assert all(np.isfinite(tensor.numpy()).all() for tensor in samples.tensors(0))
