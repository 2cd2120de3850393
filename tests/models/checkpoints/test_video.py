"""Public checkpoints by name and shape, computed by rule from the published architectures."""

from __future__ import annotations

import re

import pytest
import torch

from models.checkpoints import load_public
from models.checkpoints.video import VIDEO_LAYOUTS
from models.teachers.video import VIDEO_ENCODERS
from tests.models.checkpoints.published import Shapes, conv_norm, linear, resnet3d_18
from tests.specs import clip_spec


def resnet50() -> Shapes:
    """torchvision.models resnet50."""
    yield from conv_norm("conv1", "bn1", (64, 3, 7, 7))
    before = 64
    for stage, (inner, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            yield from conv_norm(f"{name}.conv1", f"{name}.bn1", (inner, before, 1, 1))
            yield from conv_norm(f"{name}.conv2", f"{name}.bn2", (inner, inner, 3, 3))
            yield from conv_norm(f"{name}.conv3", f"{name}.bn3", (4 * inner, inner, 1, 1))
            if block == 0:
                yield from conv_norm(
                    f"{name}.downsample.0", f"{name}.downsample.1", (4 * inner, before, 1, 1)
                )
            before = 4 * inner
    yield from linear("fc", 2048, 1000)


INCEPTION = (
    (5, "3b", 192, (64, 96, 128, 16, 32, 32)),
    (6, "3c", 256, (128, 128, 192, 32, 96, 64)),
    (8, "4b", 480, (192, 96, 208, 16, 48, 64)),
    (9, "4c", 512, (160, 112, 224, 24, 64, 64)),
    (10, "4d", 512, (128, 128, 256, 24, 64, 64)),
    (11, "4e", 512, (112, 144, 288, 32, 64, 64)),
    (12, "4f", 528, (256, 160, 320, 32, 128, 128)),
    (14, "5b", 832, (256, 160, 320, 32, 128, 128)),
    (15, "5c", 832, (384, 192, 384, 48, 128, 128)),
)
"""Place in `features` of torchvision's S3D, name in I3D, channels before, and of every convolution."""


def s3d() -> Shapes:
    """torchvision.models.video s3d."""

    def separable(name: str, before: int, after: int, kernel: int) -> Shapes:
        yield from conv_norm(f"{name}.0.0", f"{name}.0.1", (after, before, 1, kernel, kernel))
        yield from conv_norm(f"{name}.1.0", f"{name}.1.1", (after, after, kernel, 1, 1))

    def point(name: str, before: int, after: int) -> Shapes:
        yield from conv_norm(f"{name}.0", f"{name}.1", (after, before, 1, 1, 1))

    yield from separable("features.0", 3, 64, 7)
    yield from point("features.2", 64, 64)
    yield from separable("features.3", 64, 192, 3)
    for place, _, before, (b0, b1a, b1b, b2a, b2b, b3) in INCEPTION:
        name = f"features.{place}"
        yield from point(f"{name}.branch0", before, b0)
        yield from point(f"{name}.branch1.0", before, b1a)
        yield from separable(f"{name}.branch1.1", b1a, b1b, 3)
        yield from point(f"{name}.branch2.0", before, b2a)
        yield from separable(f"{name}.branch2.1", b2a, b2b, 3)
        yield from point(f"{name}.branch3.1", before, b3)
    yield "classifier.1.weight", (400, 1024, 1, 1, 1)
    yield "classifier.1.bias", (400,)


def i3d() -> Shapes:
    """pytorch-i3d, rgb_imagenet."""

    def unit(name: str, before: int, after: int, kernel: int) -> Shapes:
        yield from conv_norm(f"{name}.conv3d", f"{name}.bn", (after, before, kernel, kernel, kernel))

    yield from unit("Conv3d_1a_7x7", 3, 64, 7)
    yield from unit("Conv3d_2b_1x1", 64, 64, 1)
    yield from unit("Conv3d_2c_3x3", 64, 192, 3)
    for _, block, before, (b0, b1a, b1b, b2a, b2b, b3) in INCEPTION:
        name = f"Mixed_{block}"
        yield from unit(f"{name}.b0", before, b0, 1)
        yield from unit(f"{name}.b1a", before, b1a, 1)
        yield from unit(f"{name}.b1b", b1a, b1b, 3)
        yield from unit(f"{name}.b2a", before, b2a, 1)
        yield from unit(f"{name}.b2b", b2a, b2b, 3)
        yield from unit(f"{name}.b3b", before, b3, 1)
    yield "logits.conv3d.weight", (400, 1024, 1, 1, 1)
    yield "logits.conv3d.bias", (400,)


def c3d() -> Shapes:
    """The PyTorch port of the Sports-1M weights, for 16 frames of 112 x 112."""
    rows = (("1", 3, 64), ("2", 64, 128), ("3a", 128, 256), ("3b", 256, 256))
    rows += (("4a", 256, 512), ("4b", 512, 512), ("5a", 512, 512), ("5b", 512, 512))
    for name, before, after in rows:
        yield f"conv{name}.weight", (after, before, 3, 3, 3)
        yield f"conv{name}.bias", (after,)
    yield from linear("fc6", 8192, 4096)
    yield from linear("fc7", 4096, 4096)
    yield from linear("fc8", 4096, 487)


def slowfast_r50() -> Shapes:
    """pytorchvideo.models slowfast_r50."""
    pathways = ((0, 64, 1, (1, 1, 3, 3)), (1, 8, 5, (3, 3, 3, 3)))
    for pathway, stem, frames, _ in pathways:
        name = f"blocks.0.multipathway_blocks.{pathway}"
        yield from conv_norm(f"{name}.conv", f"{name}.norm", (stem, 3, frames, 7, 7))
    for block, fast in enumerate((8, 32, 64, 128)):
        name = f"blocks.{block}.multipathway_fusion"
        yield from conv_norm(f"{name}.conv_fast_to_slow", f"{name}.norm", (2 * fast, fast, 7, 1, 1))
    for pathway, stem, _, frames in pathways:
        before = stem
        for stage, blocks in enumerate((3, 4, 6, 3)):
            inner = stem * 2**stage
            before += before // 4 if pathway == 0 else 0  # what the fast pathway hands over
            for block in range(blocks):
                name = f"blocks.{stage + 1}.multipathway_blocks.{pathway}.res_blocks.{block}"
                shapes = {
                    "a": (inner, before, frames[stage], 1, 1),
                    "b": (inner, inner, 1, 3, 3),
                    "c": (4 * inner, inner, 1, 1, 1),
                }
                for part, shape in shapes.items():
                    yield from conv_norm(f"{name}.branch2.conv_{part}", f"{name}.branch2.norm_{part}", shape)
                if block == 0:
                    yield from conv_norm(
                        f"{name}.branch1_conv", f"{name}.branch1_norm", (4 * inner, before, 1, 1, 1)
                    )
                before = 4 * inner
    yield from linear("blocks.6.proj", 2304, 400)


def timesformer() -> Shapes:
    """The authors' TimeSformer_divST_8x32_224_K400."""
    features = 768
    yield "model.cls_token", (1, 1, features)
    yield "model.pos_embed", (1, 197, features)
    yield "model.time_embed", (1, 8, features)
    yield "model.patch_embed.proj.weight", (features, 3, 16, 16)
    yield "model.patch_embed.proj.bias", (features,)
    for block in range(12):
        name = f"model.blocks.{block}"
        for one in ("norm1", "temporal_norm1", "norm2"):
            yield f"{name}.{one}.weight", (features,)
            yield f"{name}.{one}.bias", (features,)
        for attention in ("attn", "temporal_attn"):
            yield from linear(f"{name}.{attention}.qkv", features, 3 * features)
            yield from linear(f"{name}.{attention}.proj", features, features)
        yield from linear(f"{name}.temporal_fc", features, features)
        yield from linear(f"{name}.mlp.fc1", features, 4 * features)
        yield from linear(f"{name}.mlp.fc2", 4 * features, features)
    yield "model.norm.weight", (features,)
    yield "model.norm.bias", (features,)
    yield from linear("model.head", features, 400)


PUBLIC = {
    "r3d_18": (lambda: resnet3d_18(factorised=False), 33_371_472),
    "r2plus1d_18": (lambda: resnet3d_18(factorised=True), 31_505_325),
    "s3d": (s3d, 8_320_048),
    "i3d": (i3d, None),
    "c3d": (c3d, None),
    "slowfast_r50": (slowfast_r50, None),
    "resnet50_frames": (resnet50, 25_557_032),
    "resnet50_lstm": (resnet50, 25_557_032),
    "timesformer": (timesformer, None),
}
"""Names and shapes of every tensor, and the number of parameters stated by the library."""


def encoder(name: str) -> torch.nn.Module:
    frames, size = (8, 224) if name == "timesformer" else (16, 112)
    row = VIDEO_ENCODERS[name]
    with torch.device("meta"):
        return row.build(clip_spec(frames=frames, size=size, classes=2), row.options()).network


def public(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in PUBLIC[name][0]()}


def test_every_layout_of_an_encoder_but_that_of_the_users_own_models_is_tested():
    assert set(PUBLIC) | {"huggingface"} == set(VIDEO_LAYOUTS)


@pytest.mark.parametrize("name", [name for name, (_, parameters) in PUBLIC.items() if parameters])
def test_the_list_of_names_has_the_published_number_of_parameters(name):
    shapes = dict(PUBLIC[name][0]())
    statistics = re.compile(r".*(running_mean|running_var|num_batches_tracked)")
    count = sum(torch.Size(shape).numel() for key, shape in shapes.items() if not statistics.fullmatch(key))
    assert count == PUBLIC[name][1]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_weights_fit_by_name_and_shape(name):
    drawn = load_public(encoder(name), public(name), name=name).drawn
    assert all(key.startswith("recurrent.") for key in drawn)
    assert bool(drawn) == (name == "resnet50_lstm")


def test_values_go_where_they_belong():
    network = (
        VIDEO_ENCODERS["r3d_18"]
        .build(clip_spec(frames=4, size=32, classes=2), VIDEO_ENCODERS["r3d_18"].options())
        .network
    )
    weights = {key: torch.zeros(shape) for key, shape in PUBLIC["r3d_18"][0]()}
    weights["layer2.0.conv2.0.weight"] = torch.ones(128, 128, 3, 3, 3)
    load_public(network, weights, name="r3d_18")
    assert network.video[3].body[3].weight.eq(1).all()
    assert network.video[3].body[0].weight.eq(0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("layer1.0.conv1.0.weight"),
            r"1 tensors missing: video\.1\.body\.0\.weight",
        ),
        (lambda w: w.update(extra=torch.empty(1)), "1 tensors unknown: extra"),
        (
            lambda w: w.update({"stem.0.weight": torch.empty(8, 3, 3, 7, 7)}),
            r"of another shape: video\.0\.0\.weight is \(8, 3, 3, 7, 7\) instead of \(64, 3, 3, 7, 7\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message):
    weights = public("r3d_18")
    change(weights)
    with pytest.raises(ValueError, match=f"not the public weights of r3d_18.*{message}"):
        load_public(encoder("r3d_18"), weights, name="r3d_18")


def test_an_encoder_without_public_weights_is_refused():
    with pytest.raises(ValueError, match="no public weights are known for factorised; available for r3d_18"):
        load_public(torch.nn.Identity(), {}, name="factorised")
