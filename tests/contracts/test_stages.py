"""Contract of every row of `STAGES`."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from rich.console import Console

from compress.artifact import Artifact, Form, load_artifact, save_artifact, size_of, weights_sha256
from compress.distillation.config import DistillationConfig
from compress.pruning.cut import cut_channels
from compress.stage import Context
from compress.stages import STAGES
from compress.teacher import Teacher
from compress.training import logits_of
from models import STUDENTS, TEACHERS

pytestmark = pytest.mark.slow

SETTINGS = {
    "distill": {"epochs": 1, "batch": 8},
    "prune": {"macs": 0.7, "epochs": 1, "batch": 8, "round_to": 2},
    "quantize": {"method": "qat", "epochs": 1, "batch": 8, "calibration_clips": 8},
}
"""Settings that finish in seconds; for `quantize` those of the longer of its two ways."""

VERBS = [pytest.param(verb, marks=pytest.mark.slow) if verb == "quantize" else verb for verb in STAGES]


def test_every_stage_is_tested_here():
    assert set(SETTINGS) == set(STAGES)


@pytest.fixture
def context(tiny_data, tmp_path):
    def build(row, spec):
        torch.manual_seed(0)
        return row.build(spec, row.options()).eval()

    teacher = Artifact(model=build(TEACHERS["multimodal_tiny"], tiny_data.spec), spec=tiny_data.spec)
    student_spec = tiny_data.spec.only(("clip",))
    return Context(
        device=torch.device("cpu"),
        seed=0,
        data=tiny_data,
        teacher=Teacher(artifact=teacher, key="teacher"),
        distillation=DistillationConfig(),
        build_student=lambda: build(STUDENTS["mobilenet3d_tiny"], student_spec),
        folder=tmp_path / "stage",
        cache=tmp_path / "cache",
        console=Console(quiet=True),
    )


@pytest.fixture
def student(context):
    return Artifact(model=context.build_student(), spec=context.data.spec.only(("clip",)))


@pytest.mark.parametrize("verb", VERBS)
def test_a_stage_gives_what_its_row_says_and_leaves_its_input_alone(verb, student, context):
    before = copy.deepcopy(student.model.state_dict())
    result = STAGES[verb].run(student, STAGES[verb].config(**SETTINGS[verb]), context).artifact
    assert result.form is STAGES[verb].gives
    assert all(value.equal(before[name]) for name, value in student.model.state_dict().items())
    assert weights_sha256(result.model) != weights_sha256(student.model)


@pytest.mark.parametrize("verb", VERBS)
def test_the_same_seed_gives_the_same_weights(verb, student, context, tmp_path):
    config = STAGES[verb].config(**SETTINGS[verb])
    first = STAGES[verb].run(student, config, context).artifact
    again = STAGES[verb].run(student, config, replace(context, folder=tmp_path / "again")).artifact
    assert weights_sha256(first.model) == weights_sha256(again.model)


@pytest.mark.parametrize("verb", VERBS)
def test_its_result_is_kept_on_disk_with_the_same_answers(verb, student, context, tmp_path):
    result = STAGES[verb].run(student, STAGES[verb].config(**SETTINGS[verb]), context).artifact
    kept = tmp_path / "kept"
    kept.mkdir()
    save_artifact(result, kept)
    loaded = load_artifact(kept, context.build_student)
    example = result.spec.example()
    assert loaded.form is result.form and loaded.spec == result.spec
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(*example), result.model(*example))


@pytest.mark.parametrize("verb", list(STAGES))
def test_an_unknown_key_is_refused(verb):
    with pytest.raises(ValidationError, match="epcohs"):
        STAGES[verb].config(**SETTINGS[verb], epcohs=1)


def test_pruning_meets_its_target_and_refuses_one_out_of_reach(student, context):
    out_of_reach = STAGES["prune"].config(macs=0.01, epochs=0)
    with pytest.raises(
        ValueError, match=r"of the MACs is the minimum that round_to 8 and max_pruning_ratio 0\.8 allow"
    ):
        STAGES["prune"].run(student, out_of_reach, context)
    config = STAGES["prune"].config(macs=0.5, epochs=0, round_to=2)
    result = STAGES["prune"].run(student, config, context)
    whole, cut = size_of(student.model, student.spec), size_of(result.artifact.model, student.spec)
    assert cut.macs <= 0.5 * whole.macs and cut.parameters < whole.parameters
    figures = result.figures["pruning"]
    assert (
        figures["reached"] == cut.macs and 0.48 <= figures["reached_share"] <= figures["asked_share"] == 0.5
    )
    assert f"asked for 50.0% of the MACs, reached {cut.macs / whole.macs:.1%}" in result.notes[0]
    assert "no recovery after pruning: epochs is 0" in result.notes


def test_distill_without_a_teacher_is_refused(student, context):
    with pytest.raises(ValueError, match="distill needs a teacher; the recipe has none"):
        STAGES["distill"].run(student, STAGES["distill"].config(epochs=1), replace(context, teacher=None))


def test_the_teacher_runs_once_per_clip_and_view(student, context):
    asked = []
    model = context.teacher.artifact.model
    model.register_forward_hook(lambda module, inputs, output: asked.append(len(inputs[0])))
    config = STAGES["distill"].config(epochs=4, batch=8, views=2)
    STAGES["distill"].run(student, config, context)
    whole_batches = 32
    assert sum(asked) == 2 * whole_batches, "24 clips fill one batch of 32 for each of 2 views"


def test_calibration_alone_takes_no_training_settings():
    with pytest.raises(
        ValidationError, match=r"epochs is for method .*qat.* only; method ptq does not use it"
    ):
        STAGES["quantize"].config(method="ptq", epochs=5)


def test_quantization_keeps_layers_in_float_and_measures_the_others(student, context, tmp_path):
    from export.quantize.mixed_precision import float_layers

    settings = {"float_layers": ["heads"], "sensitivity": {"clips": 4}}
    config = STAGES["quantize"].config(**SETTINGS["quantize"], **settings)
    result = STAGES["quantize"].run(student, config, context)
    assert float_layers(result.artifact.model) == ("heads.classifiers.0",)
    assert result.figures["mixed_precision"]["float_layers"] == ["heads.classifiers.0"]
    measured = result.figures["sensitivity"]
    assert measured["clips"] == 4 and len(measured["layers"]) == result.figures["mixed_precision"]["layers"]
    assert any(
        "1 of" in note and "layers stay in float: heads.classifiers.0" in note for note in result.notes
    )
    save_artifact(result.artifact, tmp_path)
    loaded = load_artifact(tmp_path, context.build_student)
    assert float_layers(loaded.model) == ("heads.classifiers.0",)


def test_post_training_quantization_stays_close_to_the_float_student(student, context):
    trained = STAGES["distill"].run(student, STAGES["distill"].config(epochs=3, batch=8), context).artifact
    config = STAGES["quantize"].config(calibration_clips=16, batch=8)
    result = STAGES["quantize"].run(trained, config, context).artifact
    assert result.form is Form.QUANTIZED
    test = context.data.test.select(("clip",))
    floats = logits_of(trained.model, test, batch=8, device=context.device)[0]
    integers = logits_of(result.model, test, batch=1, device=context.device)[0]
    noise = (floats - integers).square().mean() / floats.square().mean()
    assert noise < 0.05


def test_pruning_in_several_cuts_continues_where_it_was_interrupted(student, context, monkeypatch):
    settings = {"macs": 0.6, "steps": 2, "epochs": 3, "batch": 8, "round_to": 2, "criterion": "taylor"}
    config = STAGES["prune"].config(**settings, isomorphic=True, sparse_training={"epochs": 1}, select="best")
    cuts = iter(("coarse", "fine"))

    def noted(*arguments, **named):
        made = cut_channels(*arguments, **named)
        return replace(made, notes=(next(cuts),))

    monkeypatch.setattr("compress.prune.cut_channels", noted)
    result = STAGES["prune"].run(student, config, context)
    assert {"cut 1 of 2: coarse", "cut 2 of 2: fine"} <= set(result.notes)
    trained = [
        note.partition(": weights of epoch ")[0] for note in result.notes if ": weights of epoch" in note
    ]
    assert trained == ["sparse training", "recovery 1 of 2", "recovery 2 of 2"]
    assert [row["epoch"] for row in result.curve] == [1, 2, 3, 4]
    assert 0.58 <= result.figures["pruning"]["reached_share"] <= 0.6
    assert any("BatchNorm statistics estimated from 24 training clips" in note for note in result.notes)

    def cut(*_, **__):
        raise AssertionError("the cuts are kept")

    monkeypatch.setattr("compress.prune.cut_channels", cut)
    again = STAGES["prune"].run(student, config, context)
    assert weights_sha256(again.artifact.model) == weights_sha256(result.artifact.model)
    assert again.figures == result.figures


def test_sparse_weights_stay_zero_through_recovery(student, context):
    config = STAGES["prune"].config(pattern="unstructured", sparsity=0.8, steps=2, epochs=2, batch=8)
    result = STAGES["prune"].run(student, config, context)
    figures = result.figures["pruning"]
    assert figures["reached_share"] == pytest.approx(0.8, abs=1e-3)
    assert figures["deflated_bytes"] < 0.6 * figures["deflated_bytes_before"]
    assert any("latency is unchanged: the CPU runtimes compute zeros" in note for note in result.notes)
