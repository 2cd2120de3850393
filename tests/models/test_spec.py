import json
from dataclasses import replace

import pytest

from models.spec import ClipSpec, LabelSpec, as_tuple
from tests.specs import small_spec


def test_inputs_keep_the_order_of_forward():
    assert small_spec("text", "clip").inputs == ("clip", "text")


def test_one_label_column_gives_logits_several_name_their_column():
    assert small_spec("clip").outputs == ("logits",)
    assert small_spec("clip", labels=("word", "speaker")).outputs == ("logits_word", "logits_speaker")


def test_json_round_trip():
    spec = small_spec("clip", "audio", "text", labels=("x", "y"))
    taught = replace(spec, tags=(LabelSpec(name="t", classes=("a", "b")),), retrieval=True)
    for each in (spec, taught):
        assert ClipSpec.from_dict(json.loads(json.dumps(each.to_dict()))) == each


def test_examples_have_the_shapes_and_ranges_of_the_inputs():
    spec = small_spec("clip", "audio", "text")
    clip, audio, text = spec.example(batch=2)
    assert clip.shape == (2, 3, 4, 32, 32) and clip.min() >= 0 and clip.max() <= 1
    assert audio.shape == (2, 1, 16, 16)
    assert text.shape == (2, 6) and text.max() < 5
    assert spec.example(batch=2)[0].equal(clip)


def test_only_drops_modalities_and_refuses_what_is_not_there():
    assert small_spec("clip", "audio").only(("clip",)).inputs == ("clip",)
    with pytest.raises(ValueError, match="no input 'audio'; it has clip"):
        small_spec("clip").only(("audio",))
    with pytest.raises(ValueError, match="no input 'audio'; its inputs are clip"):
        small_spec("clip").shape("audio")


def test_only_drops_label_columns_and_what_teachers_alone_learn():
    spec = small_spec("clip", labels=("x", "y"))
    taught = replace(spec, tags=(LabelSpec(name="t", classes=("a", "b")),), retrieval=True)
    assert taught.only(("clip",)) == spec
    assert [label.name for label in taught.only(("clip",), labels=("y",)).labels] == ["y"]
    with pytest.raises(ValueError, match="no label column 'z'; it has x, y"):
        spec.only(("clip",), labels=("z",))


def test_logits_as_tuple():
    example = small_spec("clip").example()[0]
    assert as_tuple(example)[0] is example
    assert as_tuple((example, example)) == (example, example)
