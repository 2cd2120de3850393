"""Published networks by the names of their tensors: names and shapes by rule, and what they compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def norm(name: str, channels: int) -> Shapes:
    for kind in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{kind}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def linear(name: str, before: int, after: int) -> Shapes:
    yield f"{name}.weight", (after, before)
    yield f"{name}.bias", (after,)


def conv_norm(conv: str, bn: str, shape: tuple[int, ...]) -> Shapes:
    yield f"{conv}.weight", shape
    yield from norm(bn, shape[0])


def drawn(shapes: Shapes, *, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of a network in use: variances and scales near one, no tensor at its initial value."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes:
        if name.endswith("alpha"):
            weights[name] = torch.tensor(0.7)
        elif name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
        elif name.endswith(("running_var", "bn.weight", "norm.weight")) or (
            len(shape) == 1 and "weight" in name
        ):
            weights[name] = torch.empty(shape).uniform_(0.6, 1.2, generator=generator)
        elif len(shape) == 1:
            weights[name] = 0.2 * torch.randn(shape, generator=generator)
        else:
            fan_in = torch.Size(shape[1:]).numel()
            weights[name] = torch.randn(shape, generator=generator) * (1.4 / fan_in) ** 0.5
    return weights


class Published:
    """Layers of a published network, by name."""

    def __init__(self, weights: Mapping[str, Tensor], *, eps: float = 1e-5) -> None:
        self.weights, self.eps = weights, eps

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.weights

    def conv(self, name: str, x: Tensor, *, stride=1, padding=0, groups=1) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        function = F.conv3d if weight.dim() == 5 else F.conv2d
        return function(x, weight, bias, stride=stride, padding=padding, groups=groups)

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (
            self.weights[f"{name}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias, eps=self.eps)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])


X3D_STAGES = ((24, 3), (48, 5), (96, 11), (192, 7))


def x3d_pytorchvideo() -> Shapes:
    """`create_x3d` of pytorchvideo/models/x3d.py with its settings for X3D-XS, S and M."""
    yield "blocks.0.conv.conv_t.weight", (24, 3, 1, 3, 3)
    yield "blocks.0.conv.conv_xy.weight", (24, 1, 5, 1, 1)
    yield from norm("blocks.0.norm", 24)
    before = 24
    for stage, (after, repeats) in enumerate(X3D_STAGES, start=1):
        inner = after * 9 // 4
        for block in range(repeats):
            name = f"blocks.{stage}.res_blocks.{block}"
            if block == 0:
                yield f"{name}.branch1_conv.weight", (after, before, 1, 1, 1)
                if before != after:
                    yield from norm(f"{name}.branch1_norm", after)
            yield from conv_norm(f"{name}.branch2.conv_a", f"{name}.branch2.norm_a", (inner, before, 1, 1, 1))
            yield from conv_norm(f"{name}.branch2.conv_b", f"{name}.branch2.norm_b.0", (inner, 1, 3, 3, 3))
            if block % 2 == 0:
                hidden = squeezed(inner)
                for place, shape in ((0, (hidden, inner)), (2, (inner, hidden))):
                    yield f"{name}.branch2.norm_b.1.block.{place}.weight", (*shape, 1, 1, 1)
                    yield f"{name}.branch2.norm_b.1.block.{place}.bias", shape[:1]
            yield from conv_norm(f"{name}.branch2.conv_c", f"{name}.branch2.norm_c", (after, inner, 1, 1, 1))
            before = after
    yield from conv_norm("blocks.5.pool.pre_conv", "blocks.5.pool.pre_norm", (432, 192, 1, 1, 1))
    yield "blocks.5.pool.post_conv.weight", (2048, 432, 1, 1, 1)
    yield from linear("blocks.5.proj", 2048, 400)


def squeezed(inner: int) -> int:
    """A sixteenth in multiples of 8, of at least 8, and at most 10 % below."""
    hidden = max(8, int(inner / 16 + 4) // 8 * 8)
    return hidden + 8 if hidden < 0.9 * inner / 16 else hidden


_TO_SLOWFAST = {
    **{"branch1_conv": "branch1", "branch1_norm": "branch1_bn", "branch2.norm_b.0": "branch2.b_bn"},
    **{"branch2.norm_b.1.block.0": "branch2.se.fc1", "branch2.norm_b.1.block.2": "branch2.se.fc2"},
    **{f"branch2.conv_{layer}": f"branch2.{layer}" for layer in "abc"},
    **{f"branch2.norm_{layer}": f"branch2.{layer}_bn" for layer in "ac"},
}
_SLOWFAST_ENDS = {
    **{"blocks.0.conv.conv_t": "s1.pathway0_stem.conv_xy", "blocks.0.conv.conv_xy": "s1.pathway0_stem.conv"},
    **{"blocks.0.norm": "s1.pathway0_stem.bn", "blocks.5.pool.pre_conv": "head.conv_5"},
    **{"blocks.5.pool.pre_norm": "head.conv_5_bn", "blocks.5.pool.post_conv": "head.lin_5"},
    **{"blocks.5.proj": "head.projection"},
}


def slowfast_name(name: str) -> str:
    """The name of a tensor of PyTorchVideo's X3D in SlowFast's."""
    layer, _, kind = name.rpartition(".")
    if layer in _SLOWFAST_ENDS:
        return f"{_SLOWFAST_ENDS[layer]}.{kind}"
    _, stage, _, block, inner = layer.split(".", 4)
    return f"s{int(stage) + 1}.pathway0_res{block}.{_TO_SLOWFAST[inner]}.{kind}"


def x3d_slowfast() -> Shapes:
    """`X3D` of slowfast/models/video_model_builder.py: also the first shortcut has a BatchNorm."""
    for name, shape in x3d_pytorchvideo():
        yield slowfast_name(name), shape
    yield from norm("s2.pathway0_res0.branch1_bn", 24)


def x3d_features(weights: Mapping[str, Tensor], clip: Tensor, *, rename=lambda name: name) -> Tensor:
    """What X3D gives its last linear layer, of a normalised clip; `rename` gives PyTorchVideo's names others."""
    net = Published({key: weights[rename(key)] for key, _ in x3d_pytorchvideo()})
    extra = {"bn": Published(weights)} if "s2.pathway0_res0.branch1_bn.weight" in weights else {}
    x = net.conv("blocks.0.conv.conv_t", clip, stride=(1, 2, 2), padding=(0, 1, 1))
    x = net.conv("blocks.0.conv.conv_xy", x, padding=(2, 0, 0), groups=24)
    x = net.norm("blocks.0.norm", x).relu()
    for stage, (_, repeats) in enumerate(X3D_STAGES, start=1):
        for block in range(repeats):
            name, stride = f"blocks.{stage}.res_blocks.{block}", (1, 1 + (block == 0), 1 + (block == 0))
            shortcut = x
            if block == 0:
                shortcut = net.conv(f"{name}.branch1_conv", x, stride=stride)
                if stage > 1:
                    shortcut = net.norm(f"{name}.branch1_norm", shortcut)
                elif extra:
                    shortcut = extra["bn"].norm("s2.pathway0_res0.branch1_bn", shortcut)
            name += ".branch2"
            y = net.norm(f"{name}.norm_a", net.conv(f"{name}.conv_a", x)).relu()
            y = net.conv(f"{name}.conv_b", y, stride=stride, padding=1, groups=y.shape[1])
            y = net.norm(f"{name}.norm_b.0", y)
            if block % 2 == 0:
                gate = net.conv(f"{name}.norm_b.1.block.0", y.mean((2, 3, 4), keepdim=True)).relu()
                y = y * net.conv(f"{name}.norm_b.1.block.2", gate).sigmoid()
            y = net.norm(f"{name}.norm_c", net.conv(f"{name}.conv_c", F.silu(y)))
            x = (shortcut + y).relu()
    x = net.norm("blocks.5.pool.pre_norm", net.conv("blocks.5.pool.pre_conv", x)).relu()
    return net.conv("blocks.5.pool.post_conv", x.mean((2, 3, 4), keepdim=True)).relu().flatten(1)


V2_ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, repeats, stride: `inverted_residual_setting` of torchvision's mobilenetv2.py."""


def v2_blocks() -> Iterator[tuple[int, int, int, int, int]]:
    """Number, channels before, inner channels, channels after and stride of every block."""
    before, number = 32, 1
    for expand, after, repeats, stride in V2_ROWS:
        for repeat in range(repeats):
            yield number, before, before * expand, after, stride if repeat == 0 else 1
            before, number = after, number + 1


def mobilenet_v2() -> Shapes:
    yield from conv_norm("features.0.0", "features.0.1", (32, 3, 3, 3))
    for number, before, inner, after, _ in v2_blocks():
        name, place = f"features.{number}.conv", 0
        if inner != before:
            yield from conv_norm(f"{name}.0.0", f"{name}.0.1", (inner, before, 1, 1))
            place = 1
        yield from conv_norm(f"{name}.{place}.0", f"{name}.{place}.1", (inner, 1, 3, 3))
        yield from conv_norm(f"{name}.{place + 1}", f"{name}.{place + 2}", (after, inner, 1, 1))
    yield from conv_norm("features.18.0", "features.18.1", (1280, 320, 1, 1))
    yield from linear("classifier.1", 1280, 1000)


def mobilenet_v2_features(weights: Mapping[str, Tensor], pictures: Tensor) -> Tensor:
    net = Published(weights)
    x = F.relu6(net.norm("features.0.1", net.conv("features.0.0", pictures, stride=2, padding=1)))
    for number, before, inner, after, stride in v2_blocks():
        name, place, y = f"features.{number}.conv", 0, x
        if inner != before:
            y, place = F.relu6(net.norm(f"{name}.0.1", net.conv(f"{name}.0.0", y))), 1
        y = net.conv(f"{name}.{place}.0", y, stride=stride, padding=1, groups=inner)
        y = F.relu6(net.norm(f"{name}.{place}.1", y))
        y = net.norm(f"{name}.{place + 2}", net.conv(f"{name}.{place + 1}", y))
        x = x + y if stride == 1 and before == after else y
    return F.relu6(net.norm("features.18.1", net.conv("features.18.0", x))).mean((2, 3))


V3_ROWS = (
    (16, 3, 16, 16, False, F.relu, 1),
    (16, 3, 64, 24, False, F.relu, 2),
    (24, 3, 72, 24, False, F.relu, 1),
    (24, 5, 72, 40, True, F.relu, 2),
    (40, 5, 120, 40, True, F.relu, 1),
    (40, 5, 120, 40, True, F.relu, 1),
    (40, 3, 240, 80, False, F.hardswish, 2),
    (80, 3, 200, 80, False, F.hardswish, 1),
    (80, 3, 184, 80, False, F.hardswish, 1),
    (80, 3, 184, 80, False, F.hardswish, 1),
    (80, 3, 480, 112, True, F.hardswish, 1),
    (112, 3, 672, 112, True, F.hardswish, 1),
    (112, 5, 672, 160, True, F.hardswish, 2),
    (160, 5, 960, 160, True, F.hardswish, 1),
    (160, 5, 960, 160, True, F.hardswish, 1),
)
"""`bneck_conf` of torchvision's mobilenetv3.py, mobilenet_v3_large."""
V3_HIDDEN = {72: 24, 120: 32, 480: 120, 672: 168, 960: 240}
"""Inner channels of a squeeze-excite."""


def mobilenet_v3_large() -> Shapes:
    yield from conv_norm("features.0.0", "features.0.1", (16, 3, 3, 3))
    for number, (before, kernel, inner, after, excites, _, _) in enumerate(V3_ROWS, start=1):
        name, place = f"features.{number}.block", 0
        if inner != before:
            yield from conv_norm(f"{name}.0.0", f"{name}.0.1", (inner, before, 1, 1))
            place = 1
        yield from conv_norm(f"{name}.{place}.0", f"{name}.{place}.1", (inner, 1, kernel, kernel))
        if excites:
            place += 1
            for fc, shape in (("fc1", (V3_HIDDEN[inner], inner)), ("fc2", (inner, V3_HIDDEN[inner]))):
                yield f"{name}.{place}.{fc}.weight", (*shape, 1, 1)
                yield f"{name}.{place}.{fc}.bias", shape[:1]
        yield from conv_norm(f"{name}.{place + 1}.0", f"{name}.{place + 1}.1", (after, inner, 1, 1))
    yield from conv_norm("features.16.0", "features.16.1", (960, 160, 1, 1))
    yield from linear("classifier.0", 960, 1280)
    yield from linear("classifier.3", 1280, 1000)


def mobilenet_v3_features(weights: Mapping[str, Tensor], pictures: Tensor) -> Tensor:
    """What the last convolution gives, `N C H W`."""
    net = Published(weights, eps=1e-3)
    x = F.hardswish(net.norm("features.0.1", net.conv("features.0.0", pictures, stride=2, padding=1)))
    for number, (before, kernel, inner, after, excites, activation, stride) in enumerate(V3_ROWS, start=1):
        name, place, y = f"features.{number}.block", 0, x
        if inner != before:
            y, place = activation(net.norm(f"{name}.0.1", net.conv(f"{name}.0.0", y))), 1
        y = net.conv(f"{name}.{place}.0", y, stride=stride, padding=kernel // 2, groups=inner)
        y = activation(net.norm(f"{name}.{place}.1", y))
        if excites:
            place += 1
            gate = net.conv(f"{name}.{place}.fc1", y.mean((2, 3), keepdim=True)).relu()
            y = y * F.hardsigmoid(net.conv(f"{name}.{place}.fc2", gate))
        y = net.norm(f"{name}.{place + 1}.1", net.conv(f"{name}.{place + 1}.0", y))
        x = x + y if stride == 1 and before == after else y
    return F.hardswish(net.norm("features.16.1", net.conv("features.16.0", x)))


LITE_ROWS = (
    *((3, 1, 1, 32, 16, 1), (3, 2, 6, 16, 24, 2), (5, 2, 6, 24, 40, 2), (3, 2, 6, 40, 80, 3)),
    *((5, 1, 6, 80, 112, 3), (5, 2, 6, 112, 192, 4), (3, 1, 6, 192, 320, 1)),
)
"""Kernel, stride, expansion, channels before and after, repeats: efficientnet_lite_builder.py of tensorflow/tpu."""


def lite_blocks() -> Iterator[tuple[int, int, int, int, int, int]]:
    """Number, kernel, stride, channels before, inner channels and channels after of every block."""
    number = 0
    for kernel, stride, expand, before, after, repeats in LITE_ROWS:
        for repeat in range(repeats):
            yield number, kernel, stride if repeat == 0 else 1, before, before * expand, after
            before, number = after, number + 1


def lite0() -> Shapes:
    yield from conv_norm("_conv_stem", "_bn0", (32, 3, 3, 3))
    for number, kernel, _, before, inner, after in lite_blocks():
        name = f"_blocks.{number}"
        if inner != before:
            yield from conv_norm(f"{name}._expand_conv", f"{name}._bn0", (inner, before, 1, 1))
        yield from conv_norm(f"{name}._depthwise_conv", f"{name}._bn1", (inner, 1, kernel, kernel))
        yield from conv_norm(f"{name}._project_conv", f"{name}._bn2", (after, inner, 1, 1))
    yield from conv_norm("_conv_head", "_bn1", (1280, 320, 1, 1))
    yield from linear("_fc", 1280, 1000)


def lite0_features(weights: Mapping[str, Tensor], pictures: Tensor) -> Tensor:
    """The inputs of the classifier, with TensorFlow's padding: as much at the end as at the start, or one more."""
    net = Published(weights, eps=1e-3)

    def same(name: str, x: Tensor, *, stride: int, groups: int = 1) -> Tensor:
        kernel, pads = weights[f"{name}.weight"].shape[-1], []
        for size in (x.shape[3], x.shape[2]):
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [missing // 2, missing - missing // 2]
        return net.conv(name, F.pad(x, pads), stride=stride, groups=groups)

    x = F.relu6(net.norm("_bn0", same("_conv_stem", pictures, stride=2)))
    for number, _, stride, before, inner, after in lite_blocks():
        name, y = f"_blocks.{number}", x
        if inner != before:
            y = F.relu6(net.norm(f"{name}._bn0", net.conv(f"{name}._expand_conv", y)))
        y = F.relu6(net.norm(f"{name}._bn1", same(f"{name}._depthwise_conv", y, stride=stride, groups=inner)))
        y = net.norm(f"{name}._bn2", net.conv(f"{name}._project_conv", y))
        x = x + y if stride == 1 and before == after else y
    return F.relu6(net.norm("_bn1", net.conv("_conv_head", x))).mean((2, 3))


def resnet3d_18(*, factorised: bool) -> Shapes:
    """torchvision.models.video r3d_18 and r2plus1d_18."""
    if factorised:
        yield from conv_norm("stem.0", "stem.1", (45, 3, 1, 7, 7))
        yield from conv_norm("stem.3", "stem.4", (64, 45, 3, 1, 1))
    else:
        yield from conv_norm("stem.0", "stem.1", (64, 3, 3, 7, 7))
    before = 64
    for stage, after in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            middle = before * after * 27 // (before * 9 + 3 * after)
            for number, channels in ((1, before), (2, after)):
                conv = f"{name}.conv{number}"
                if factorised:
                    yield from conv_norm(f"{conv}.0.0", f"{conv}.0.1", (middle, channels, 1, 3, 3))
                    yield f"{conv}.0.3.weight", (after, middle, 3, 1, 1)
                else:
                    yield f"{conv}.0.weight", (after, channels, 3, 3, 3)
                yield from norm(f"{conv}.1", after)
            if before != after:
                yield from conv_norm(f"{name}.downsample.0", f"{name}.downsample.1", (after, before, 1, 1, 1))
            before = after
    yield from linear("fc", 512, 400)


def resnet3d_18_features(weights: Mapping[str, Tensor], clip: Tensor) -> Tensor:
    net = Published(weights)
    factorised = net.has("stem.3")
    if factorised:
        x = net.norm("stem.1", net.conv("stem.0", clip, stride=(1, 2, 2), padding=(0, 3, 3))).relu()
        x = net.norm("stem.4", net.conv("stem.3", x, padding=(1, 0, 0))).relu()
    else:
        x = net.norm("stem.1", net.conv("stem.0", clip, stride=(1, 2, 2), padding=(1, 3, 3))).relu()

    def unit(name: str, x: Tensor, stride: int) -> Tensor:
        if not factorised:
            return net.norm(f"{name}.1", net.conv(f"{name}.0", x, stride=stride, padding=1))
        x = net.conv(f"{name}.0.0", x, stride=(1, stride, stride), padding=(0, 1, 1))
        x = net.norm(f"{name}.0.1", x).relu()
        return net.norm(f"{name}.1", net.conv(f"{name}.0.3", x, stride=(stride, 1, 1), padding=(1, 0, 0)))

    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            shortcut = x
            if net.has(f"{name}.downsample.0"):
                shortcut = net.conv(f"{name}.downsample.0", x, stride=stride)
                shortcut = net.norm(f"{name}.downsample.1", shortcut)
            x = (shortcut + unit(f"{name}.conv2", unit(f"{name}.conv1", x, stride).relu(), 1)).relu()
    return x.mean((2, 3, 4))
