"""Video classifiers of Hugging Face transformers, built from small configurations: nothing is downloaded."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace

import pytest
import torch

from models.checkpoints import load_public
from models.spec import as_tuple
from models.teachers.encoder import choices
from models.teachers.modular import ModularOptions, ModularTeacher
from models.teachers.video import VIDEO_ENCODERS
from models.timesformer import TimesformerOptions, timesformer_tiny
from tests.specs import small_spec

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is an optional extra: pip install '.[transformers]'",
)
_SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "videomae": {**_SMALL, "patch_size": 8, "tubelet_size": 2},
    "timesformer": {**_SMALL, "patch_size": 8},
    "vivit": {**_SMALL, "tubelet_size": [2, 8, 8]},
    "vjepa2": {
        **{"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 8},
        **{"tubelet_size": 2, "num_pooler_layers": 1, "mlp_ratio": 1},
        **{"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1},
    },
}


def encoder(config, *, frames=4):
    spec = small_spec("clip")
    spec = replace(spec, video=replace(spec.video, frames=frames))
    row = VIDEO_ENCODERS["huggingface"]
    return row.build(spec, row.options(config=config)).eval(), spec


@needs_transformers
@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_sees_motion_and_learns(family):
    model, spec = encoder({"model_type": family, **CONFIGS[family]})
    with torch.no_grad():
        for parameter in model.parameters():  # positions in time are drawn as zeros by some
            parameter.add_(0.1 * torch.randn_like(parameter))
    clip = spec.example(batch=2)[0]
    features = model(clip)
    assert features.shape == (2, model.features)
    assert not torch.allclose(features, model(clip.flip(2)), atol=1e-6)
    features.square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@needs_transformers
def test_it_is_a_part_of_a_teacher_and_its_own_weights_load(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "videomae", **CONFIGS["videomae"]}))
    video = choices(VIDEO_ENCODERS)["huggingface"](name="huggingface", config=config)
    spec = small_spec("clip", "audio", labels=("x", "y"))
    model = ModularTeacher(spec, ModularOptions(video=video)).eval()
    assert [answer.shape for answer in as_tuple(model(*spec.example(batch=2)))] == [(2, 3), (2, 3)]
    published = {key: value + 1 for key, value in model.encoders["clip"].model.state_dict().items()}
    published["classifier.weight"] = torch.zeros(400, 32)
    load_public(model.encoders["clip"], published, name="huggingface")
    found = model.encoders["clip"].model.state_dict()
    assert all(value.equal(published[key]) for key, value in found.items())


@needs_transformers
def test_our_timesformer_computes_what_theirs_does():
    theirs, spec = encoder({"model_type": "timesformer", **CONFIGS["timesformer"], "intermediate_size": 128})
    ours = timesformer_tiny(spec, TimesformerOptions(depth=0.5)).eval()
    names = (
        ("timesformer.embeddings.cls_token", "model.cls_token"),
        ("timesformer.embeddings.position_embeddings", "model.pos_embed"),
        ("timesformer.embeddings.time_embeddings", "model.time_embed"),
        ("timesformer.embeddings.patch_embeddings.projection", "model.patch_embed.proj"),
        ("timesformer.encoder.layer.0.temporal_attention.attention.qkv", "model.blocks.0.temporal_attn.qkv"),
        ("timesformer.encoder.layer.0.temporal_attention.output.dense", "model.blocks.0.temporal_attn.proj"),
        ("timesformer.encoder.layer.0.attention.attention.qkv", "model.blocks.0.attn.qkv"),
        ("timesformer.encoder.layer.0.attention.output.dense", "model.blocks.0.attn.proj"),
        ("timesformer.encoder.layer.0.temporal_dense", "model.blocks.0.temporal_fc"),
        ("timesformer.encoder.layer.0.temporal_layernorm", "model.blocks.0.temporal_norm1"),
        ("timesformer.encoder.layer.0.layernorm_before", "model.blocks.0.norm1"),
        ("timesformer.encoder.layer.0.layernorm_after", "model.blocks.0.norm2"),
        ("timesformer.encoder.layer.0.intermediate.dense", "model.blocks.0.mlp.fc1"),
        ("timesformer.encoder.layer.0.output.dense", "model.blocks.0.mlp.fc2"),
        ("timesformer.layernorm", "model.norm"),
    )
    published = {}
    with torch.no_grad():
        for key, parameter in theirs.model.named_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
            start, end = next(row for row in names if key.startswith(row[0]))
            published[end + key.removeprefix(start)] = parameter
    ours.heads = torch.nn.Identity()
    load_public(ours, published, name="timesformer")
    clip = spec.example(batch=2)[0]
    torch.testing.assert_close(ours(clip), theirs(clip))


def test_another_family_is_refused():
    with pytest.raises(ValueError, match=r"model_type is 'resnet'; .* videomae, timesformer, vivit, vjepa2"):
        encoder({"model_type": "resnet"})


def test_clips_that_do_not_fit_the_configuration_are_refused():
    with pytest.raises(ValueError, match="videomae is configured with num_frames 16, but clips have 4"):
        encoder({"model_type": "videomae", "num_frames": 16})


def test_a_configuration_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json: no such file; config is the path of a config\.json"):
        encoder(tmp_path / "config.json")


def test_without_transformers_the_pip_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[transformers\]'"):
        encoder({"model_type": "videomae", **CONFIGS["videomae"]})
