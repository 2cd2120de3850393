from dataclasses import dataclass

import pytest
import torch

from models.layers import clip_only, deepened, max_pool_by_two
from tests.specs import small_spec


@dataclass(frozen=True, kw_only=True)
class _Row:
    channels: int
    halves: bool


def test_networks_of_clips_alone_refuse_other_inputs():
    with pytest.raises(ValueError, match="C3D takes only the input clip; given: clip, audio"):
        clip_only(small_spec("clip", "audio"), network="C3D", least_size=16)


def test_frames_too_small_for_a_network_are_refused_with_the_least_size():
    with pytest.raises(
        ValueError, match="frames of 32 x 32 are too small for I3D: use a size of at least 64"
    ):
        clip_only(small_spec("clip"), network="I3D", least_size=64)
    assert clip_only(small_spec("clip"), network="I3D", least_size=32).size == 32


@pytest.mark.parametrize(
    "extent, time, halved",
    [((4, 8, 8), True, (2, 4, 4)), ((4, 8, 8), False, (4, 4, 4)), ((3, 7, 7), True, (2, 4, 4)),
     ((1, 2, 2), True, (1, 1, 1))],
)  # fmt: skip
def test_pooling_by_two_rounds_up_and_keeps_a_single_frame(extent, time, halved):
    pool, stated = max_pool_by_two(extent, time=time)
    clip = torch.randn(1, 2, *extent)
    assert pool(clip).shape[2:] == stated == halved
    assert pool(clip).amax() == clip.amax()


@pytest.mark.parametrize(
    "depth, channels, halves",
    [
        (1.0, [8, 16, 16], [True, True, False]),
        (2.0, [8, 8, 16, 16, 16, 16], [True, False, True, False, False, False]),
        (0.1, [8, 16], [True, True]),
    ],
)
def test_depth_repeats_the_last_block_of_every_width(depth, channels, halves):
    rows = [_Row(channels=8, halves=True), _Row(channels=16, halves=True), _Row(channels=16, halves=False)]
    deep = deepened(rows, depth)
    assert [row.channels for row in deep] == channels
    assert [row.halves for row in deep] == halves
