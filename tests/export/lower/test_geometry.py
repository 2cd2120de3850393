"""Lowered convolutions and poolings of random geometries, from fixed seeds, compared with torch."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.capture.graph import capture
from export.lower import lower
from tests.export.networks import Function

pytestmark = pytest.mark.slow

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
RELATIVE_ERROR = 1e-5


def assert_same(model: nn.Module, x: Tensor, what: str) -> None:
    """Lowers `model` and compares the two on `x`."""
    with torch.no_grad():
        expected = model.eval()(x)
        given = lower(capture(model, (x,)))(x)
    assert given.shape == expected.shape, what
    assert (given - expected).abs().max() <= RELATIVE_ERROR * expected.abs().max(), what


def low_rank(layer: nn.Module, rank: int) -> None:
    """Makes every 3D kernel of `layer` a sum of `rank` products of a kernel in time and one in space."""
    weight: Tensor = layer.weight.data  # type: ignore[union-attr, assignment]
    u, s, v = torch.linalg.svd(weight.flatten(3).double(), full_matrices=False)
    s[..., rank:] = 0
    weight.copy_((u * s[..., None, :] @ v).reshape(weight.shape))


def convolution(rng: random.Random) -> tuple[nn.Module, Tensor]:
    dims, transposed = rng.choice((1, 2, 3, 3, 3)), rng.random() < 0.4
    groups = rng.choice((1, 1, 2, 3, 4, 6))
    channels = groups * rng.choice((1, 1, 2)), groups * rng.choice((1, 1, 2, 3))

    def numbers(choices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(rng.choice(choices) for _ in range(dims))

    kernel, stride, dilation = numbers((1, 2, 3, 3, 4, 5)), numbers((1, 1, 2, 3)), numbers((1, 1, 2, 3))
    geometry = {"stride": stride, "dilation": dilation, "groups": groups, "bias": rng.random() < 0.6}
    if transposed:
        padding = tuple(rng.randint(0, (k - 1) * d) for k, d in zip(kernel, dilation, strict=True))
        extra = tuple(rng.randrange(max(s, d)) for s, d in zip(stride, dilation, strict=True))
        layer = TRANSPOSED[dims](*channels, kernel, padding=padding, output_padding=extra, **geometry)
    elif rng.random() < 0.2:
        layer = CONVOLUTIONS[dims](*channels, kernel, padding="same", **geometry | {"stride": 1})
    else:
        padding = tuple(rng.randint(0, k) for k in kernel)
        layer = CONVOLUTIONS[dims](*channels, kernel, padding=padding, **geometry)
    rank = rng.choice((None, 1, 1, 2))
    if dims == 3 and rank is not None:
        low_rank(layer, rank)
    x = torch.randn(rng.choice((1, 1, 2)), channels[0], *(rng.randint(4, 9) for _ in range(dims)))
    if dims == 3 and rng.random() < 0.3:
        layer = nn.Sequential(nn.ConstantPad3d([rng.randint(-1, 2) for _ in range(6)], 0.0), layer)
    return layer, x


def pooling(rng: random.Random) -> tuple[nn.Module, Tensor]:
    dims, kind = (
        rng.choice((1, 2, 3)),
        rng.choice(("max", "avg", "avg", "lp", "adaptive_max", "adaptive_avg")),
    )
    x = torch.randn(1, rng.choice((1, 3, 6)), *(rng.randint(3, 9) for _ in range(dims)))
    function: Callable[..., Tensor] = getattr(F, f"{kind}_pool{dims}d")
    if kind.startswith("adaptive"):
        sizes = [rng.randint(1, size + 1) for size in x.shape[2:]]
        return Function(lambda x: function(x, sizes)), x
    kernel, stride = ([rng.randint(1, most) for _ in range(dims)] for most in (4, 3))
    padding, ceil = [rng.randint(0, k // 2) for k in kernel], rng.random() < 0.6
    if kind == "lp":
        geometry = (kernel[0], stride[0]) if dims == 1 else (kernel, stride)
        return Function(lambda x: function(x.abs() + 0.1, 2, *geometry, ceil)), x
    if kind == "max":
        dilation = [rng.choice((1, 1, 1, 2)) for _ in range(dims)]
        return Function(lambda x: function(x, kernel, stride, padding, dilation, ceil)), x
    words = [ceil, rng.random() < 0.5, *([rng.choice((None, None, 3))] if dims > 1 else [])]
    return Function(lambda x: function(x, kernel, stride, padding, *words)), x


@pytest.mark.parametrize("draw", [convolution, pooling])
@pytest.mark.parametrize("seed", range(40))
def test_drawn_geometries(draw, seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    for _ in range(100):  # some draws do not fit the input
        try:
            model, x = draw(rng)
            with torch.no_grad():
                y = model(x)
        except (RuntimeError, ValueError):
            continue
        if y.numel() and y.isfinite().all():
            assert_same(model, x, f"{model} on {list(x.shape)}")
            return
    pytest.fail("no geometry fits")


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Conv3d(8, 16, 3, padding=1, groups=8),
        lambda: nn.Conv3d(8, 8, (5, 2, 2), groups=8),
        lambda: nn.Conv3d(8, 24, (5, 2, 2), padding=(2, 1, 0), groups=8),
        lambda: nn.ConvTranspose3d(8, 8, 3, 2, 1, dilation=2, groups=8),
        lambda: nn.ConvTranspose3d(8, 16, (2, 3, 3), dilation=(2, 1, 1), groups=8),
    ],
    ids=["two outputs to a channel", "five taps in time", "three outputs", "transposed", "transposed to two"],
)
def test_inflated_depthwise_kernels(layer) -> None:
    torch.manual_seed(0)
    model = layer()
    low_rank(model, 1)
    assert_same(model, torch.randn(1, 8, 6, 7, 5), str(model))
