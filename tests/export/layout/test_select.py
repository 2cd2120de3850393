"""The choice among the forms of a float network in a file for ONNX Runtime."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from export.capture.graph import capture
from export.capture.stepping import stepper
from export.choice import Choice, Forms
from export.export_file import Proof
from export.files import Variant, export_files
from export.layout import forms as forms_module
from export.layout.forms import forms_of
from export.layout.select import Candidates, select
from export.manifest import WrittenFile, file_spec
from export.pins import read_pins
from export.targets import BATCHED, FORMS, ORIGINAL, PER_FRAME, TARGETS
from export.trial import FLOAT, run_networks
from tests.export.small_nets import clip_spec

SPEC = clip_spec(size=12)


class Mixing(nn.Module):
    """A network whose convolution mixes frames."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv3d(3, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, clip: Tensor) -> Tensor:
        return self.last(self.first(clip).relu().mean((2, 3, 4)))


class Watch:
    """A stopwatch that reads given times, by the number of nodes of each file: more nodes, the later time."""

    name = "board"

    def __init__(self, *times: float | str) -> None:
        self.given, self.sizes = times, []

    def times(self, files, *, format, scheme):
        assert (format, scheme) == ("onnx", "fp32")
        self.sizes = [file.path.stat().st_size for file in files]
        return list(self.given)


def export(out: Path, forms: Forms, *, model: nn.Module | None = None, proved: bool = False):
    model = (model or Mixing()).eval()
    example = SPEC.example()
    proof = Proof(trial=run_networks({FLOAT: model}, {"clip": example[0][None].numpy()}, source="1 clip"))
    variant = Variant(scheme="fp32", program=capture(model, example), proof=proof if proved else None)
    (outcome,) = export_files(
        [variant], file_spec(SPEC, provenance={}), formats=["onnx"], out=out, forms=forms
    )
    left = {path.name for path in (out / "onnx" / "fp32").iterdir()}
    assert left <= {"model.onnx", "model.json", "convert.log"}
    return outcome


def writing(program):
    """A `write` that puts the name of the form into its file."""
    names: dict[int, str] = {}

    def made(name, make):
        def call():
            graph = make()
            names[id(graph)] = name
            return graph

        return call

    forms = {name: made(name, make) for name, make in forms_of(program).items()}

    def write(graph, path):
        path.write_text(names[id(graph)])
        return WrittenFile(path=path, inputs=(), outputs=(), notes=("its own",))

    return forms, write


@functools.cache
def mixing():
    return capture(Mixing().eval(), SPEC.example())


def chosen(tmp_path, choice, model=None):
    forms, write = writing(mixing() if model is None else capture(model, SPEC.example()))
    return select(
        forms, choice, path=tmp_path / "model.onnx", file="onnx.fp32", write=write, opened=lambda _: list
    )


@pytest.mark.parametrize(
    ("target", "form"),
    [("x86-64-amx", PER_FRAME), ("x86-64-vnni", PER_FRAME), ("x86-64-avx2", PER_FRAME)]
    + [(name, BATCHED) for name in ("arm64", "apple", "wasm")],
)
def test_a_target_has_a_rule(tmp_path, target, form):
    written = chosen(tmp_path, Forms(target=target).of("onnx.fp32"))
    assert (tmp_path / "model.onnx").read_text() == form
    assert written.form.to_dict() == {
        "name": form,
        "by": "rule",
        "source": target,
        "reason": f"by the rule of {target} ({TARGETS[target].evidence})",
        "compared": [],
    }
    assert written.notes == (f"form: {form}, by the rule of {target} ({TARGETS[target].evidence})", "its own")
    if form == BATCHED:
        assert "no form was measured on this target" in written.form.reason


def test_a_rule_goes_on_where_the_network_does_not_have_the_form(tmp_path, monkeypatch):
    monkeypatch.setattr(forms_module, "MOST_NODES", 3)
    written = chosen(tmp_path, Forms(target="x86-64-vnni").of("onnx.fp32"))
    assert (tmp_path / "model.onnx").read_text() == BATCHED
    (left_out,) = written.form.compared
    assert left_out.form == PER_FRAME
    assert re.fullmatch(r"fails: ValueError: it would be \d+ nodes, more than 3", left_out.reason)
    assert written.notes[1] == f"form not taken: per-frame {left_out.reason}"


def test_the_last_form_of_a_rule_must_be_written(tmp_path):
    forms, _ = writing(mixing())

    def write(graph, path):
        raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        select(
            forms,
            Choice(by="rule", source="arm64", order=(BATCHED,)),
            path=tmp_path / "model.onnx",
            file="onnx.fp32",
            write=write,
            opened=lambda _: list,
        )


@pytest.mark.parametrize("form", FORMS)
def test_a_pin_names_the_form(tmp_path, form):
    written = chosen(tmp_path, Forms(pins={"onnx.fp32": form}, source="forms.json").of("onnx.fp32"))
    assert (tmp_path / "model.onnx").read_text() == form
    assert (written.form.name, written.form.by, written.form.source) == (form, "pin", "forms.json")
    assert written.notes[0] == f"form: {form}, pinned by forms.json"


def one_form() -> nn.Module:
    return nn.Conv3d(3, 4, (1, 3, 3)).eval()


def test_a_pin_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    pins = Forms(pins={"onnx.fp32": PER_FRAME}, source="forms.json").of("onnx.fp32")
    with pytest.raises(
        ValueError,
        match=r"forms.json pins the form 'per-frame' of onnx.fp32, which does not fit this network: it has one "
        "form, because no operator mixes frames; export without pins",
    ):
        chosen(tmp_path, pins, one_form())
    monkeypatch.setattr(forms_module, "MOST_NODES", 3)
    with pytest.raises(ValueError, match=r"does not fit this network: .*it would be \d+ nodes, more than 3"):
        chosen(tmp_path, pins)


def test_a_network_with_several_forms_needs_its_pin(tmp_path):
    pins = Forms(pins={"onnx.fp32.step": PER_FRAME}, source="forms.json")
    with pytest.raises(
        ValueError, match=r"forms.json pins no form of onnx.fp32, and the network has several"
    ):
        chosen(tmp_path, pins.of("onnx.fp32"))


@pytest.mark.parametrize(
    "forms", [Forms(), Forms(target="arm64"), Forms(pins={"onnx.w8a8": BATCHED}, source="forms.json")]
)
def test_a_network_that_mixes_no_frames_has_one_form(tmp_path, forms):
    written = chosen(tmp_path, forms.of("onnx.fp32"), one_form())
    assert written.form is None and written.notes == ("its own",)
    assert (tmp_path / "model.onnx").read_text() == BATCHED


def candidates(tmp_path) -> Candidates:
    found = chosen(tmp_path, Forms(stopwatch=Watch()).of("onnx.fp32"))
    assert isinstance(found, Candidates) and tuple(found.files) == FORMS
    assert [file.path.read_text() for file in found.files.values()] == list(FORMS)
    return found


def test_a_device_decides_by_its_times(tmp_path):
    written = candidates(tmp_path).decided([3.0, 6.0, 1.5], on="board")
    assert (tmp_path / "model.onnx").read_text() == ORIGINAL and written.path == tmp_path / "model.onnx"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert written.form.to_dict() == {
        "name": ORIGINAL,
        "by": "measurement",
        "source": "board",
        "reason": "the fastest on board in one thread (batched frames 2.00x, per-frame 4.00x its time)",
        "compared": [
            {"form": form, "latency_ms": ms, "reason": None}
            for form, ms in zip(FORMS, (3.0, 6.0, 1.5), strict=True)
        ],
    }


def test_a_form_that_the_device_does_not_run_is_left_out(tmp_path):
    written = candidates(tmp_path).decided(["killed", 6.0, "no kernel"], on="board")
    assert written.form.name == PER_FRAME and written.form.reason == "the only one that runs"
    assert written.notes == (
        "form: per-frame, the only one that runs",
        "form not taken: batched frames killed",
        "form not taken: original network no kernel",
        "its own",
    )


def test_a_device_that_runs_no_form_is_an_error(tmp_path):
    with pytest.raises(
        ValueError, match="no form of the network runs on board: batched frames: a; per-frame: b"
    ):
        candidates(tmp_path).decided(["a", "b", "c"], on="board")


def test_forms_that_differ_are_left_out(tmp_path):
    forms, write = writing(mixing())

    def opened(file):
        other = file.path.read_text() == PER_FRAME
        return lambda: [torch.full((2,), 1.001 if other else 1.0).numpy()]

    written = select(
        forms,
        Forms().of("onnx.fp32"),
        path=tmp_path / "model.onnx",
        file="onnx.fp32",
        write=write,
        opened=opened,
    )
    left_out = {one.form: one.reason for one in written.form.compared if one.reason}
    assert left_out == {PER_FRAME: "differs from the others"} and written.form.source == "host"


def test_one_way_to_choose_at_a_time():
    with pytest.raises(ValueError, match="give one of these, not several"):
        Forms(target="arm64", pins={})
    with pytest.raises(
        ValueError, match=r"target 'arm' is unknown; allowed: x86-64-amx, x86-64-vnni, .*wasm"
    ):
        Forms(target="arm")


@pytest.mark.slow
def test_a_file_is_measured_and_its_choice_can_be_pinned(tmp_path):
    measured = export(tmp_path / "measured", Forms(), proved=True)
    assert measured.reason is None and measured.parity.wrong is None
    rows = {one.form: one.latency_ms for one in measured.form.compared}
    assert tuple(rows) == FORMS and measured.form.name == min(rows, key=rows.__getitem__)
    assert re.match("form: [a-z -]+, the fastest on this machine in one thread [(]", measured.notes[0])
    manifest = json.loads((tmp_path / "measured" / "manifest.json").read_text())
    assert manifest["files"][0]["form"] == measured.form.to_dict()
    pins = read_pins(tmp_path / "measured" / "manifest.json")
    pinned = export(tmp_path / "pinned", Forms(pins=pins, source="manifest.json"))
    assert pinned.form.name == measured.form.name and pinned.form.by == "pin"
    assert pinned.sha256 == measured.sha256, "the measured file is the one that is kept"


@pytest.mark.slow
def test_the_same_target_gives_the_same_bytes(tmp_path):
    forms = Forms(target="x86-64-avx2")
    first, second = (export(tmp_path / name, forms) for name in ("one", "two"))
    assert first.form.name == PER_FRAME and first.sha256 == second.sha256
    assert export(tmp_path / "three", Forms(target="wasm")).sha256 != first.sha256


@pytest.mark.slow
def test_a_device_gets_the_very_files_and_decides(tmp_path):
    watch = Watch(2.0, 3.0, 1.0)
    outcome = export(tmp_path / "device", Forms(stopwatch=watch), proved=True)
    assert outcome.reason is None and outcome.form.name == ORIGINAL and outcome.form.source == "board"
    assert outcome.size_bytes == watch.sizes[2]


@pytest.mark.slow
def test_a_lost_device_ends_the_export_without_a_manifest(tmp_path):
    class Lost(Watch):
        def times(self, files, *, format, scheme):
            raise RuntimeError("board is gone")

    with pytest.raises(RuntimeError, match="board is gone"):
        export(tmp_path, Forms(stopwatch=Lost()))
    assert not (tmp_path / "manifest.json").exists()
    assert export(tmp_path, Forms(target="arm64")).form.name == BATCHED, "the next export cleans up"
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.slow
def test_a_device_that_runs_nothing_costs_the_file(tmp_path):
    outcome = export(tmp_path, Forms(stopwatch=Watch("a", "b", "c")))
    assert outcome.status == "failed" and outcome.reason.startswith("no form of the network runs on board")


class Streaming(nn.Module):
    """A causal network whose step also convolves over several frames."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.last = nn.Conv3d(3, 6, (2, 3, 3), padding=(0, 1, 1)), nn.Linear(6, 5)

    def forward(self, clip: Tensor) -> Tensor:
        padded = nn.functional.pad(clip, (0, 0, 0, 0, 1, 0))
        return self.last(self.layer(padded)[:, :, -1].relu().mean((2, 3)))

    def initial_state(self, frame: Tensor) -> dict[str, Tensor]:
        return {"before": torch.zeros_like(frame)}

    def step(self, frame: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        pair = torch.stack([state["before"], frame], 2)
        return self.last(self.layer(pair)[:, :, -1].relu().mean((2, 3))), {"before": frame}


@pytest.mark.slow
def test_the_step_program_has_a_form_of_its_own(tmp_path):
    model = Streaming().eval()
    spec = file_spec(SPEC, provenance={})
    example = SPEC.example()
    variant = Variant(scheme="fp32", program=capture(model, example), step=stepper(model, example[0], spec))
    pins = {"onnx.fp32": PER_FRAME, "onnx.fp32.step": BATCHED}
    for forms, found in (
        (Forms(pins=pins, source="forms.json"), (PER_FRAME, BATCHED)),
        (Forms(stopwatch=Watch(3.0, 1.0, 2.0)), (PER_FRAME, PER_FRAME)),
    ):
        (outcome,) = export_files([variant], spec, formats=["onnx"], out=tmp_path, forms=forms)
        assert outcome.reason is None and (outcome.form.name, outcome.step.form.name) == found
        names = sorted(path.name for path in (tmp_path / "onnx" / "fp32").glob("model*"))
        assert names == ["model.json", "model.onnx", "model_step.onnx"]
        assert outcome.step.to_dict()["form"]["name"] == found[1]


@pytest.mark.slow
def test_a_form_that_onnx_does_not_support_is_left_out_with_the_reason(tmp_path):
    pooled = nn.Sequential(nn.Conv3d(3, 5, 3, padding=1), nn.AdaptiveAvgPool3d((2, 1, 1))).eval()
    pooled = nn.Sequential(pooled, nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    outcome = export(tmp_path, Forms(), model=pooled)
    left_out = {one.form: one.reason for one in outcome.form.compared if one.reason is not None}
    assert set(left_out) == {ORIGINAL}
    assert "aten._adaptive_avg_pool3d" in left_out[ORIGINAL] and "\x1b" not in left_out[ORIGINAL]
    assert outcome.notes[1].startswith("form not taken: original network fails: ")
