import pytest
import torch

from models.counts import count_macs, count_parameters
from models.mobilenet3d_v3 import MobileNet3dV3Options, mobilenet3d_v3
from tests.specs import clip_spec


def shapes(*, frames=16, size=112, classes=600, **options):
    """The network without memory, and its spec."""
    spec = clip_spec(frames=frames, size=size, classes=classes)
    with torch.device("meta"):
        return mobilenet3d_v3(spec, MobileNet3dV3Options(**options)), spec


def test_with_one_frame_it_is_the_published_mobilenet_v3_large():
    """5.4 M parameters and 217 M MACs at 224 x 224 (authors' model zoo); 5,483,032 in torchvision."""
    model, spec = shapes(frames=1, size=224, classes=1000, kernel_frames=1)
    assert count_parameters(model) == 5_483_032
    assert count_macs(model, spec) == pytest.approx(217e6, rel=0.005)


def test_time_adds_taps_to_depthwise_kernels_and_the_stem_alone():
    flat, _ = shapes(kernel_frames=1)
    deep, _ = shapes(kernel_frames=3)
    taps = sum(
        layer.weight.numel()
        for layer in flat.video.modules()
        if isinstance(layer, torch.nn.Conv3d) and layer.kernel_size[1] > 1
    )
    assert count_parameters(deep) - count_parameters(flat) == 2 * taps


@pytest.mark.parametrize("frames", [0, 2])
def test_kernels_have_a_frame_in_the_middle(frames):
    with pytest.raises(ValueError, match=f"kernel_frames is {frames}: use an odd number"):
        shapes(kernel_frames=frames)


def test_small_frames_are_refused_with_the_least_size():
    with pytest.raises(ValueError, match=r"31 x 31 are too small .*: use a size of at least 32"):
        shapes(size=31)
