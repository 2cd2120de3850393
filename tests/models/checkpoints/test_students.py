"""Public checkpoints in students: by name and shape at the published size, and by what the networks compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from models import STUDENTS
from models.checkpoints import LAYOUTS, load_public, normalisation_of
from models.checkpoints.neutral import after_norm
from tests.models.checkpoints import published as p
from tests.models.checkpoints.published_movinet import movinet, movinet_features
from tests.specs import clip_spec, small_spec

FRAMES, SIZE = 4, 48


def _frames(features: Callable[[Mapping[str, Tensor], Tensor], Tensor], *, stride: int = 1):
    """What a network of pictures computes for every `stride`-th frame of a clip, on average."""

    def of_clip(weights: Mapping[str, Tensor], clip: Tensor) -> Tensor:
        pictures = clip[:, :, ::stride].transpose(1, 2)
        return features(weights, pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2]).mean(1)

    return of_clip


def _v3(weights: Mapping[str, Tensor], clip: Tensor) -> Tensor:
    """The mean over frames and pixels comes before the last layer."""
    means = _frames(lambda w, pictures: p.mobilenet_v3_features(w, pictures).mean((2, 3)), stride=16)
    return nn.functional.hardswish(p.Published(weights).linear("classifier.0", means(weights, clip)))


def _slowfast(weights: Mapping[str, Tensor], clip: Tensor) -> Tensor:
    return p.x3d_features(weights, clip, rename=p.slowfast_name)


ROWS = {
    **{
        f"{name}, PyTorchVideo": (p.x3d_pytorchvideo, p.x3d_features) for name in ("x3d_xs", "x3d_s", "x3d_m")
    },
    "x3d_s, SlowFast": (p.x3d_slowfast, _slowfast),
    "mobilenet3d": (p.mobilenet_v2, _frames(p.mobilenet_v2_features, stride=16)),
    "mobilenet2plus1d": (p.mobilenet_v2, _frames(p.mobilenet_v2_features, stride=16)),
    "mobilenet2plus1d_causal": (p.mobilenet_v2, _frames(p.mobilenet_v2_features)),
    "mobilenet3d_v3": (p.mobilenet_v3_large, _v3),
    "lite0_frames": (p.lite0, _frames(p.lite0_features)),
    **{
        f"movinet_a0_{form}": (
            partial(movinet, "a0", stream=form == "stream"),
            partial(movinet_features, size="a0", stream=form == "stream"),
        )
        for form in ("base", "stream")
    },
    "r3d_18": (lambda: p.resnet3d_18(factorised=False), p.resnet3d_18_features),
    "r2plus1d_18": (lambda: p.resnet3d_18(factorised=True), p.resnet3d_18_features),
}
"""Names and shapes of a file, and the inputs of its classifier for a clip."""
ONLY_SHAPES = {
    **dict.fromkeys(("tsm", "tsm_online"), p.mobilenet_v2),
    **dict.fromkeys(("tsm_lite0", "tsm_lite0_online"), p.lite0),
    **{f"movinet_{size}_base": partial(movinet, size, stream=False) for size in ("a1", "a2")},
    **{f"movinet_{size}_stream": partial(movinet, size, stream=True) for size in ("a1", "a2")},
}
"""Networks whose numbers another test compares: those with shifts, and larger ones of a tested family."""
PARAMETERS = {
    **{"mobilenet3d": 3_504_872, "mobilenet3d_v3": 5_483_032, "lite0_frames": 4_652_008},
    **{"r3d_18": 33_371_472, "r2plus1d_18": 31_505_325},
}
"""Numbers of parameters that the libraries state."""


def build(name: str, *, frames: int = FRAMES, size: int = SIZE) -> nn.Module:
    row = STUDENTS[name.partition(",")[0]]
    return row.build(clip_spec(frames=frames, size=size, classes=3), row.options()).eval()


def normalised(name: str, clip: Tensor) -> Tensor:
    published = normalisation_of(name.partition(",")[0])
    mean, std = (torch.tensor(value).view(1, 3, 1, 1, 1) for value in (published.mean, published.std))
    return (clip - mean) / std


def features_of(network: nn.Module, clip: Tensor) -> Tensor:
    """The inputs of the classifiers."""
    seen: list[Tensor] = []
    hook = network.heads.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(clip)
    hook.remove()
    return seen[0]


def close(found: Tensor, expected: Tensor) -> None:
    error = (found - expected).abs().max() / expected.abs().max()
    assert expected.std() > 1e-3 and error < 1e-5, error


def test_every_layout_of_a_student_is_tested():
    tested = {name.partition(",")[0] for name in (*ROWS, *ONLY_SHAPES)}
    others = {
        "i3d",
        "s3d",
        "c3d",
        "slowfast_r50",
    }  # by name and shape in test_video.py, as encoders of teachers
    assert tested | others == set(LAYOUTS) & set(STUDENTS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_list_of_names_has_the_published_number_of_parameters(name):
    counts = [
        torch.Size(shape).numel()
        for key, shape in ROWS[name][0]()
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    assert sum(counts) == PARAMETERS[name]


@pytest.mark.parametrize("name", [*ROWS, *ONLY_SHAPES])
def test_public_weights_fit_by_name_and_shape(name):
    shapes = ROWS[name][0] if name in ROWS else ONLY_SHAPES[name]
    with torch.device("meta"):
        network = build(name, frames=16, size=224)
        weights = {key: torch.empty(shape) for key, shape in shapes()}
    loaded = load_public(network, weights, name=name.partition(",")[0])
    assert not loaded.drawn
    assert len(loaded.left_out) == 2 and loaded.left_out[0].endswith(".weight")


@pytest.mark.parametrize("name", ROWS)
def test_the_network_computes_what_the_published_one_computes(name):
    shapes, features = ROWS[name]
    network, weights = build(name), p.drawn(shapes())
    load_public(network, weights, name=name.partition(",")[0])
    network.normalise = nn.Identity()
    clip = torch.rand(2, 3, FRAMES, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    clip = normalised(name, clip)
    with torch.no_grad():
        close(features_of(network, clip), features(weights, clip))


@pytest.mark.parametrize("size", [64, 57])
def test_lite0_pads_like_tensorflow_at_even_and_odd_sizes(size):
    network, weights = build("lite0_frames", frames=2, size=size), p.drawn(p.lite0(), seed=3)
    load_public(network, weights, name="lite0_frames")
    network.normalise = nn.Identity()
    clip = torch.randn(1, 3, 2, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        close(features_of(network, clip), _frames(p.lite0_features)(weights, clip))


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("tsm", p.mobilenet_v2_features),
        ("tsm_online", p.mobilenet_v2_features),
        ("tsm_lite0", p.lite0_features),
        ("tsm_lite0_online", p.lite0_features),
    ],
)
def test_without_shifts_a_shifted_network_computes_what_the_published_one_computes(name, features):
    network, weights = build(name), p.drawn(ONLY_SHAPES[name]())
    load_public(network, weights, name=name)
    network.normalise = nn.Identity()
    for block in network.blocks:
        block.shift = None if block.shift is None else _Unshifted()
    clip = torch.randn(1, 3, FRAMES, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        close(features_of(network, clip), _frames(features)(weights, clip))


class _Unshifted(nn.Module):
    def forward(self, x, memory):
        return x


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "x3d_s",
            lambda w: w.pop("blocks.5.pool.post_conv.weight"),
            r"1 tensors missing: features\.0\.weight \(2048, 432\)",
        ),
        ("x3d_s", lambda w: w.update(extra=torch.empty(3)), r"1 tensors unknown: extra \(3,\)"),
        (
            "mobilenet3d",
            lambda w: w.update({"features.0.0.weight": torch.empty(16, 3, 3, 3)}),
            r"1 tensors of another shape: video\.0\.0\.weight is \(16, 3, 3, 3\) instead of \(32, 3, 3, 3, 3\)",
        ),
        (  # of EfficientNet-B0
            "lite0_frames",
            lambda w: w.update({"_blocks.0._se_reduce.weight": torch.empty(8, 32, 1, 1)}),
            r"1 tensors unknown: _blocks\.0\._se_reduce\.weight \(8, 32, 1, 1\)",
        ),
        (  # a second tensor for one place
            "movinet_a0_base",
            lambda w: w.update({"blocks.b0_l0.res.0.conv_1.norm.bias": torch.empty(8)}),
            r"1 tensors unknown: blocks\.b0_l0\.res\.0\.conv_1\.norm\.bias \(8,\)",
        ),
        ("lite0_frames", lambda w: w.pop("_bn1.bias"), r"1 tensors missing: widen\.norm\.bias \(1280,\)"),
    ],
)
def test_leftovers_are_refused_with_names_and_shapes(name, change, message):
    shapes = ROWS["x3d_s, PyTorchVideo" if name == "x3d_s" else name][0]
    with torch.device("meta"):
        network, weights = build(name), {key: torch.empty(shape) for key, shape in shapes()}
        change(weights)
    with pytest.raises(
        ValueError, match=rf"not the public weights of {name} \([\w -]+\) at its published size.*{message}"
    ):
        load_public(network, weights, name=name)


def test_a_network_of_another_width_is_refused():
    row = STUDENTS["mobilenet3d"]
    with torch.device("meta"):
        network = row.build(clip_spec(frames=4, size=64, classes=3), row.options(width=0.5))
        weights = {key: torch.empty(shape) for key, shape in p.mobilenet_v2()}
    with pytest.raises(ValueError, match=r"tensors of another shape: .* and \d+ more"):
        load_public(network, weights, name="mobilenet3d")


def test_audio_that_public_weights_do_not_have_stays_drawn():
    row = STUDENTS["mobilenet3d"]
    spec = small_spec("clip", "audio")
    network = row.build(spec, row.options())
    before = network.audio.layers[0].weight.clone()
    loaded = load_public(network, p.drawn(p.mobilenet_v2()), name="mobilenet3d")
    assert loaded.drawn and all(name.startswith("audio.") for name in loaded.drawn)
    assert network.audio.layers[0].weight.equal(before)


def test_moments_after_a_batchnorm_are_those_of_a_normal_distribution_that_is_cut():
    generator = torch.Generator().manual_seed(0)
    given = {"bn.weight": torch.tensor([1.0, 3.0, 0.5, -2.0]), "bn.bias": torch.tensor([0.0, 2.0, -1.0, 7.0])}
    samples = torch.randn(400_000, 4, generator=generator) * given["bn.weight"] + given["bn.bias"]
    for high in (6.0, 1e9):
        cut = samples.clamp(0, high)
        mean, variance = after_norm(given, "bn", high=high)
        torch.testing.assert_close(mean, cut.mean(0), atol=0.02, rtol=0)
        torch.testing.assert_close(variance, cut.var(0), atol=0.04, rtol=0)


@pytest.mark.parametrize("name", ["mobilenet2plus1d", "mobilenet2plus1d_causal", "x3d_s, PyTorchVideo"])
def test_supplied_norms_are_nearly_neutral_in_training_too(name):
    """Compared with the initial values of a BatchNorm, mean 0 and variance 1."""
    network, weights = build(name, frames=8), p.drawn(ROWS[name][0]())
    load_public(network, weights, name=name.partition(",")[0])
    clip = torch.randn(4, 3, 8, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    norms = {
        "mobilenet2plus1d": "video.1.layers.1.1",
        "mobilenet2plus1d_causal": "blocks.0.after_time.0",
        "x3d_s": "blocks.0.shortcut.1",
    }
    norm = network.get_submodule(norms[name.partition(",")[0]])
    seen: list[Tensor] = []
    norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    network.normalise = nn.Identity()
    before = [
        module for module in network.modules() if isinstance(module, nn.BatchNorm3d) and module is not norm
    ]
    for module in before:
        module.train()  # so that outputs of the BatchNorms before have their means and variances
    with torch.no_grad():
        network(clip)
        neutral = norm.train()(seen[0]) - seen[0]
        norm.reset_parameters()
        initial = norm.train()(seen[0]) - seen[0]
    assert neutral.square().mean() < 0.2 * initial.square().mean()
