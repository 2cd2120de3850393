"""Damaged files of weights: each is refused with its name, or loaded."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from compress.factory import load_weights
from tests.fuzz.hostile import cases, damaged


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.Linear(4, 2))


def _by_torch() -> bytes:
    buffer = io.BytesIO()
    torch.save(network().state_dict(), buffer)
    return buffer.getvalue()


FILES = {".safetensors": save(network().state_dict()), ".pt": _by_torch()}


@pytest.mark.parametrize("extension", FILES)
@cases(80)
@given(data=st.data())
def test_damaged_bytes(tmp_path: Path, extension: str, data: st.DataObject) -> None:
    path = tmp_path / f"weights{extension}"
    path.write_bytes(data.draw(damaged(FILES[extension])))
    try:
        load_weights(network(), path)
    except ValueError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("extension", FILES)
@cases(40)
@given(data=st.binary(max_size=64))
def test_any_bytes(tmp_path: Path, extension: str, data: bytes) -> None:
    path = tmp_path / f"weights{extension}"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="weights"):
        load_weights(network(), path)
