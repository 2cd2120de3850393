"""Streaming networks: their requirements, and step files and integers that match those of the clip."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from export.capture.graph import capture
from export.capture.inputs import parse_inputs
from export.capture.stepping import step_network, step_spec, stepper
from export.lower import lower
from export.manifest import FileSpec
from export.network import export_network
from export.quantize.int8_reference import calibrate, convert, prepare
from export.quantize.step_reference import step_reference
from models.movinet import MovinetOptions, movinet_tiny
from models.spec import describe_state
from models.statistics import random_inputs, settle_statistics
from tests.specs import clip_spec

pytestmark = pytest.mark.slow

FRAMES = 4
PLACES = {
    "onnx": ("model_step.onnx", None),
    "coreml": ("model_step.mlpackage", None),
    "tflite": ("model.tflite", "step"),
    "executorch": ("model.pte", "step"),
}
"""File and entry of the step program."""


class Own(nn.Module):
    """A user's network: uses one past frame, and keeps its state in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, 8, (1, 3, 3), stride=(1, 4, 4), padding=(0, 1, 1))
        self.time = nn.Conv3d(8, 8, (2, 1, 1), groups=8)
        self.classifier = nn.Linear(8, 5)

    def forward(self, clip: Tensor) -> Tensor:
        return self.look(nn.functional.pad(self.stem(clip), (0, 0, 0, 0, 1, 0)))

    def look(self, frames: Tensor) -> Tensor:
        return 20 * self.classifier(self.time(frames).relu()[:, :, -1].mean((2, 3)))

    def step(self, frame: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = self.stem(frame.unsqueeze(2))
        before = state[0].unsqueeze(2)
        return self.look(torch.cat([before, x], 2)), (x.squeeze(2),)

    def initial_state(self, frame: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(self.stem(frame.unsqueeze(2)).squeeze(2)),)


class Late(Own):
    """Uses two past frames, and keeps both, so that one frame is passed through without being read."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Conv3d(8, 8, (2, 1, 1), dilation=(2, 1, 1), groups=8)

    def forward(self, clip: Tensor) -> Tensor:
        return self.look(nn.functional.pad(self.stem(clip), (0, 0, 0, 0, 2, 0)))

    def step(self, frame: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = self.stem(frame.unsqueeze(2))
        last, before = state
        seen = torch.cat([before.unsqueeze(2), last.unsqueeze(2), x], 2)
        return self.look(seen), (x.squeeze(2), last)

    def initial_state(self, frame: Tensor) -> tuple[Tensor, ...]:
        return super().initial_state(frame) * 2


def own() -> Own:
    torch.manual_seed(0)
    return Own().eval()


def spec_of(*shapes: str) -> FileSpec:
    return FileSpec(inputs=parse_inputs(shapes), outputs=(), description={})


def movinet():
    torch.manual_seed(0)
    spec = clip_spec(frames=FRAMES, size=16, classes=5)
    model = movinet_tiny(spec, MovinetOptions())
    settle_statistics(model, spec)
    with torch.no_grad():
        model.heads.classifiers[0].weight.mul_(50)
    (clips,) = random_inputs(spec, batch=12)
    return model, clips


def after_all_frames(program, network, first, clip):
    state = dict(zip(network.names, first[1:], strict=True))
    computed = [name for name in network.names if name not in network.passed_through]
    for frame in clip.unbind(2):
        logits, *new = program(frame, *state.values())
        following = dict(zip(computed, new, strict=True))
        state = {
            name: following[name] if name in following else state[network.passed_through[name]]
            for name in state
        }
    return logits


def test_each_state_is_an_input_and_an_output_of_its_own():
    made = stepper(own(), torch.rand(1, 3, FRAMES, 16, 16), spec_of("1x3x4x16x16"))
    assert [(info.name, info.shape, info.layout) for info in made.spec.inputs] == [
        ("frame", (1, 3, 16, 16), "NCHW"),
        ("state_0", (1, 8, 4, 4), "NCHW"),
    ]
    assert made.spec.states == {"state_0": "next_0"}
    arranged = made.spec.arranged(clip_layout="NTHWC", token_dtype="int32")
    assert [info.shape for info in arranged.inputs] == [(1, 16, 16, 3), (1, 4, 4, 8)]
    assert arranged.outputs[-1].layout == "NHWC"


def test_a_state_with_names_keeps_them():
    model, clips = movinet()
    network, first = step_network(model, clips[:1])
    states = describe_state(dict(zip(network.names, first[1:], strict=True)))
    spec = step_spec(spec_of("1x3x4x16x16"), states, network.passed_through)
    assert list(spec.states)[:2] == ["state_count", "state_mean_0"]
    assert spec.inputs[1].dtype == "int64" and spec.arranged(
        clip_layout="NTHWC", token_dtype="int32"
    ).outputs[0].dtype == ("int32")


def test_a_state_that_is_passed_through_is_not_an_output():
    made = stepper(Late().eval(), torch.rand(1, 3, FRAMES, 16, 16), spec_of("1x3x4x16x16"))
    assert made.spec.states == {"state_0": "next_0", "state_1": "state_0"}
    assert [info.name for info in made.spec.outputs] == ["next_0"]
    assert len(made.program.graph_signature.user_outputs) == 2


def test_a_network_without_step_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Flatten has no step\(frame, state\) and initial_state\(frame\)"):
        export_network(nn.Flatten(), ["1x3x4x8x8"], out=tmp_path, stream=True)


def test_a_network_with_an_audio_input_is_refused():
    with pytest.raises(
        ValueError, match="takes one input, a clip N 3 T H W; this one takes clip NCTHW, audio"
    ):
        step_spec(spec_of("1x3x4x8x8", "audio=1x1x40x64"), (), {})


@pytest.mark.parametrize("qat", [False, True], ids=["calibrated", "trained"])
def test_the_int8_step_gives_the_integers_of_the_int8_clip(qat):
    model, clips = movinet()
    prepared = prepare(lower(capture(model, (clips[:1],))), qat=qat)
    calibrate(prepared, [(clip[None],) for clip in clips[:8]])
    if qat:
        prepared(clips[:1]).square().mean().backward()
        with torch.no_grad():
            for parameter in prepared.parameters():
                if parameter.grad is not None:
                    parameter -= 1e-2 * parameter.grad
    network, first = step_network(model, clips[:1])
    stepping = step_reference(prepared, capture(network, first), qat=qat).module()
    reference = convert(prepared)
    quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
    last_scale = [node for node in reference.graph.nodes if node.target is quantize][-1].args[1]
    with torch.no_grad():
        for clip in clips[8:]:
            expected = reference(clip[None])
            given = after_all_frames(stepping, network, first, clip[None])
            # Sums in another order may round ties differently: a few steps of the logits.
            assert (given - expected).abs().max() <= 4.01 * last_scale
            assert given.argmax() == expected.argmax()


def test_a_step_that_computes_otherwise_than_forward_has_no_int8_form():
    model = own()
    model.step = lambda frame, state: (  # type: ignore[method-assign]
        nn.functional.conv2d(frame, torch.ones(5, 3, 1, 1)).mean((2, 3)),
        state,
    )
    clip = torch.rand(1, 3, FRAMES, 16, 16)
    prepared = prepare(lower(capture(own(), (clip,))))
    calibrate(prepared, [(clip,)])
    network, first = step_network(model, clip)
    with pytest.raises(ValueError, match="has no counterpart in the network for clips"):
        step_reference(prepared, capture(network, first))


@pytest.mark.parametrize(
    "network, scheme, formats",
    [
        (Own, "fp32", ["onnx", "tflite"]),
        (Own, "w8a8", ["tflite", "executorch"]),
        (Late, "fp32", ["onnx", "tflite", "executorch", "coreml"]),
    ],
)
def test_step_files_match_the_clip_program(tmp_path, network, scheme, formats):
    torch.manual_seed(0)
    clips = torch.rand(6, 1, 3, FRAMES, 16, 16).numpy()
    exported = export_network(
        network().eval(),
        ["1x3x4x16x16"],
        out=tmp_path,
        formats=formats,
        schemes=[scheme],
        calibration={"clip": clips},
        stream=True,
    )
    assert exported.correct, [outcome.reason for outcome in exported.outcomes]
    for row in json.loads(exported.manifest.read_text())["files"]:
        step = row["step"]
        name, entry = PLACES[row["format"]]
        assert (step["path"], step["entry"]) == (f"{row['format']}/{scheme}/{name}", entry)
        against = step["parity"]["float" if scheme == "fp32" else "reference"][0]
        assert against["top1_agreement"] == 1.0
        if scheme == "fp32":
            assert against["relative_error"] < 1e-5
