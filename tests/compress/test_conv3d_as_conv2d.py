"""Convolutions computed in 2D while training give the numbers and gradients of the 3D ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.conv3d_as_conv2d import conv3d_as_conv2d


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
    with conv3d_as_conv2d(conv):
        found = conv(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, (x, *conv.parameters()), change), gradients)


def test_networks_are_as_before_afterwards():
    network = nn.Sequential(nn.Conv3d(2, 2, (1, 3, 3)), nn.Conv3d(2, 2, 3))
    with pytest.raises(RuntimeError, match="stopped"), conv3d_as_conv2d(network):
        assert ["forward" in vars(layer) for layer in network] == [True, False]
        raise RuntimeError("stopped")
    assert not any("forward" in vars(layer) for layer in network)
