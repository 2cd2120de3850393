import pytest
import torch

from models.c3d import C3dOptions, c3d
from models.counts import count_macs, count_parameters
from tests.specs import clip_spec


def shapes(*, frames=16, size=112, classes=101, **options):
    """The network without memory, and its spec."""
    spec = clip_spec(frames=frames, size=size, classes=classes)
    with torch.device("meta"):
        return c3d(spec, C3dOptions(**options)), spec


@pytest.mark.parametrize("classes, parameters", [(101, 78.4e6), (487, 80.0e6)])
def test_c3d_has_its_published_size(classes, parameters):
    """78.4 M at the 101 classes of UCF-101 (MMAction2), 80.0 M at the 487 of Sports-1M, where it was published.

    38.5 GMACs at 16 x 112 x 112 (model zoo of its authors, VMZ). The C3D of that zoo is another one: 64.9 M,
    with smaller linear layers and BatchNorm.
    """
    model, spec = shapes(classes=classes)
    assert count_parameters(model) == pytest.approx(parameters, rel=0.005)
    assert count_macs(model, spec) == pytest.approx(38.5e9, rel=0.005)


@pytest.mark.parametrize("frames, size, positions", [(16, 112, 16), (8, 112, 16), (32, 112, 32), (4, 64, 4)])
def test_its_first_linear_layer_reads_the_whole_last_map(frames, size, positions):
    model, _ = shapes(frames=frames, size=size)
    assert model.hidden[0].in_features == 512 * positions


def test_width_scales_convolutions_and_linear_layers():
    half, spec = shapes(width=0.5)
    assert count_parameters(half) == pytest.approx(78.4e6 / 4, rel=0.02)
    assert count_macs(half, spec) == pytest.approx(38.5e9 / 4, rel=0.05)


def test_small_frames_are_refused_with_the_least_size():
    with pytest.raises(
        ValueError, match="frames of 28 x 28 are too small for C3D: use a size of at least 32"
    ):
        shapes(size=28)
