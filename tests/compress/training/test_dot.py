"""DOT against SGD with momentum, and by hand."""

import copy

import pytest
import torch
from torch import nn

from compress.training.dot import DOT


def trained(make, *, steps=4, max_norm=None):
    """The weights of a small network after some steps; `make` gives the optimizer for its parameters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    inputs, labels, taught = torch.randn(8, 3), torch.arange(8) % 2, torch.randn(8, 2)
    optimizer = make(model.parameters())
    for _ in range(steps):
        logits = model(inputs)
        task, distillation = (
            nn.functional.cross_entropy(logits, labels),
            3 * (logits - taught).square().mean(),
        )
        if isinstance(optimizer, DOT):
            optimizer.backward(task, distillation, max_norm=max_norm)
        else:
            optimizer.zero_grad()
            (task + distillation).backward()
            if max_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), max_norm=max_norm)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("max_norm", [None, 0.5])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_with_delta_0_it_is_sgd_with_momentum(weight_decay, max_norm):
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": weight_decay}
    sgd = trained(lambda p: torch.optim.SGD(p, **settings), max_norm=max_norm)
    dot = trained(lambda p: DOT(p, delta=0.0, **settings), max_norm=max_norm)
    torch.testing.assert_close(dot, sgd)


def test_the_momenta_of_labels_and_teacher_by_hand():
    """Slopes 1 of the labels in x and of the teacher in y: after two steps x has moved by 1 + 1 + 0.9 - delta."""
    weights = nn.Parameter(torch.zeros(2))
    optimizer = DOT([weights], lr=1.0, momentum=0.9, delta=0.075)
    for _ in range(2):
        optimizer.backward(weights[0], weights[1])
        optimizer.step()
    torch.testing.assert_close(weights.detach(), -torch.tensor([1 + 1 + 0.825, 1 + 1 + 0.975]))


def test_delta_turns_the_direction_towards_the_teacher():
    """Labels and teacher pull opposite ways with equal force: with delta the teacher wins, without it neither."""
    places = []
    for delta in (0.0, 0.075):
        weight = nn.Parameter(torch.zeros(()))
        optimizer = DOT([weight], lr=0.1, delta=delta)
        for _ in range(5):
            optimizer.backward(weight, -weight)
            optimizer.step()
        places.append(weight.item())
    assert places[0] == pytest.approx(0, abs=1e-7) and places[1] > 0.01


def test_a_parameter_of_one_loss_alone_has_the_momentum_of_sgd():
    student, projector, unused = (nn.Parameter(torch.ones(1)) for _ in range(3))
    optimizer = DOT([student, projector, unused], lr=0.1, momentum=0.5, delta=0.25, weight_decay=0.1)
    alone = nn.Parameter(torch.ones(1))
    sgd = torch.optim.SGD([alone], lr=0.1, momentum=0.5, weight_decay=0.1)
    for _ in range(3):
        optimizer.backward(student.sum(), (student * 2 + projector * 3).sum())
        optimizer.step()
        sgd.zero_grad()
        (alone * 3).sum().backward()
        sgd.step()
    torch.testing.assert_close(projector, alone)
    assert unused.item() == 1


def test_without_a_teacher_it_is_sgd():
    settings = {"lr": 0.1, "momentum": 0.9}
    one, other = (nn.Parameter(torch.ones(2)) for _ in range(2))
    dot, sgd = DOT([one], **settings), torch.optim.SGD([other], **settings)
    for _ in range(3):
        dot.backward(one.square().sum(), torch.zeros(()))
        dot.step()
        sgd.zero_grad()
        other.square().sum().backward()
        sgd.step()
    torch.testing.assert_close(one, other)


def test_it_goes_on_from_its_stored_state():
    weights = nn.Parameter(torch.zeros(2))
    optimizer = DOT([weights], lr=1.0)
    optimizer.backward(weights[0], weights[1])
    optimizer.step()
    other = nn.Parameter(weights.detach().clone())
    resumed = DOT([other], lr=1.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, place in ((optimizer, weights), (resumed, other)):
        one.backward(place[0], place[1])
        one.step()
    assert other.equal(weights)


@pytest.mark.parametrize(("momentum", "delta"), [(0.9, 0.1), (0.05, 0.075), (0.9, -0.01)])
def test_momenta_outside_0_to_1_are_refused(momentum, delta):
    with pytest.raises(
        ValueError, match=f"momentum {momentum} and delta {delta} give the momenta .* less than 1"
    ):
        DOT([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=momentum, delta=delta)
