"""The study of int4 weights by group size."""

from __future__ import annotations

import re

import torch

from compress.studies.int4_groups import is_dense, table


def test_rows_have_the_error_and_the_bytes_of_each_group_size():
    weight = torch.randn(8, 256, 1, 1, generator=torch.Generator().manual_seed(0))
    lines = list(table([weight]))
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "one per output channel",
        "`group_size: 128`",
        "`group_size: 64`",
        "`group_size: 32`",
    ]
    sqnr, _, size = zip(*(map(float, re.findall(r"\d+\.\d+", line)) for line in lines[2:]), strict=True)
    assert list(sqnr) == sorted(sqnr) and sqnr[0] < sqnr[-1]
    assert size == (round(0.5 + 4 / 256, 3), round(0.5 + 2 / 128, 3), round(0.5 + 2 / 64, 3), 0.562)


def test_depthwise_small_and_linear_weights_are_left_out():
    shapes = {
        (8, 64, 1, 1): True,
        (8, 4, 3, 3): True,
        (8, 1, 3, 3): False,
        (8, 16, 1, 1): False,
        (8, 64): False,
    }
    assert {shape: is_dense(torch.zeros(shape)) for shape in shapes} == shapes
