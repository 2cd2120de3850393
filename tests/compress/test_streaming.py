"""A quantized streaming student keeps its step program from stage to export."""

from types import SimpleNamespace

import torch

from compress.artifact import Artifact, Form, load_artifact, save_artifact
from compress.steps.export import _stepper
from export.capture.graph import capture
from export.capture.stepping import step_network
from export.lower import lower
from export.manifest import file_spec
from export.quantize.int8_reference import calibrate, convert, prepare
from export.quantize.step_reference import step_reference
from models.mobilenet3d import MobileNet3dOptions
from models.tsm import tsm_tiny
from tests.specs import clip_spec


def test_the_int8_step_is_kept_and_described_as_the_float_one(tmp_path):
    torch.manual_seed(0)
    spec = clip_spec(frames=2, size=16, classes=3)
    model = tsm_tiny(spec, MobileNet3dOptions()).eval()
    (clip,) = spec.example()
    prepared = prepare(lower(capture(model, (clip,))))
    calibrate(prepared, [(clip,)])
    step = step_reference(prepared, capture(*step_network(model, clip)))
    quantized = Artifact(model=convert(prepared), spec=spec, form=Form.QUANTIZED, streams=True, step=step)
    save_artifact(quantized, tmp_path)
    loaded = load_artifact(tmp_path, lambda: model)
    assert loaded.streams and loaded.step is not None
    run = SimpleNamespace(build_student=lambda: model)
    described = file_spec(spec, provenance={})
    floating = Artifact(model=model, spec=spec, streams=True)
    assert _stepper(run, loaded, described).spec == _stepper(run, floating, described).spec
