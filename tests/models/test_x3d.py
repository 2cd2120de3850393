import pytest
import torch

from models.counts import count_macs, count_parameters
from models.layers import SqueezeExcite
from models.x3d import X3dOptions, x3d_m, x3d_s, x3d_xs
from tests.specs import clip_spec


def shapes(build=x3d_s, *, frames=13, size=160, **options):
    """The network without memory, and its spec, at 400 classes."""
    spec = clip_spec(frames=frames, size=size, classes=400)
    with torch.device("meta"):
        return build(spec, X3dOptions(**options)), spec


@pytest.mark.parametrize(
    "build, frames, size, macs",
    [(x3d_xs, 4, 160, 0.60e9), (x3d_s, 13, 160, 1.96e9), (x3d_m, 16, 224, 4.73e9)],
)
def test_x3d_has_its_published_size(build, frames, size, macs):
    """3.76 M parameters (paper), MACs of its author's model zoo (PySlowFast)."""
    model, spec = shapes(build, frames=frames, size=size)
    assert count_parameters(model) == pytest.approx(3.76e6, rel=0.01)
    assert count_macs(model, spec) == pytest.approx(macs, rel=0.01)


def test_the_first_of_every_two_blocks_excites():
    model, _ = shapes()
    excites = [any(isinstance(layer, SqueezeExcite) for layer in block.body) for block in model.blocks]
    stages = [excites[:3], excites[3:8], excites[8:19], excites[19:]]
    assert all(stage == [k % 2 == 0 for k in range(len(stage))] for stage in stages)
    assert sum(excites) == 2 + 3 + 6 + 4


def test_width_and_depth_scale_channels_and_blocks():
    wide, _ = shapes(width=2.0)
    deep, _ = shapes(depth=1.5)
    assert wide.blocks[0].body[0][0].out_channels == int(2.25 * 48)
    assert len(deep.blocks) == 5 + 8 + 17 + 11


def test_small_frames_are_refused_with_the_least_size():
    with pytest.raises(ValueError, match="31 x 31 are too small for X3D: use a size of at least 32"):
        shapes(size=31)
