import pytest
import torch

from models.counts import count_macs, count_parameters
from models.i3d import I3dOptions, i3d
from models.s3d import FeatureGate, S3dOptions, s3d, s3d_tiny
from tests.specs import clip_spec, small_spec


def shapes(build, options, *, frames):
    """The network without memory, and its spec, at 224 pixels and 400 classes."""
    spec = clip_spec(frames=frames, size=224, classes=400)
    with torch.device("meta"):
        return build(spec, options), spec


def test_s3d_has_its_published_size():
    """8.32 M parameters and 17.98 GMACs at 16 x 224 x 224 (torchvision's S3D, the public weights).

    The paper compares S3D and I3D at 64 frames and finds I3D to cost 1.5 times as much; so it does here.
    """
    model, spec = shapes(s3d, S3dOptions(), frames=16)
    assert count_parameters(model) == 8_320_048
    assert count_macs(model, spec) == pytest.approx(17.98e9, rel=0.005)
    whole, spec = shapes(i3d, I3dOptions(), frames=16)
    assert count_macs(whole, spec) / 17.98e9 == pytest.approx(1.5, rel=0.05)


def test_gating_follows_every_temporal_convolution_and_costs_next_to_no_macs():
    plain, spec = shapes(s3d, S3dOptions(), frames=16)
    gated, _ = shapes(s3d, S3dOptions(gating=True), frames=16)
    gates = [layer for layer in gated.modules() if isinstance(layer, FeatureGate)]
    assert len(gates) == 2 + 2 * 9  # Two in the stem, two in each of nine blocks.
    weights = sum(gate.decide.in_channels**2 + gate.decide.in_channels for gate in gates)
    assert count_parameters(gated) - count_parameters(plain) == weights
    assert count_macs(gated, spec) < 1.001 * count_macs(plain, spec)


def test_a_gated_network_learns_in_every_parameter():
    spec = small_spec("clip")
    model = s3d_tiny(spec, S3dOptions(gating=True)).train()
    model(*spec.example(batch=4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_gate_scales_channels_by_less_than_one():
    x = torch.rand(2, 4, 3, 5, 5) + 0.1
    scale = FeatureGate(4)(x) / x
    assert scale.min() > 0 and scale.max() < 1
    torch.testing.assert_close(scale, scale[:, :, :1, :1, :1].expand_as(scale))


def test_small_frames_are_refused_under_its_own_name():
    with pytest.raises(ValueError, match="too small for S3D: use a size of at least 32"):
        s3d(clip_spec(frames=8, size=24, classes=2), S3dOptions())
