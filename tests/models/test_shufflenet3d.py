import pytest
import torch

from models.counts import count_macs, count_parameters
from models.shufflenet3d import ShuffleNet3dOptions, shufflenet3d, shufflenet3d_tiny
from tests.specs import clip_spec


def shapes(build=shufflenet3d, *, size=112, **options):
    """The network without memory, and its spec, at 16 frames and 600 classes, as published."""
    spec = clip_spec(frames=16, size=size, classes=600)
    with torch.device("meta"):
        return build(spec, ShuffleNet3dOptions(**options)), spec


@pytest.mark.parametrize("width, parameters", [(0.25, 0.83e6), (1.0, 1.91e6), (1.5, 3.16e6), (2.0, 6.64e6)])
def test_shufflenet3d_has_its_published_size(width, parameters):
    """Köpüklü et al. 2019, last version, table 8, 3D-ShuffleNetV2 in all four widths."""
    model, _ = shapes(width=width)
    assert count_parameters(model) == pytest.approx(parameters, rel=0.005)


def test_macs_are_the_published_operations_without_those_of_batchnorm():
    """195 MFLOPs in the table, which are multiply-adds of convolutions and operations of BatchNorm."""
    model, spec = shapes()
    assert 0.94 * 195e6 < count_macs(model, spec) < 0.97 * 195e6


def test_one_half_of_the_channels_passes_a_unit_and_the_halves_are_interleaved():
    unit = shufflenet3d_tiny(clip_spec(frames=4, size=32, classes=3), ShuffleNet3dOptions()).eval().video[3]
    x = torch.randn(1, 16, 2, 4, 4)
    given = unit(x)
    assert given[:, 0::2].equal(x[:, :8])
    torch.testing.assert_close(given[:, 1::2], unit.branch(x[:, 8:]))


def test_widths_that_are_not_published_are_refused():
    with pytest.raises(ValueError, match=r"has no width 0\.75: use one of 0\.25, 0\.5, 1\.0, 1\.5, 2\.0"):
        shapes(width=0.75)
    with pytest.raises(ValueError, match=r"has no width 0\.5: use one of 1\.0"):
        shapes(shufflenet3d_tiny, width=0.5)


def test_small_frames_are_refused_with_the_least_size():
    with pytest.raises(ValueError, match="31 x 31 are too small for ShuffleNet3D: use a size of at least 32"):
        shapes(size=31)
