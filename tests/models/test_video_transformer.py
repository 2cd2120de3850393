import pytest
import torch
from torch import nn

from models.counts import count_macs, count_parameters
from models.video_transformer import (
    VideoTransformerOptions,
    initialise,
    sines,
    video_transformer,
    video_transformer_tiny,
)
from tests.specs import clip_spec


def shapes(*, frames=16, size=224, **options):
    """The network without memory, and its spec, at 400 classes."""
    spec = clip_spec(frames=frames, size=size, classes=400)
    with torch.device("meta"):
        return video_transformer(spec, VideoTransformerOptions(**options)), spec


def tiny(**options):
    spec = clip_spec(frames=4, size=32, classes=3)
    return video_transformer_tiny(spec, VideoTransformerOptions(**options)).eval(), spec


def test_it_has_the_published_size_of_videomae_s():
    """22 M parameters, 57 GFLOPs at 16 x 224 x 224 (VideoMAE on Kinetics-400); its positions are no parameters."""
    model, spec = shapes()
    assert count_parameters(model) - model.position.numel() == pytest.approx(22e6, rel=0.02)
    assert count_macs(model, spec) == pytest.approx(57e9, rel=0.01)


@pytest.mark.parametrize("features", [32, 384])
def test_new_layers_keep_the_size_of_what_passes_through_at_any_width(features):
    layers = nn.Sequential(nn.Linear(features, features), nn.Conv3d(3, features, (2, 8, 8)))
    initialise(layers)
    for layer in layers:
        taken = layer.weight[0].numel()
        assert layer.weight.std().item() == pytest.approx((2 / (taken + features)) ** 0.5, rel=0.1)
        assert not layer.bias.any()


def test_positions_begin_as_sines_of_every_axis():
    positions = sines((2, 3, 5), 32)
    assert positions.shape == (30, 32) and len(positions.unique(dim=0)) == 30
    assert not positions[:, 30:].any()  # 3 axes x 5 waves x sine and cosine
    time, height, width = positions[:, :15].view(2, 3, 5, 3, 5).unbind(3)
    assert (time == time[:, :1, :1]).all() and (height == height[:1, :, :1]).all()
    torch.testing.assert_close(width[0, 0, :, 0], torch.arange(5.0).sin())
    torch.testing.assert_close(tiny()[0].position[0], sines((2, 4, 4), 32))


def test_attention_is_that_of_torch():
    model, _ = tiny()
    ours = model.blocks[0].attention
    theirs = nn.MultiheadAttention(32, ours.heads, batch_first=True)
    theirs.in_proj_weight, theirs.in_proj_bias = ours.query_key_value.weight, ours.query_key_value.bias
    theirs.out_proj = ours.project
    tokens = torch.randn(2, 8, 32)
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens)[0])


def test_a_token_of_its_own_can_be_classified():
    model, spec = tiny(pooling="class")
    whole, _ = tiny()
    assert model.position.shape[1] == whole.position.shape[1] + 1
    assert model(*spec.example(batch=2)).shape == (2, 3)


def test_width_and_depth_scale_features_and_blocks():
    model, _ = shapes(width=0.5, depth=0.5)
    assert len(model.blocks) == 6
    assert model.embed.out_channels == 192 and model.blocks[0].attention.heads == 3


@pytest.mark.parametrize("frames, size", [(15, 224), (16, 172)])
def test_tubelets_that_would_leave_something_unseen_are_refused(frames, size):
    with pytest.raises(ValueError, match="use multiples of 2 frames and of 16 pixels"):
        shapes(frames=frames, size=size)


def test_small_frames_are_refused_with_the_least_size():
    with pytest.raises(
        ValueError, match="8 x 8 are too small for a video transformer: use a size of at least 16"
    ):
        shapes(size=8)
