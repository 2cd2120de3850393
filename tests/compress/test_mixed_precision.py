"""Which layers stay in float, on networks with a layer that int8 ruins by construction."""

from __future__ import annotations

import copy
import json
import re
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from rich.console import Console
from torch import nn

from compress.mixed_precision import decide
from compress.quantization.float_search import Networks
from compress.quantization.latency_bound import most_that_fit
from compress.quantize import QuantizeConfig
from export.capture.graph import capture
from export.lower import lower
from export.quantize.int8_reference import calibrate, convert, for_evaluation, prepare, transfer
from export.quantize.mixed_precision import float_layers, keep_float
from tests.specs import clip_spec

BATCH = 4


class Fragile(nn.Module):
    """`fragile` has weights of 1 and of 1000, the latter on a channel that is always 0: int8 rounds the former to
    0."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fragile = nn.Conv3d(3, 8, (1, 3, 3), stride=(1, 2, 2)), nn.Conv3d(8, 8, 1)
        self.last, self.classifier = nn.Conv3d(8, 16, 1), nn.Linear(16, 4)
        with torch.no_grad():
            self.stem.weight[7], self.stem.bias[7] = 0, -1
            self.fragile.weight[:, 7] = 1000

    def forward(self, clip):
        y = torch.relu(self.fragile(torch.relu(self.stem(clip))))
        return self.classifier(torch.relu(self.last(y)).mean((2, 3, 4)))


class Loud(nn.Module):
    """One channel between `loud` and `quiet` is 1000 times larger, so that int8 rounds the others to 0."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.loud = nn.Conv3d(3, 8, (1, 3, 3), stride=(1, 2, 2)), nn.Conv3d(8, 8, 1)
        self.quiet, self.classifier = nn.Conv3d(8, 16, 1), nn.Linear(16, 4)
        with torch.no_grad():
            self.loud.weight[7] *= 1000
            self.quiet.weight[:, 7] /= 1000

    def forward(self, clip):
        y = torch.relu(self.loud(torch.relu(self.stem(clip))))
        return self.classifier(torch.relu(self.quiet(y)).mean((2, 3, 4)))


class Clips:
    """Clips with the classes that the float network predicts; stands in for a `ClipSet`."""

    def __init__(self, clips, labels) -> None:
        self.clips, self.labels = clips, labels

    def __len__(self):
        return len(self.clips)

    def for_spec(self, spec):
        return self

    def batch(self, indices):
        return (self.clips[indices],)

    def subset(self, indices):
        return Clips(self.clips[indices], self.labels[indices])


class Case:
    """A calibrated network, its float logits and validation clips."""

    def __init__(self, network: type[nn.Module], clips: int = 30) -> None:
        torch.manual_seed(0)
        self.model = network().eval()
        inputs = torch.rand(200, 3, 2, 9, 9) * 0.2 + torch.rand(200, 3, 1, 1, 1)
        with torch.no_grad():
            for _ in range(2):  # centred logits, so that the predictions differ from clip to clip
                logits = self.model(inputs)
                self.model.classifier.bias -= logits.mean(0)
                self.model.classifier.weight /= logits.std(0)[:, None]
                self.model.classifier.bias /= logits.std(0)
            top, classes = self.model(inputs).topk(2)
        clear = (top[:, 0] - top[:, 1]).argsort(descending=True)
        # The clearest of each class in turn.
        same = classes[clear, None, 0] == classes[None, clear, 0]
        clear = clear[same.tril(-1).sum(1).argsort(stable=True)]
        inputs, labels = inputs[clear], classes[clear, :1]
        assert len(labels[:clips].unique()) > 1
        self.validation = Clips(inputs[:clips], labels[:clips])
        self.prepared = prepare(lower(capture(self.model, (inputs[:BATCH],))))
        calibrate(self.prepared, [(batch,) for batch in inputs.split(BATCH)])
        data = SimpleNamespace(validation=self.validation)
        self.context = SimpleNamespace(data=data, console=Console(quiet=True), cache=None, seed=0)
        single = prepare(lower(capture(self.model, (inputs[:1],))))
        transfer(self.prepared, single)
        spec = clip_spec(frames=2, size=9, classes=4)
        self.networks = Networks(model=self.model, single=single, spec=spec)

    def decide(self, **settings):
        with torch.no_grad():
            return decide(
                self.prepared,
                None,
                QuantizeConfig(**settings),
                self.context,
                batch=BATCH,
                floats=lambda clips: (self.model(clips.clips),),
                networks=self.networks,
            )

    def reference(self, names):
        prepared = copy.deepcopy(self.prepared)
        keep_float(prepared, names)
        return convert(prepared)

    def drop_pp(self, names) -> float:
        """The drop of the reference that the stage gives, on the validation clips."""
        graph = for_evaluation(self.reference(names))
        batches = self.validation.clips[: len(self.validation) // BATCH * BATCH].split(BATCH)
        with torch.no_grad():
            found = torch.cat([graph(batch) for batch in batches]).argmax(1)
        return 100 * (found != self.validation.labels[: len(found), 0]).double().mean().item()


@pytest.fixture(scope="module")
def fragile():
    return Case(Fragile)


def test_the_ruined_layer_ranks_first_and_is_the_only_one_that_stays_in_float(fragile):
    decision = fragile.decide(max_drop_pp=4)
    assert decision.sensitivity.layers[0].layer == "fragile"
    assert decision.float_layers == ("fragile",)
    first, last = decision.trials
    assert first.drop_pp > 20 and last.drop_pp <= 4
    assert (last.float_layers, last.changed, last.into) == (1, "fragile", "float")
    assert decision.reasons == {"fragile": f"max_drop_pp: without it the drop is {first.drop_pp:.2f} points"}
    assert fragile.drop_pp(decision.float_layers) <= 4
    assert float_layers(fragile.reference(decision.float_layers)) == ("fragile",)


def test_totals_and_layers_say_where_the_cost_is(fragile):
    found = fragile.decide(sensitivity={"clips": 10}).sensitivity
    assert found.clips == 10
    assert found.totals["float"].kl == 0 and found.totals["float"].top1 == (1.0,)
    assert found.totals["weights"].kl > 100 * found.totals["activations"].kl
    worst = found.layers[0]
    assert worst.alone.kl > 0.5 * found.totals["both"].kl
    assert worst.kept.kl < 0.01 * found.totals["both"].kl
    assert worst.weights == 64 and "self.fragile" in worst.place
    assert all(one.alone.kl < 0.01 * worst.alone.kl for one in found.layers[1:])


def test_a_value_that_int8_ruins_keeps_the_layers_on_both_sides_in_float():
    case = Case(Loud)
    decision = case.decide(max_drop_pp=4)
    assert decision.float_layers == ("loud", "quiet")
    assert {one.layer for one in decision.sensitivity.layers[:2]} == {"loud", "quiet"}
    assert case.drop_pp(decision.float_layers) <= 4


def test_without_a_need_every_layer_is_int8(fragile):
    decision = fragile.decide(max_drop_pp=100)
    assert decision.float_layers == () and len(decision.trials) == 1
    assert "0 of 4 layers stay in float; validation top-1 drop" in decision.notes[-1]


def test_a_bound_below_the_resolution_is_said(fragile):
    decision = fragile.decide(max_drop_pp=1)
    assert (
        "max_drop_pp 1 is finer than the 30 validation clips resolve (3.33 points each)" in decision.notes[0]
    )


def test_a_bound_that_float_misses_is_refused():
    fragile = Case(Fragile)
    floats = fragile.model
    fragile.model = lambda clips: nn.functional.one_hot(fragile.validation.labels[:, 0], 4).float()
    with torch.no_grad():
        floats.classifier.weight.zero_()
    fragile.prepared = prepare(lower(capture(floats, (fragile.validation.clips[:BATCH],))))
    calibrate(fragile.prepared, [fragile.validation.batch(range(BATCH))])
    with pytest.raises(ValueError, match=r"max_drop_pp 4 cannot be met: with every layer in float, .* 3\.33"):
        fragile.decide(max_drop_pp=4)


def test_a_size_budget_is_spent_on_the_most_sensitive_layers(fragile):
    least = fragile.decide(float_layers=["last"], max_size_bytes=10**9)
    assert len(least.float_layers) == least.layers
    int8 = 216 + 64 + 128 + 64  # weights of four layers
    scales_and_biases = 2 * 4 * (8 + 8 + 16 + 4)
    extra = 64 * 3 - 8 * 4  # `fragile` in float: four bytes a weight, and no scales
    exactly = int8 + scales_and_biases + extra
    decision = fragile.decide(max_size_bytes=exactly)
    assert decision.float_layers == ("fragile",) and decision.weight_bytes == exactly
    assert fragile.decide(max_size_bytes=exactly - 1).weight_bytes < exactly
    with pytest.raises(ValueError, match=r"max_size_bytes 700 cannot be met: the weights take \d+ bytes"):
        fragile.decide(max_size_bytes=700)


def test_layers_are_named_by_pattern_and_wrong_names_by_the_nearest(fragile):
    assert fragile.decide(float_layers=["st*", "classifier"]).float_layers == ("stem", "classifier")
    with pytest.raises(ValueError, match="no layer is named 'fragil'; the nearest of 4 names: fragile"):
        fragile.decide(float_layers=["fragil"])


MS = {"a": 3.0, "b": 9.0, "c": 1.0, "d": 2.0, "e": 1.0}
"""What a layer in float adds to a file."""


@pytest.mark.parametrize(
    ("limit", "patience", "kept", "measured"),
    [
        (5.0, 5, ["a", "c", "e"], ["a", "ab", "ac", "acd", "ace"]),
        (100.0, 5, list("abcde"), ["a", "ab", "abc", "abcd", "abcde"]),
        (0.5, 5, [], list("abcde")),
        (0.5, 2, [], ["a", "b"]),
        (3.0, 2, ["a"], ["a", "ab", "ac"]),
    ],
)
def test_layers_are_kept_in_order_while_the_measured_cost_fits(limit, patience, kept, measured):
    asked = []

    def cost(names):
        asked.append("".join(names))
        return sum(MS[name] for name in names)

    assert most_that_fit("abcde", cost, limit, patience=patience) == kept
    assert asked == measured


@pytest.mark.slow
def test_a_latency_that_the_float_file_meets_is_refused(fragile):
    with pytest.raises(
        ValueError, match=r"max_latency_ms 1e\+06 is met without int8: the float file takes .* ms in ONNX"
    ):
        fragile.decide(max_latency_ms=1e6)


@pytest.mark.slow
def test_a_latency_is_that_of_files_in_the_runtime_and_is_measured_once(fragile, tmp_path):
    fragile.context.cache, named = tmp_path, ["last", "classifier"]
    match = r"cannot be met: with 2 layers in float, the int8 file takes .* ms in ONNX .*, the float file .*"
    with pytest.raises(ValueError, match=match) as refused:
        fragile.decide(float_layers=named, max_latency_ms=1e-6)
    (path,) = (tmp_path / "latency").glob("*.json")
    int8_ms, float_ms = map(float, re.findall(r"([\d.]+) ms", str(refused.value)))
    # The message has three digits.
    assert [int8_ms / float_ms] == pytest.approx(json.loads(path.read_text()), rel=0.3)
    path.write_text("[0.5]")  # a file that is fast enough, on any machine
    decision = fragile.decide(float_layers=named, max_latency=0.6)
    first, *others = decision.trials
    assert first.float_layers == 2 and others[0].changed == "fragile"
    kept = [one.changed for one in others if one.latency_ms <= 1.2 * first.latency_ms]
    assert {*decision.float_layers} == {*named, *kept}
    assert all(decision.reasons[name].startswith("max_latency: rank ") for name in kept)
    assert any(note.startswith("latency of w8a8 files in ONNX Runtime") for note in decision.notes)
    fragile.context.cache = None


def test_two_bounds_are_refused():
    with pytest.raises(ValidationError, match="max_drop_pp and max_size_bytes each decide"):
        QuantizeConfig(max_drop_pp=1, max_size_bytes=10)
    with pytest.raises(ValidationError, match="max_latency_ms and max_latency each decide"):
        QuantizeConfig(max_latency_ms=1, max_latency=0.5)
