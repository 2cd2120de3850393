"""Fixtures that several test modules share."""

from __future__ import annotations

import os

import pytest
import torch
from rich.console import Console

from compress.clip import ClipConfig
from compress.data import Data, open_data
from compress.sources.synthetic import SyntheticData
from tests.commands import FORKS, start_writers
from tests.warm import fork_helpers


def pytest_configure(config: pytest.Config) -> None:
    """One thread for each test process and its children: several on one core wait for each other by spinning.

    Helpers of `export.process.child` are forked off processes that all test processes share (`tests.warm`).
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    if not hasattr(config, "workerinput"):
        start_writers()
    if FORKS:
        fork_helpers()


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Data:
    """Real encoded clips: 24 train, 8 validation, 8 test; 4 frames of 32 x 32, sound and captions."""
    config = SyntheticData.model_validate(
        {"source": "synthetic", "clips": {"train": 24, "validation": 8, "test": 8}, "difficulty": 0.2}
    )
    clip = ClipConfig.model_validate(
        {"frames": 4, "size": 32, "audio": {"mels": 16, "bins": 16}, "text": {"length": 8}}
    )
    cache = tmp_path_factory.mktemp("tiny-data")
    return open_data(config, clip, cache=cache, workers=0, seed=0, console=Console(quiet=True))
