import pytest
import torch

from models.counts import count_macs, count_parameters
from models.mobilenet3d import MobileNet3dOptions
from models.tsm import tsm, tsm_online, tsm_tiny
from tests.specs import clip_spec


@pytest.mark.parametrize("build", [tsm, tsm_online])
def test_it_has_the_size_of_mobilenetv2(build):
    """3.4 M parameters and 300 M multiply-adds a frame (MobileNetV2, table 4); shifts cost neither."""
    spec = clip_spec(frames=8, size=224, classes=1000)
    with torch.device("meta"):
        model = build(spec, MobileNet3dOptions())
    assert count_parameters(model) == 3_504_872  # what the paper rounds, counted from its table 2
    assert count_macs(model, spec) == pytest.approx(8 * 300e6, rel=0.02)


def seen_through(build, change):
    """In which frames the features of the last block differ when frame `change` of 5 does."""
    spec = clip_spec(frames=5, size=16, classes=3)
    model = build(spec, MobileNet3dOptions()).eval()
    features = []
    model.widen.register_forward_hook(lambda module, inputs, output: features.append(inputs[0]))
    (clip,) = spec.example()
    other = clip.clone()
    other[:, :, change] += 1
    with torch.no_grad():
        model(clip), model(other)
    differs = (features[0] - features[1]).abs().amax((0, 1, 3, 4)) > 0
    return differs.nonzero()[:, 0].tolist()


def test_online_no_frame_sees_a_later_one():
    assert seen_through(tsm_tiny, 2) == [2, 3, 4]


def test_a_shift_both_ways_cannot_stream():
    spec = clip_spec(frames=2, size=32, classes=3)
    model = tsm(spec, MobileNet3dOptions(width=0.1)).eval()
    frame = torch.zeros(1, 3, 32, 32)
    with pytest.raises(
        ValueError, match="shifts in both directions and needs the next frame; tsm_online can stream"
    ):
        model.step(frame, model.initial_state(frame))


def test_depth_multiplies_the_blocks_of_every_stage():
    spec = clip_spec(frames=2, size=32, classes=3)
    with torch.device("meta"):
        assert len(tsm(spec, MobileNet3dOptions(depth=2.0)).blocks) == 34
        assert len(tsm(spec, MobileNet3dOptions(depth=0.1)).blocks) == 7
