import pytest
import torch

from export.capture.inputs import cast_examples, describe_examples, describe_outputs, parse_inputs


def test_a_shape_alone_is_a_clip_in_0_to_1():
    (clip,) = parse_inputs(["1x3x16x112x96"])
    assert (clip.name, clip.shape, clip.dtype) == ("clip", (1, 3, 16, 112, 96), "float32")
    assert (clip.layout, clip.value_range) == ("NCTHW", (0, 1))


def test_names_bounds_and_tokens():
    slow, sound, text = parse_inputs(["slow=1x3x4x8x8:-2.5..3", "sound=1x1x40x64", "text=1x16:int64<1000"])
    assert (slow.name, slow.value_range) == ("slow", (-2.5, 3))
    assert (sound.layout, sound.value_range) == ("NCHW", None)
    assert (text.dtype, text.layout, text.value_range) == ("int64", "NL", (0, 999))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["3,16,112"], "shape '3,16,112' cannot be read: give .*1x3x16x112x112.*text=1x16:int64<1000"),
        (["1x3x0x8x8"], "sizes are 1 or more"),
        (["1x1x1x1x1x1"], "there are 5 of them at most"),
        (["text=1x16:int64"], "does not give the number of tokens"),
        (["text=1x16:int64<0"], "range 0..-1 is empty"),
        (["1x3x4x8x8:1..0"], "range 1..0 is empty"),
        (["1x3x4x8x8:1.2.3..4"], "'1.2.3' is not a number"),
        (["1x2", "clip=1x3"], "two inputs are called 'clip'"),
        ([], "the network has no input"),
    ],
)
def test_other_spellings_are_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        parse_inputs(texts)


def test_examples_give_type_shape_and_token_bounds():
    clip, text = describe_examples({"clip": torch.rand(1, 3, 2, 4, 4), "text": torch.tensor([[2, 7, 0]])})
    assert (clip.layout, clip.value_range) == ("NCTHW", None)
    assert (text.dtype, text.value_range) == ("int64", (0, 7))
    with pytest.raises(ValueError, match=r"input 'x' is torch.uint8; .* give the example as float32"):
        describe_examples({"x": torch.zeros(1, dtype=torch.uint8)})
    with pytest.raises(
        ValueError, match=r"input 'x' has shape \[1, 1, 1, 1, 1, 1\]; allowed are ranks 1 to 5"
    ):
        describe_examples({"x": torch.zeros([1] * 6)})


def test_examples_of_other_float_types_become_float32_with_a_note():
    examples = {"x": torch.zeros(1, dtype=torch.float16), "t": torch.zeros(1, 3, dtype=torch.int32)}
    assert [info.dtype for info in describe_examples(examples)] == ["float32", "int64"]
    first, second = cast_examples(examples)
    assert "'x' was given as float16; files take it as float32" in first and "given as int32" in second
    assert not cast_examples({"x": torch.zeros(1)})


def test_outputs_have_layouts_by_their_ranks():
    assert [info.name for info in describe_outputs({"logits": torch.zeros(1, 5)})] == ["logits"]
    outputs = describe_outputs({"output_0": torch.zeros(1, 5), "output_1": torch.zeros(1, 4, 7)})
    assert [(info.name, info.layout) for info in outputs] == [("output_0", "NK"), ("output_1", "NTK")]
    numbers = {
        "places": torch.zeros(1, 2, dtype=torch.int64),
        "flag": torch.tensor(True),
        "mean": torch.tensor(0.5),
    }
    described = [(info.dtype, info.shape, info.layout) for info in describe_outputs(numbers)]
    assert described == [("int64", (1, 2), "NK"), ("bool", (), ""), ("float32", (), "")]
    with pytest.raises(
        ValueError, match=r"output 'x' is torch.uint8; .*: convert it with .float\(\) or .long"
    ):
        describe_outputs({"x": torch.zeros(1, dtype=torch.uint8)})
    with pytest.raises(ValueError, match="the network returns no tensor; let its forward return"):
        describe_outputs({})
