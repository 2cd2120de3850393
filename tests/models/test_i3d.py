import pytest
import torch

from models.counts import count_macs, count_parameters
from models.i3d import I3dOptions, i3d
from tests.specs import clip_spec


def shapes(*, size=224, **options):
    """The network without memory, and its spec, at the 64 frames and 400 classes of its publication."""
    spec = clip_spec(frames=64, size=size, classes=400)
    with torch.device("meta"):
        return i3d(spec, I3dOptions(**options)), spec


def test_i3d_has_its_published_size():
    """12.70 M with 400 classes, 12.29 M before the classifier: the released network, layer by layer.

    Publications disagree. Carreira and Zisserman (table 1) give 25 M for two streams. Papers that compare with
    it give 12 M and 108 GMACs at 64 x 224 x 224; the released layers make 111.2 of them, 3 % more.
    """
    model, spec = shapes()
    assert count_parameters(model) == 12_287_264 + 400 * 1024 + 400
    assert 2 * count_parameters(model) == pytest.approx(25e6, rel=0.02)
    assert count_macs(model, spec) == pytest.approx(108e9, rel=0.03)


def test_width_scales_it():
    half, _ = shapes(width=0.5)
    assert count_parameters(half) == pytest.approx(12.70e6 / 4, rel=0.05)


def test_small_frames_are_refused_with_the_least_size():
    with pytest.raises(
        ValueError, match="frames of 16 x 16 are too small for I3D: use a size of at least 32"
    ):
        shapes(size=16)
