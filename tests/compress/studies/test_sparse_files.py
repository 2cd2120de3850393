"""The study of files with sparse weights."""

from __future__ import annotations

import pytest

from compress.studies.sparse_files import table
from models import STUDENTS
from tests.specs import small_spec

pytestmark = pytest.mark.slow


def test_files_keep_their_size_and_their_archives_become_smaller():
    spec, row = small_spec("clip"), STUDENTS["lite0_frames_tiny"]
    network = row.build(spec, row.options()).eval()
    head, _, line = table(network, spec, formats=["onnx"], schemes=["fp32"], shape="1x3x4x32x32")
    assert head == "| file | dense | zip | 2:4 | zip | unstructured | zip |"
    name, *figures = [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
    dense, dense_zip, half, half_zip, few, few_zip = map(int, figures)
    assert name == "onnx `fp32`" and dense == half == few
    assert dense_zip > half_zip > few_zip
