import pytest
import torch

from models.counts import count_macs, count_parameters
from models.mobilenet3d import MobileNet3dOptions, mobilenet3d, mobilenet3d_tiny, mobilenet3d_v1
from tests.specs import clip_spec


def shapes(build, *, size=112, **options):
    """The network without memory, and its spec, at 16 frames and 600 classes, as published."""
    spec = clip_spec(frames=16, size=size, classes=600)
    with torch.device("meta"):
        return build(spec, MobileNet3dOptions(**options)), spec


@pytest.mark.parametrize("width, parameters", [(0.5, 1.17e6), (1.0, 3.91e6), (1.5, 8.22e6), (2.0, 14.10e6)])
def test_v1_has_its_published_size(width, parameters):
    """Köpüklü et al. 2019, last version, table 8, all four widths."""
    model, _ = shapes(mobilenet3d_v1, width=width)
    assert count_parameters(model) == pytest.approx(parameters, rel=0.005)


def test_v2_has_its_published_size():
    """Köpüklü et al. 2019, last version, table 8."""
    model, _ = shapes(mobilenet3d)
    assert count_parameters(model) == pytest.approx(3.12e6, rel=0.005)


@pytest.mark.parametrize("build, operations", [(mobilenet3d_v1, 241e6), (mobilenet3d, 561e6)])
def test_macs_are_the_published_operations_without_those_of_batchnorm(build, operations):
    """The table's MFLOPs are multiply-adds of convolutions and operations of BatchNorm: 3 to 8 % more."""
    model, spec = shapes(build)
    assert 0.92 * operations < count_macs(model, spec) < 0.97 * operations


def test_small_frames_are_refused_with_the_least_size():
    for build, least in ((mobilenet3d, 32), (mobilenet3d_v1, 32), (mobilenet3d_tiny, 8)):
        with pytest.raises(
            ValueError, match=f"are too small for this MobileNet3D: use a size of at least {least}"
        ):
            shapes(build, size=least - 1)
