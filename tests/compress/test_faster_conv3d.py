"""Convolutions computed in a faster way while training give the numbers and gradients of the usual ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.faster_conv3d import faster_conv3d


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv3d(4, 6, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        nn.Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1), groups=4, bias=False),
        nn.Conv3d(4, 6, (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
        nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0), groups=4, bias=False),
        nn.Conv3d(4, 6, 1),
        nn.Conv3d(4, 6, 1, stride=2),
        nn.Conv3d(4, 6, 3, padding=1),
        nn.Conv3d(4, 6, (1, 3, 3), padding=(0, 2, 2), dilation=(1, 2, 2)),
        nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0), padding_mode="replicate"),
        nn.Conv3d(4, 6, (1, 3, 3), padding="same"),
        nn.Conv3d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Conv3d(4, 4, 3, padding=1, groups=4),
        nn.Conv3d(4, 4, 3, stride=2, padding=1, groups=4, bias=False),
        nn.Conv3d(4, 4, (3, 3, 2), stride=(1, 2, 2), padding=(2, 1, 0), groups=4),
        nn.Conv3d(4, 4, (5, 3, 3), stride=(2, 1, 2), padding=(0, 2, 1), groups=4),
        nn.Conv3d(4, 4, 3, stride=3, padding=1, groups=4),
        nn.Conv3d(4, 4, 3, padding=3, groups=4),
        nn.Conv3d(4, 4, 3, padding="same", groups=4),
        nn.Conv3d(4, 8, 3, padding=1, groups=4),
    ],
    ids=str,
)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last_3d])
def test_values_and_gradients_stay(conv, order):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 5, 6, 7).to(memory_format=order).requires_grad_()
    expected = conv(x)
    change = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, (x, *conv.parameters()), change)
    with faster_conv3d(conv):
        found = conv(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, (x, *conv.parameters()), change), gradients)


def test_networks_are_as_before_afterwards():
    network = nn.Sequential(nn.Conv3d(2, 2, (1, 3, 3)), nn.Conv3d(2, 2, 3), nn.Conv3d(2, 2, 3, groups=2))
    with pytest.raises(RuntimeError, match="stopped"), faster_conv3d(network):
        assert ["forward" in vars(layer) for layer in network] == [True, False, True]
        raise RuntimeError("stopped")
    assert not any("forward" in vars(layer) for layer in network)
