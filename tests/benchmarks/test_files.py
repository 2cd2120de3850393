"""Axis order and dtype in which a file gets its inputs."""

import numpy as np
import pytest

from benchmarks.files import FileTensor

CLIP = np.arange(2 * 3 * 4 * 5, dtype="float32").reshape(1, 2, 3, 4, 5)


def test_axes_are_moved_by_their_letters():
    tensor = FileTensor(name="clip", shape=(1, 3, 4, 5, 2), dtype="float32", layout="NTHWC")
    arranged = tensor.arrange(CLIP)
    assert arranged.flags["C_CONTIGUOUS"]
    assert arranged[0, 2, 1, 4, 1] == CLIP[0, 1, 2, 1, 4]


def test_tokens_become_the_files_integer_type():
    tensor = FileTensor(name="text", shape=(1, 3), dtype="int32", layout="NL")
    arranged = tensor.arrange(np.array([[1, 2, 0]], dtype="int64"))
    assert arranged.dtype == np.int32
    assert arranged.tolist() == [[1, 2, 0]]


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "layout", "message"),
    [
        ("clip", (1, 2, 3, 4, 5), "float32", "NCTH", "layout 'NCTH'; it must name each of its 5 axes by"),
        ("clip", (1, 2, 3, 4, 5), "float32", "NCTHZ", "layout 'NCTHZ'; it must name each"),
        ("clip", (1, 2, 3, 4, 5), "float32", "NCCHW", "layout 'NCCHW'; it must name each"),
        ("clip", (1, 2, 3, 4, 5), "uint8", "NCTHW", "dtype 'uint8'; supported are float32"),
        ("clip", (1, 2, 3, 5, 4), "float32", "NCTHW", r"has shape \[1, 2, 3, 5, 4\] \(NCTHW\), but"),
    ],
)
def test_what_cannot_be_fed_is_refused(name, shape, dtype, layout, message):
    with pytest.raises(ValueError, match=message):
        FileTensor(name=name, shape=shape, dtype=dtype, layout=layout).arrange(CLIP)
