import pytest
import torch
from torch import nn

from models.counts import count_macs, count_parameters
from models.mobilenet2plus1d import mobilenet2plus1d
from models.mobilenet3d import MobileNet3dOptions, mobilenet3d
from tests.specs import clip_spec


def shapes(build=mobilenet2plus1d, *, size=112):
    """The network without memory, and its spec, at 16 frames and 600 classes."""
    spec = clip_spec(frames=16, size=size, classes=600)
    with torch.device("meta"):
        return build(spec, MobileNet3dOptions()), spec


def test_no_kernel_spans_space_and_time():
    model, _ = shapes()
    kernels = {layer.kernel_size for layer in model.modules() if isinstance(layer, nn.Conv3d)}
    assert kernels == {(1, 1, 1), (1, 3, 3), (3, 1, 1)}


def test_it_halves_space_and_time_where_mobilenet3d_does():
    clip = torch.empty(1, 3, 16, 112, 112, device="meta")
    assert shapes()[0].video(clip).shape == shapes(mobilenet3d)[0].video(clip).shape == (1, 1280, 1, 4, 4)


def test_it_costs_less_than_the_network_it_factorises():
    """Our own shape: 3.03 M parameters, 381 M MACs; MobileNet3D has 3.12 M and 519 M."""
    model, spec = shapes()
    assert count_parameters(model) == pytest.approx(3.03e6, rel=0.01)
    assert count_macs(model, spec) == pytest.approx(381e6, rel=0.01)


def test_small_frames_are_refused_with_the_least_size():
    with pytest.raises(ValueError, match=r"31 x 31 are too small .*: use a size of at least 32"):
        shapes(size=31)
