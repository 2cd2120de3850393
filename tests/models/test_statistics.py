import pytest
import torch
from torch import nn

from models import STUDENTS
from models.statistics import random_inputs, settle_statistics
from tests.specs import small_spec


def network(name, spec):
    torch.manual_seed(0)
    return STUDENTS[name].build(spec, STUDENTS[name].options())


def deviations(model, inputs):
    """Standard deviation of what each BatchNorm gives."""
    found = []
    hooks = [
        layer.register_forward_hook(lambda _, __, y: found.append(y.std().item()))
        for layer in model.modules()
        if isinstance(layer, nn.BatchNorm3d)
    ]
    with torch.no_grad():
        model(*inputs)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    "name", ["i3d_tiny", "s3d_tiny", "r2plus1d_tiny", "slowfast_tiny", "mobilenet3d_tiny"]
)
def test_activations_keep_their_size_at_any_depth(name):
    spec = small_spec("clip")
    model = network(name, spec)
    count = settle_statistics(model, spec)
    found = deviations(model, random_inputs(spec, batch=8, seed=1))
    assert len(found) == count
    assert min(found) > 0.4 and max(found) < 3


def test_batchnorms_are_no_longer_the_identity():
    spec = small_spec("clip")
    model = network("i3d_tiny", spec)
    settle_statistics(model, spec)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm3d)]
    gamma, beta = (torch.cat([getattr(norm, name) for norm in norms]) for name in ("weight", "bias"))
    assert gamma.min() >= 0.5 and gamma.max() <= 1.5 and gamma.std() > 0.2
    assert beta.mean().abs() < 0.1 and 0.15 < beta.std() < 0.25
    for norm in norms:
        assert norm.running_mean.std() > 0 and norm.running_var.std() > 0


def test_the_seed_decides_and_training_goes_on_as_before():
    spec = small_spec("clip")
    states = []
    for seed in (3, 3, 4):
        model = network("r3d_tiny", spec).train()
        settle_statistics(model, spec, seed=seed)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    assert not model.training
    assert all(layer.momentum == 0.1 for layer in model.modules() if isinstance(layer, nn.BatchNorm3d))
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    assert not states[0]["video.0.1.weight"].equal(states[2]["video.0.1.weight"])
    assert states[0]["video.0.0.weight"].equal(states[2]["video.0.0.weight"])


def test_a_network_without_batchnorm_is_left_alone():
    spec = small_spec("clip")
    model = network("c3d_tiny", spec)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert settle_statistics(model, spec) == 0
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_one_clip_has_no_variance():
    spec = small_spec("clip")
    with pytest.raises(ValueError, match="1 clip has no variance to measure: use at least 2 clips"):
        settle_statistics(network("r3d_tiny", spec), spec, clips=1)


def test_random_inputs_are_smooth_clips_beside_the_examples_of_the_other_inputs():
    spec = small_spec("clip", "audio", "text")
    clip, audio, text = random_inputs(spec, batch=6, seed=2)
    assert clip.shape == (6, 3, 4, 32, 32) and clip.min() >= 0 and clip.max() <= 1
    steps, spread = clip.diff(dim=4).square().mean(), clip.var(dim=(2, 3, 4)).mean()
    assert steps < 1.5 * spread  # Twice the spread if neighbouring pixels had nothing in common.
    assert audio.equal(spec.example(batch=6, seed=2)[1]) and text.equal(spec.example(batch=6, seed=2)[2])
