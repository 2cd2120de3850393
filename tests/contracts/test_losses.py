"""Contract of every row of `LOSSES`."""

from __future__ import annotations

import pytest
import torch

from compress.artifact import Artifact
from compress.criterion import Batch, Outputs
from compress.distillation import LOSSES
from compress.distillation.config import DistillationConfig
from compress.distillation.criterion import Layers, learn_from_teacher
from compress.distillation.loss import FeatureLoss, LayerSettings
from compress.features import WithFeatures
from compress.stage import Context
from compress.teacher import Teacher
from compress.training import TrainConfig
from models import STUDENTS, TEACHERS

LAYERS = {"student": "video.3", "teacher": "encoders.clip.blocks"}
"""Modules of the students and teachers below with maps of a clip."""
PAIRS = {
    "vectors": ((6,), (10,)),
    "tokens": ((6, 8), (10, 4)),
    "frames": ((6, 4, 4), (10, 8, 2)),
    "clips": ((6, 4, 3, 3), (10, 2, 5, 5)),
    "a clip and frames": ((6, 4, 3, 3), (10, 5, 5)),
    "a vector and a clip": ((6,), (10, 2, 5, 5)),
    "tokens and a clip": ((6, 8), (10, 2, 5, 5)),
}


def settings_of(name):
    row = LOSSES[name].settings
    return row(**LAYERS) if issubclass(row, LayerSettings) else row()


def built(name, sizes):
    torch.manual_seed(0)
    row = LOSSES[name]
    if not issubclass(row, FeatureLoss):
        return row(settings_of(name))
    return row(settings_of(name), student=sizes[0], teacher=sizes[1])


def given(name, sizes, *, clips=5, classes=4):
    """Outputs of a student and of a teacher, drawn from a seed, and what else the loss takes."""
    generator = torch.Generator().manual_seed(1)
    is_on_logits = not issubclass(LOSSES[name], FeatureLoss)
    shapes = [(classes,)] * 2 if is_on_logits else sizes
    student, teacher = (torch.randn(clips, *shape, generator=generator) for shape in shapes)
    labels = (torch.arange(clips) % classes,) if is_on_logits else ()
    return student.requires_grad_(), teacher, *labels


def takes(name, sizes):
    """Whether the loss can compare features of these sizes; one that cannot says so."""
    try:
        built(name, sizes)
    except ValueError as error:
        assert str(list(sizes[0])) in str(error) and str(list(sizes[1])) in str(error)
        return False
    return True


CASES = [
    pytest.param(name, sizes, id=f"{name}, {pair}")
    for name, row in LOSSES.items()
    for pair, sizes in PAIRS.items()
    if issubclass(row, FeatureLoss) or pair == "vectors"
    if takes(name, sizes)
]


def test_every_loss_on_layers_compares_clips_and_maps_of_any_size():
    able = {case.id for case in CASES}
    for name, row in LOSSES.items():
        if issubclass(row, FeatureLoss):
            assert {f"{name}, {pair}" for pair in ("tokens", "frames", "clips", "a clip and frames")} <= able


@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_it_gives_one_finite_value(name, sizes):
    value = built(name, sizes)(*given(name, sizes))
    assert value.shape == () and value.isfinite()


@pytest.mark.parametrize("name", [name for name, row in LOSSES.items() if not issubclass(row, FeatureLoss)])
def test_it_takes_a_column_of_two_classes(name):
    assert built(name, None)(*given(name, None, classes=2)).isfinite()


@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_it_teaches_the_student_and_itself_and_leaves_the_teacher_alone(name, sizes):
    loss = built(name, sizes)
    student, teacher, *labels = given(name, sizes)
    loss(student, teacher, *labels).backward()
    assert student.grad.isfinite().all() and student.grad.abs().sum() > 0
    unused = [n for n, p in loss.named_parameters() if p.grad is None]
    assert unused == [] and not teacher.requires_grad


@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_a_step_along_its_gradient_brings_the_student_closer(name, sizes):
    loss = built(name, sizes)
    student, teacher, *labels = given(name, sizes)
    before = loss(student, teacher, *labels)
    (slope,) = torch.autograd.grad(before, student)
    with torch.no_grad():
        student -= 1e-3 * slope / slope.norm()
    assert loss(student, teacher, *labels) < before


@pytest.mark.parametrize("name", LOSSES)
def test_its_settings_name_their_source_and_every_key_has_a_meaning(name):
    row = LOSSES[name]
    assert row.settings.__doc__ and "(" in row.settings.__doc__
    for key, field in row.settings.model_fields.items():
        assert field.description, key


@pytest.mark.parametrize("name", LOSSES)
def test_students_of_the_tables_learn_by_it(name, tiny_data, tmp_path):
    """Built from a real student and a real teacher, with the layers that it compares, the same one every time."""
    torch.manual_seed(0)
    spec = tiny_data.spec.only(("clip",))
    teacher, student = TEACHERS["multimodal_tiny"], STUDENTS["mobilenet3d_tiny"]
    model = student.build(spec, student.options()).eval()
    asked = Artifact(model=teacher.build(tiny_data.spec, teacher.options()).eval(), spec=tiny_data.spec)
    chosen = settings_of(name).model_dump() if issubclass(LOSSES[name], FeatureLoss) else {}
    context = Context(
        device=torch.device("cpu"),
        seed=0,
        data=tiny_data,
        teacher=Teacher(artifact=asked, key="teacher"),
        distillation=DistillationConfig.model_validate({"losses": {name: chosen}, "label_weight": 0.0}),
        build_student=lambda: model,
        folder=tmp_path,
        cache=tmp_path / "cache",
    )
    config = TrainConfig(epochs=1, views=0)
    first, again = (learn_from_teacher(model, spec, config=config, context=context) for _ in range(2))
    layers = Layers.of(context.distillation).student
    assert first.features == layers and len(layers) == issubclass(LOSSES[name], FeatureLoss)
    assert all(a.equal(b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    clips = tiny_data.train.for_spec(spec)
    columns = len(spec.labels)
    found = WithFeatures(model, layers, columns=columns)(*clips.batch([0, 1, 2, 3]))
    outputs = Outputs(logits=found[:columns], features=dict(zip(layers, found[columns:], strict=True)))
    batch = Batch(indices=[0, 1, 2, 3], augmentation=None, labels=clips.labels[:4])
    task, distillation = first.parts(outputs, batch)
    assert task == 0 and distillation.isfinite()
    distillation.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
