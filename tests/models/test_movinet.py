import pytest
import torch

from models.counts import count_macs, count_parameters
from models.movinet import MovinetOptions, movinet_a0, movinet_a1, movinet_a2, movinet_tiny
from tests.specs import clip_spec


def shapes(build=movinet_a0, *, size=172, **options):
    """The network without memory, and its spec, at 50 frames and 600 classes, as published."""
    spec = clip_spec(frames=50, size=size, classes=600)
    with torch.device("meta"):
        return build(spec, MovinetOptions(**options)), spec


def test_movinet_a0_has_its_published_size():
    """3.1 M parameters (paper), 2.7 GFLOPs (authors' model zoo; 2.71 in the paper) at 50 x 172 x 172."""
    model, spec = shapes(factorised=False)
    assert count_parameters(model) == pytest.approx(3.1e6, rel=0.02)
    assert count_macs(model, spec) == pytest.approx(2.7e9, rel=0.02)


def test_movinet_a1_has_its_published_size():
    """4.6 M parameters (paper), 6.0 GFLOPs (authors' model zoo) at 50 x 172 x 172."""
    model, spec = shapes(movinet_a1, factorised=False)
    assert count_parameters(model) == pytest.approx(4.6e6, rel=0.02)
    assert count_macs(model, spec) == pytest.approx(6.0e9, rel=0.02)


def test_movinet_a2_has_the_size_of_the_authors_code():
    """Their paper states 4.8 M and 10.3 GFLOPs at 50 x 224 x 224, which their published shape does not give."""
    model, spec = shapes(movinet_a2, size=224, factorised=False)
    assert count_parameters(model) == pytest.approx(5.25e6, rel=0.01)
    assert count_macs(model, spec) == pytest.approx(11.6e9, rel=0.01)


def test_factorised_it_has_the_same_parameters_and_fewer_macs():
    """The authors give 2.7 GFLOPs for this form too; ours are counted."""
    model, spec = shapes(factorised=True)
    assert count_parameters(model) == pytest.approx(3.1e6, rel=0.02)
    assert count_macs(model, spec) == pytest.approx(2.40e9, rel=0.01)


@pytest.mark.parametrize("factorised", [True, False])
def test_no_frame_sees_a_later_one(factorised):
    spec = clip_spec(frames=6, size=16, classes=3)
    model = movinet_tiny(spec, MovinetOptions(factorised=factorised)).eval()
    seen = []
    model.widen.register_forward_hook(lambda module, inputs, output: seen.append(output))
    (clip,) = spec.example()
    changed = clip.clone()
    changed[:, :, 4] += 1
    with torch.no_grad():
        model(clip), model(changed)
    torch.testing.assert_close(seen[0][:, :, :4], seen[1][:, :, :4])
    assert not seen[0][:, :, 4].allclose(seen[1][:, :, 4])
    assert not seen[0][:, :, 5].allclose(seen[1][:, :, 5]), "but every later one sees it"


def test_a_shorter_clip_gives_the_features_that_the_longer_one_begins_with():
    """What a program of single frames relies on: weights do not depend on how many frames follow."""
    long, short = (clip_spec(frames=frames, size=16, classes=3) for frames in (6, 4))
    model = movinet_tiny(long, MovinetOptions()).eval()
    start = movinet_tiny(short, MovinetOptions()).eval()
    start.load_state_dict(model.state_dict())
    seen = []
    for network in (model, start):
        network.widen.register_forward_hook(lambda module, inputs, output: seen.append(output))
    (clip,) = long.example()
    with torch.no_grad():
        model(clip), start(clip[:, :, :4])
    torch.testing.assert_close(seen[0][:, :, :4], seen[1])


def test_small_frames_are_refused_with_the_least_size():
    with pytest.raises(ValueError, match="32 x 32 are too small for MoViNet: use a size of at least 33"):
        shapes(size=32)
    spec = clip_spec(frames=1, size=33, classes=3)
    assert movinet_a0(spec, MovinetOptions()).eval()(*spec.example()).shape == (1, 3)
