"""Parameter groups, graded learning rates, and the schedule."""

import pytest
import torch
from torch import nn

from compress.features import mark_features
from compress.quantize import QuantizeConfig
from compress.training.config import TrainConfig
from compress.training.optimizer import depths, optimizer_of, schedule, set_learning_rate
from compress.training.optimizers import OPTIMIZERS

CLIPS = (torch.ones(2, 3),)


class Branches(nn.Module):
    """A long and a short branch, of which the logits are the sum; an unused layer."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.short = (nn.Linear(3, 3) for _ in range(3))
        self.unused = nn.Linear(3, 3)
        self.heads = nn.Linear(3, 2)

    def forward(self, x):
        return self.heads(self.second(self.first(x)) + self.short(x))


def optimizer(model, **settings):
    config = TrainConfig.model_validate({"epochs": 1, **settings})
    return optimizer_of(model, (), config, inputs=lambda: CLIPS)


def test_the_rate_rises_over_its_share_of_the_steps_and_falls_as_a_cosine():
    found = [schedule(step, warmup=2, total=10) for step in range(10)]
    assert found[:3] == [0.5, 1.0, 1.0]
    assert found[6] == pytest.approx(0.5)
    assert found == sorted(found[:2]) + sorted(found[2:], reverse=True)
    assert schedule(0, warmup=0, total=1) == 1.0, "a single step has the whole rate"


def test_kernels_decay_and_biases_do_not():
    decays = {
        parameter: group["weight_decay"]
        for group in optimizer(Branches(), weight_decay=0.3).param_groups
        for parameter in group["params"]
    }
    assert {parameter.dim(): decay for parameter, decay in decays.items()} == {2: 0.3, 1: 0.0}


def test_the_depth_of_a_layer_is_its_longest_way_to_the_logits():
    model = Branches()
    found = depths(model, CLIPS)
    assert found[model.heads.bias] == 0
    assert found[model.first.weight] == 1
    assert found[model.first.weight] > found[model.second.weight] > found[model.heads.weight]
    assert found[model.short.weight] == found[model.second.weight], "a parallel branch"
    assert model.unused.weight not in found


def test_features_of_a_captured_graph_do_not_count():
    class WithFeature(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network(x), self.network.short(x).sin().sin().sin().sin().sin()

    model = Branches()
    graph = torch.fx.symbolic_trace(WithFeature(model))
    assert depths(graph, CLIPS) != depths(model, CLIPS)
    mark_features(graph, {"short": (3,)})
    assert depths(graph, CLIPS) == depths(model, CLIPS)


def test_finding_depths_changes_no_statistics():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    depths(model, (torch.randn(4, 3) + 5,))
    assert all(before[name].equal(value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_downhill_and_resumes_from_its_state(name):
    """Stopped after three of six steps on a sum of squares."""

    def start(weights, state=None):
        model = nn.Linear(2, 1, bias=False)
        model.load_state_dict(weights)
        given = {"optimizer": name, "learning_rate": 0.05, "weight_decay": 0.0}
        one = optimizer_of(
            model, (), TrainConfig.model_validate({"epochs": 1, **given}), inputs=lambda: CLIPS
        )
        if state:
            one.load_state_dict(state)
        return model, one

    def steps(model, one, count):
        for _ in range(count):
            one.zero_grad()
            model.weight.square().sum().backward()
            one.step()

    first = {"weight": torch.tensor([[1.0, -2.0]])}
    whole, one = start(first)
    steps(whole, one, 6)
    assert whole.weight.abs().lt(first["weight"].abs()).all()
    half, one = start(first)
    steps(half, one, 3)
    resumed, one = start(half.state_dict(), one.state_dict())
    steps(resumed, one, 3)
    assert resumed.weight.equal(whole.weight)


def test_the_first_layer_learns_at_its_share_and_those_between_geometrically():
    model = Branches()
    one = optimizer(model, first_layer_learning_rate=0.01)
    set_learning_rate(one, 2.0)
    rates = {parameter: group["lr"] for group in one.param_groups for parameter in group["params"]}
    assert rates[model.heads.bias] == pytest.approx(2.0)
    assert rates[model.first.weight] == pytest.approx(0.02)
    middle = round(depths(model, CLIPS)[model.second.weight], 2)
    assert rates[model.second.weight] == pytest.approx(2.0 * 0.01**middle)
    assert {group["share"] for group in optimizer(model).param_groups} == {1.0}


def test_sgd_takes_a_nesterov_step():
    """With a gradient of 1 twice: the buffer is 1, then 0.9 + 1; a step is gradient + 0.9 buffer."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    settings = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.0}
    one = optimizer_of(model, (), TrainConfig.model_validate({"epochs": 1, **settings}), inputs=lambda: CLIPS)
    for expected in (-0.19, -0.19 - 0.1 * (1 + 0.9 * 1.9)):
        model.weight.grad = torch.ones(1, 1)
        one.step()
        assert model.weight.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "sgd"}, "sgd needs learning_rate and weight_decay, whose defaults are for adamw"),
        ({"optimizer": "sgd", "learning_rate": 0.1}, "sgd needs weight_decay, .* usual values are"),
        ({"optimizer": "dot"}, "dot needs learning_rate and weight_decay, whose defaults are for adamw"),
        ({"dot_delta": 0.1}, "dot_delta is for optimizer dot only; optimizer is adamw"),
        (
            {"optimizer": "dot", "learning_rate": 0.1, "weight_decay": 0, "dot_delta": 0.2},
            "momentum 0.9 and dot_delta 0.2 give the momenta 0.7 and 1.1; both must be at least 0",
        ),
        ({"momentum": 0.5}, "momentum is for the optimizers sgd and dot; adamw has none"),
        ({"patience": 3}, "patience 3 stops some epochs after the best one, whose weights need select: best"),
        ({"warmup": 1.0}, "less than or equal to 0.9"),
        ({"ema": 1.0}, "less than 1"),
        ({"clip_grad_norm": 0}, "greater than 0"),
        ({"optimizer": "adam"}, "Input should be 'adamw', 'sgd' or 'dot'"),
        ({"first_layer_learning_rate": 0}, "greater than or equal to 0.0001"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.model_validate({"epochs": 1, **settings})


def test_quantized_weights_are_not_averaged():
    with pytest.raises(ValueError, match=r"ema is 0\.9, but quantized weights belong to their ranges"):
        QuantizeConfig(method="qat", ema=0.9)
