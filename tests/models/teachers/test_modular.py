"""Contract of every encoder, fusion and head, in teachers of tiny parts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.spec import PAD_TOKEN, ClipSpec, LabelSpec
from models.teachers import ModularOptions, ModularTeacher
from models.teachers.audio import AUDIO_ENCODERS
from models.teachers.encoder import choices
from models.teachers.fusion import FUSIONS
from models.teachers.text import TEXT_ENCODERS
from models.teachers.video import VIDEO_ENCODERS
from tests.specs import small_spec

TINY_VIDEO = [name for name in VIDEO_ENCODERS if name.endswith("_tiny")]
LARGE_VIDEO = [name for name in VIDEO_ENCODERS if name not in TINY_VIDEO and name != "huggingface"]
SMALL = {
    "cnn": {"width": 0.25},
    "gru": {"features": 8},
    "mean": {"features": 8},
    "lstm": {"features": 8},
    "transformer": {"features": 8, "heads": 2},
    "weighted_sum": {"features": 16},
    "gated": {"features": 16},
    "cross_attention": {"features": 16},
}
PARTS = [
    *({"video": name} for name in TINY_VIDEO),
    *({"audio": name} for name in AUDIO_ENCODERS),
    *({"text": name} for name in TEXT_ENCODERS),
    *({"fusion": name} for name in FUSIONS),
]
IDS = ["-".join(*part.items()) for part in PARTS]


def options(video="factorised_tiny", audio="cnn_tiny", text="mean", fusion="concatenation", **more):
    def chosen(table, name):
        return choices(table)[name](name=name, **SMALL.get(name, {}))

    return ModularOptions(
        video=chosen(VIDEO_ENCODERS, video),
        audio=chosen(AUDIO_ENCODERS, audio),
        text=chosen(TEXT_ENCODERS, text),
        fusion=chosen(FUSIONS, fusion),
        **more,
    )


def spec_of(*inputs, retrieval=True) -> ClipSpec:
    """Two label columns, a tag column and retrieval, on 4 frames of 32 x 32 (16 bins for deeper audio CNNs)."""
    spec = small_spec(*(inputs or ("clip", "audio", "text")), labels=("x", "y"))
    return replace(spec, tags=(LabelSpec(name="t", classes=("a", "b")),), retrieval=retrieval)


def teacher(spec=None, **parts) -> ModularTeacher:
    torch.manual_seed(0)
    return ModularTeacher(spec or spec_of(), options(**parts)).eval()


def without(name, inputs, clip=0):
    """The inputs, of which one clip lacks a modality."""
    changed = [x.clone() for x in inputs]
    changed[("clip", "audio", "text").index(name)][clip] = PAD_TOKEN if name == "text" else 0.3
    return changed


@pytest.mark.parametrize("parts", PARTS, ids=IDS)
def test_every_head_answers_and_every_parameter_learns(parts):
    spec = spec_of()
    model = teacher(spec, **parts, retrieval_features=5).train()
    answers = model(*spec.example(batch=4))
    assert [tuple(answer.shape) for answer in answers] == [(4, 3), (4, 3), (4, 2), (4, 2, 5)]
    sum(answer.square().sum() for answer in answers).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("parts", PARTS, ids=IDS)
def test_its_weights_load_into_another_of_the_same_parts(parts, tmp_path):
    spec = spec_of()
    model = teacher(spec, **parts)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other = teacher(spec, **parts)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    example = spec.example(batch=2)
    torch.testing.assert_close(other(*example), model(*example))


@pytest.mark.parametrize("name", ["clip", "audio", "text"])
@pytest.mark.parametrize("parts", PARTS, ids=IDS)
def test_what_a_clip_lacks_changes_nothing_else(parts, name):
    """The other clips are unaffected, and the encoder of the missing modality does not contribute to the logits."""
    spec = spec_of(retrieval=False)
    model, inputs = teacher(spec, **parts), spec.example(batch=3)
    whole, lacking = model(*inputs), model(*without(name, inputs))
    for before, after in zip(whole, lacking, strict=True):
        torch.testing.assert_close(after[1:], before[1:])
        assert not torch.allclose(after[0], before[0])
    with torch.no_grad():
        for parameter in model.encoders[name].parameters():
            parameter.mul_(3.0).add_(0.1)
    for before, after in zip(lacking, model(*without(name, inputs)), strict=True):
        torch.testing.assert_close(after[0], before[0])


def test_torch_export_takes_a_teacher_in_eval_mode():
    spec = spec_of()
    model = teacher(spec, video="slowfast_tiny", audio="gru", text="transformer", fusion="cross_attention")
    example = spec.example()
    exported = torch.export.export(model, example).module()
    torch.testing.assert_close(exported(*example), model(*example))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_clip_that_lacks_everything_has_a_finite_answer_and_finite_gradients(fusion):
    spec = spec_of()
    model, inputs = teacher(spec, fusion=fusion).train(), spec.example(batch=3)
    for name in spec.inputs:
        inputs = without(name, inputs)
    answers = model(*inputs)
    sum(answer.square().sum() for answer in answers).backward()
    assert all(answer.isfinite().all() for answer in answers)
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_one_modality_is_enough_for_every_fusion(fusion):
    spec = spec_of("audio", retrieval=False)
    answers = teacher(spec, fusion=fusion)(*spec.example(batch=2))
    assert [tuple(answer.shape) for answer in answers] == [(2, 3), (2, 3), (2, 2)]


def test_statistics_of_batchnorm_come_from_what_is_there():
    spec = spec_of(retrieval=False)
    inputs = spec.example(batch=4)
    whole, half = teacher(spec).train(), teacher(spec).train()
    whole(*(torch.cat([x[2:], x[2:]]) for x in inputs))
    half(*without("audio", without("audio", inputs, clip=0), clip=1))
    seen = [model.encoders["audio"].layers[1].running_mean for model in (whole, half)]
    torch.testing.assert_close(*seen)


def test_modality_dropout_hides_one_of_several_and_never_the_last():
    model = teacher(modality_dropout=1.0)
    there = torch.tensor([[True, True, True], [True, False, False]]).repeat_interleave(200, dim=0)
    left = model._hide_one(there)
    assert (left[:200].sum(1) == 2).all() and left[200:].equal(there[200:])
    assert left[:200].sum(0).min() > 100, "each of the three is hidden in about a third of the clips"


def test_a_clip_is_not_found_by_the_words_of_its_own_caption():
    spec = spec_of()
    model, (clip, audio, text) = teacher(spec), spec.example(batch=2)
    words = torch.full_like(text, 2)
    asked, other = model(clip, audio, text)[-1], model(clip, audio, words)[-1]
    torch.testing.assert_close(asked[:, 0], other[:, 0])
    assert not torch.allclose(asked[:, 1], other[:, 1])


def test_vectors_of_retrieval_have_length_one_but_for_the_scale_and_missing_captions():
    spec = spec_of()
    clips, captions = teacher(spec)(*without("text", spec.example(batch=2)))[-1].unbind(1)
    torch.testing.assert_close(clips.norm(dim=1), torch.full((2,), 1 / 0.07))
    torch.testing.assert_close(captions.norm(dim=1), torch.tensor([0.0, 1.0]))


def test_captions_for_retrieval_alone_are_no_evidence():
    spec = spec_of()
    model, inputs = teacher(spec, captions="retrieval"), spec.example(batch=2)
    *whole, _ = model(*inputs)
    *lacking, _ = model(*without("text", inputs))
    torch.testing.assert_close(lacking, whole)


def test_padding_after_the_words_is_never_looked_at():
    spec = spec_of()
    text = spec.text
    longer = replace(text, length=text.length + 5)
    tokens = torch.tensor([[2, 3, 4, 0, 0, 0], [2, 0, 0, 0, 0, 0]])
    padded = torch.nn.functional.pad(tokens, (0, 5))
    for name in TEXT_ENCODERS:
        row = choices(TEXT_ENCODERS)[name](name=name, **SMALL[name])
        short = TEXT_ENCODERS[name].build(spec, row).eval()
        long = TEXT_ENCODERS[name].build(replace(spec, text=longer), row).eval()
        weights = short.state_dict()
        if name == "transformer":
            weights["position"] = torch.cat([weights["position"], torch.randn(1, 5, 8)], dim=1)
        long.load_state_dict(weights)
        torch.testing.assert_close(long(padded), short(tokens))


def test_weights_of_a_sum_add_up_over_what_is_there():
    fusion = FUSIONS["weighted_sum"].build([3, 3], FUSIONS["weighted_sum"].options(features=4))
    x = torch.randn(2, 3)
    both = fusion([x, x], torch.tensor([[True, True], [True, False]]))
    first = fusion.project[0](x)
    torch.testing.assert_close(both[1], first[1])
    torch.testing.assert_close(both[0], (first[0] + fusion.project[1](x)[0]) / 2)


@pytest.mark.parametrize("name", LARGE_VIDEO)
def test_published_sizes_give_as_many_features_as_they_say(name):
    row = VIDEO_ENCODERS[name]
    spec = small_spec("clip")
    spec = replace(spec, video=replace(spec.video, frames=8, size=64, resize=64))
    with torch.device("meta"):
        encoder = row.build(spec, row.options()).eval()
        found = encoder(torch.empty(spec.shape("clip", batch=2)))
    assert found.shape == (2, encoder.features)


@pytest.mark.parametrize(
    ("inputs", "more", "message"),
    [
        (("clip", "audio"), {}, "retrieval compares captions with video or audio.*clip, audio"),
        (("text",), {}, "retrieval compares captions with video or audio.*are text"),
        (("text",), {"captions": "retrieval"}, "the only input is text"),
    ],
)
def test_tasks_that_cannot_be_answered_are_refused(inputs, more, message):
    with pytest.raises(ValueError, match=message):
        teacher(spec_of(*inputs), **more)


def test_captions_that_nothing_reads_are_refused():
    with pytest.raises(ValueError, match="captions are for retrieval alone, but it is not a task"):
        teacher(spec_of(retrieval=False), captions="retrieval")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AUDIO_ENCODERS["gru"].options(features=0), "at least 1 feature and 1 layer, not 0 and 1"),
        (lambda: TEXT_ENCODERS["lstm"].options(layers=0), "at least 1 feature and 1 layer, not 128 and 0"),
        (lambda: TEXT_ENCODERS["transformer"].options(heads=3), "features is 128, heads 3, blocks 2"),
        (
            lambda: FUSIONS["cross_attention"].options(heads=3),
            "features is 256, heads 3: .* a multiple of heads",
        ),
    ],
)
def test_impossible_sizes_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
