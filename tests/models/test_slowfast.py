import pytest
import torch
from torch.nn import functional

from models.counts import count_macs, count_parameters
from models.slowfast import SlowFastOptions, slowfast_r50, slowfast_tiny
from tests.specs import clip_spec


def shapes(*, size=256, **options):
    """The network without memory, and its spec, at 8 slow frames of 32 and 400 classes."""
    spec = clip_spec(frames=32, size=size, classes=400)
    with torch.device("meta"):
        return slowfast_r50(spec, SlowFastOptions(**options)), spec


def test_slowfast_has_its_published_size():
    """34.57 M parameters, 65.71 GMACs at 32 x 256 x 256 (PyTorchVideo's model zoo, SlowFast R50 8x8).

    The paper's lateral kernels see 5 frames, those of the released 8x8 network 7; the paper's 65.7 GMACs are of
    the released one.
    """
    model, spec = shapes()
    assert count_parameters(model) == pytest.approx(34.57e6, rel=0.001)
    assert count_macs(model, spec) == pytest.approx(65.71e9, rel=0.001)


def test_width_scales_both_pathways():
    half, _ = shapes(width=0.5)
    assert count_parameters(half) == pytest.approx(34.57e6 / 4, rel=0.05)


def test_the_slow_pathway_sees_every_alpha_th_frame():
    spec = clip_spec(frames=8, size=32, classes=3)
    model = slowfast_tiny(spec, SlowFastOptions(alpha=4)).eval()
    (clip,) = spec.example()
    convolution = model.slow_stem[0]
    picked = functional.conv3d(clip[:, :, ::4], convolution.weight, stride=(1, 2, 2), padding=(0, 3, 3))
    torch.testing.assert_close(convolution(clip), picked)


def test_frames_between_reach_the_answer_through_the_fast_pathway():
    spec = clip_spec(frames=8, size=32, classes=3)
    model = slowfast_tiny(spec, SlowFastOptions(alpha=4)).eval()
    (clip,) = spec.example()
    other = clip.clone()
    other[:, :, [1, 2, 3, 5, 6, 7]] = 0
    assert model.slow_stem(clip).equal(model.slow_stem(other))
    assert not model(clip).allclose(model(other))


@pytest.mark.parametrize("frames", [1, 6, 9])
def test_clips_need_not_be_a_multiple_of_alpha(frames):
    spec = clip_spec(frames=frames, size=32, classes=3)
    assert slowfast_tiny(spec, SlowFastOptions()).eval()(*spec.example()).shape == (1, 3)


def test_alpha_counts_frames():
    with pytest.raises(ValueError, match="alpha is 0, but it must be 1 or more"):
        SlowFastOptions(alpha=0)


def test_small_frames_are_refused_with_the_least_size():
    with pytest.raises(ValueError, match="16 x 16 are too small for SlowFast: use a size of at least 32"):
        shapes(size=16)
