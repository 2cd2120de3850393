"""The time to decode and prepare a clip."""

import shutil

import pytest

from benchmarks.field_data import FieldData, open_field_data
from benchmarks.preparation import preparation
from tests.benchmarks.small_exports import VIDEO_ONLY, write_videos


@pytest.fixture
def data(tmp_path):
    for name in VIDEO_ONLY.labels[0].classes:
        write_videos(tmp_path / "data/test" / name, count=1)
    return FieldData(path=tmp_path / "data")


def test_decoding_and_arranging_are_timed(data, tmp_path):
    clips = open_field_data(data, VIDEO_ONLY, cache=tmp_path / "cache", workers=0)
    found = preparation(data, clips, workers=0)
    assert found.clips == 3
    assert found.decode_ms > 0 and found.arrange_ms > 0


def test_files_that_are_gone_give_no_figure(data, tmp_path):
    clips = open_field_data(data, VIDEO_ONLY, cache=tmp_path / "cache", workers=0)
    shutil.rmtree(data.path)
    assert preparation(data, clips, workers=0) is None
