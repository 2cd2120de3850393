import pytest
import torch

from models.counts import count_macs, count_parameters
from models.resnet3d import ResNet3dOptions, middle_channels, r2plus1d_18, r3d_18
from tests.specs import clip_spec


def shapes(build, **options):
    """The network without memory, and its spec, at 16 x 112 x 112 and 400 classes."""
    spec = clip_spec(frames=16, size=112, classes=400)
    with torch.device("meta"):
        return build(spec, ResNet3dOptions(**options)), spec


@pytest.mark.parametrize(
    "build, parameters, gmacs", [(r3d_18, 33_371_472, 40.70), (r2plus1d_18, 31_505_325, 40.52)]
)
def test_they_have_their_published_sizes(build, parameters, gmacs):
    """The networks whose weights are public (torchvision): parameters to the last one.

    Section 3.5 means R(2+1)D to weigh as much as R3D, 33 M. The released one has 31.5 M, because a block takes
    the middle channels of its first convolution for its second one too, and a narrower stem.
    """
    model, spec = shapes(build)
    assert count_parameters(model) == parameters
    assert count_macs(model, spec) == pytest.approx(gmacs * 1e9, rel=0.001)


@pytest.mark.parametrize("before, after", [(64, 64), (64, 128), (256, 512)])
def test_middle_channels_make_two_small_kernels_weigh_as_much_as_a_whole_one(before, after):
    middle = middle_channels(before, after)
    assert middle * (9 * before + 3 * after) == pytest.approx(27 * before * after, rel=0.01)


@pytest.mark.parametrize("build, parameters", [(r3d_18, 33.4e6), (r2plus1d_18, 31.5e6)])
def test_width_scales_them(build, parameters):
    half, _ = shapes(build, width=0.5)
    assert count_parameters(half) == pytest.approx(parameters / 4, rel=0.02)


@pytest.mark.parametrize("build, name", [(r3d_18, "R3D"), (r2plus1d_18, r"R\(2\+1\)D")])
def test_small_frames_are_refused_with_the_least_size(build, name):
    with pytest.raises(ValueError, match=f"8 x 8 are too small for {name}: use a size of at least 16"):
        build(clip_spec(frames=8, size=8, classes=2), ResNet3dOptions())
