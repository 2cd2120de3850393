"""Training of a lowered network: which parameters may change, and which must not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from export.capture.graph import capture
from export.lower import lower
from export.quantize.int8_reference import calibrate, convert, prepare
from tests.export.networks import Function, trained


def causal() -> nn.Module:
    """Dense, depthwise and temporal causal convolutions; one output per frame."""
    return trained(
        Function(
            lambda x, dense, depthwise, temporal: temporal(
                F.pad(
                    depthwise(F.pad(dense(F.pad(x, (1, 1, 1, 1, 2, 0))), (1, 1, 1, 1, 2, 0))),
                    (0, 0, 0, 0, 4, 0),
                )
            ).mean((3, 4)),
            nn.Conv3d(3, 4, 3),
            nn.Conv3d(4, 4, 3, groups=4),
            nn.Conv3d(4, 5, (3, 1, 1), dilation=(2, 1, 1)),
        )
    )


def test_a_causal_network_does_not_learn_to_see_the_future() -> None:
    torch.manual_seed(0)
    clips = torch.rand(2, 3, 6, 8, 8)
    prepared = prepare(lower(capture(causal(), (clips,))), qat=True)
    calibrate(prepared, [(clips,)])
    optimizer = torch.optim.AdamW(prepared.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        # The target of each frame is the next frame, which a network would learn if it could see it.
        wanted = clips.mean((1, 3, 4)).roll(-1, 1)[:, None].expand(-1, 5, -1)
        F.mse_loss(prepared(clips), wanted).backward()
        optimizer.step()
    reference = convert(prepared)
    other = clips.clone()
    other[:, :, 4:] = torch.rand(2, 3, 2, 8, 8)
    before, after = reference(clips), reference(other)
    assert torch.equal(before[:, :, :4], after[:, :, :4])
    assert not torch.equal(before[:, :, 4:], after[:, :, 4:])


def test_zero_taps_of_transposed_convolutions_stay_zero_and_zero_channels_learn() -> None:
    torch.manual_seed(0)
    model = trained(nn.Sequential(nn.ConvTranspose3d(3, 4, 3, 2, 1), nn.Conv3d(4, 4, 1)))
    with torch.no_grad():
        model[1].weight[0] = 0
    clips = torch.rand(1, 3, 4, 5, 5)
    prepared = prepare(lower(capture(model, (clips,))), qat=True)
    calibrate(prepared, [(clips,)])
    before = {name: weight.detach().clone() for name, weight in prepared.named_parameters()}
    optimizer = torch.optim.SGD(prepared.parameters(), lr=1e-2)
    prepared(clips).square().mean().backward()
    optimizer.step()
    after = dict(prepared.named_parameters())
    (kernel,) = (name for name, weight in before.items() if weight.dim() == 4 and weight.shape[0] == 4 * 8)
    assert (before[kernel] == 0).any() and not (before[kernel] == 0).all()
    assert torch.equal(before[kernel] == 0, after[kernel] == 0)
    (head,) = (name for name, weight in before.items() if weight.shape[:2] == (4, 4))
    assert not before[head][0].any() and after[head][0].any()


def test_weights_of_composites_are_trainable_and_their_constants_are_not() -> None:
    model = trained(
        nn.Sequential(
            nn.ConvTranspose3d(3, 6, 2, 2), nn.GroupNorm(3, 6), nn.AdaptiveAvgPool3d((3, 2, 1)), nn.Flatten(),
            nn.Linear(36, 2),
        )
    )  # fmt: skip
    clips = torch.rand(2, 3, 4, 6, 6)
    graph = lower(capture(model, (clips,)))
    graph(clips).square().sum().backward()
    trained_shapes = [tuple(parameter.shape) for parameter in graph.parameters()]
    assert all(parameter.grad is not None for parameter in graph.parameters())
    # The kernel (8 phases of 6 channels) and its bias, scale and shift of the norm, the classifier.
    assert sorted(map(len, trained_shapes)) == [1, 1, 1, 2, 4, 4]
