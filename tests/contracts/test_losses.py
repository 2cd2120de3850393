"""Contract of every row of `LOSSES`."""

from __future__ import annotations

import pytest
import torch

from compress.artifact import Artifact
from compress.criterion import Outputs
from compress.distillation import LOSSES
from compress.distillation.config import DistillationConfig
from compress.distillation.criterion import learn_from_teacher
from compress.distillation.loss import Pair
from compress.stage import Context
from compress.teacher import Teacher
from compress.training import TrainConfig
from models import STUDENTS, TEACHERS

SIZES = (6, 10)
"""Features of a student and of a teacher, where a loss asks for some."""


def pair(name, *, classes=(4, 3)):
    row = LOSSES[name]
    return Pair(
        temperature=2.0,
        classes=classes,
        student=dict.fromkeys(row.student_features, (SIZES[0],)),
        teacher=dict.fromkeys(row.teacher_features, (SIZES[1],)),
    )


def side(name, *, which, classes=(4, 3), seed=0, clips=5):
    """Answers of a student or of a teacher to some clips, drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    row, size = LOSSES[name], SIZES[which == "teacher"]
    names = row.student_features if which == "student" else row.teacher_features
    return Outputs(
        logits=tuple(
            torch.randn(clips, count, generator=generator).requires_grad_(which == "student")
            for count in classes
        ),
        features={
            one: torch.randn(clips, size, generator=generator).requires_grad_(which == "student")
            for one in names
        },
    )


def built(name, **sizes):
    torch.manual_seed(0)
    return LOSSES[name](pair(name, **sizes))


@pytest.mark.parametrize("name", LOSSES)
def test_it_gives_a_finite_value_for_each_label_column_or_a_single_one(name):
    for classes in ((4,), (4, 3)):
        loss = built(name, classes=classes)
        value = loss(
            side(name, which="student", classes=classes), side(name, which="teacher", classes=classes)
        )
        assert value.shape in ((), (len(classes),)) and value.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_it_teaches_the_student_and_itself_and_leaves_the_teacher_alone(name):
    loss, student, teacher = built(name), side(name, which="student"), side(name, which="teacher", seed=1)
    loss(student, teacher).sum().backward()
    taught = [*student.features.values()] or [*student.logits]
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in taught)
    assert [n for n, p in loss.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert not any(one.requires_grad for one in (*teacher.logits, *teacher.features.values()))


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_along_its_gradient_brings_the_student_closer(name):
    loss, student, teacher = built(name), side(name, which="student"), side(name, which="teacher", seed=1)
    learning = [*student.logits, *student.features.values(), *loss.parameters()]
    optimizer = torch.optim.SGD(learning, lr=1e-2)
    before = loss(student, teacher).sum()
    before.backward()
    optimizer.step()
    assert loss(student, teacher).sum() < before


@pytest.mark.parametrize("name", LOSSES)
def test_the_same_seed_gives_the_same_loss(name):
    values = [built(name)(side(name, which="student"), side(name, which="teacher", seed=1)) for _ in range(2)]
    assert torch.equal(*values)


@pytest.mark.parametrize("name", LOSSES)
def test_students_of_the_tables_learn_by_it(name, tiny_data, tmp_path):
    """Built from a real student and a real teacher, with the features that it asks them for."""
    torch.manual_seed(0)
    spec = tiny_data.spec.only(("clip",))
    teacher, student = TEACHERS["multimodal_tiny"], STUDENTS["mobilenet3d_tiny"]
    model = student.build(spec, student.options()).eval()
    asked = Artifact(model=teacher.build(tiny_data.spec, teacher.options()).eval(), spec=tiny_data.spec)
    context = Context(
        device=torch.device("cpu"),
        seed=0,
        data=tiny_data,
        teacher=Teacher(artifact=asked, key="teacher"),
        distillation=DistillationConfig(losses={name: 1.0}, label_weight=0.0),
        build_student=lambda: model,
        folder=tmp_path,
        cache=tmp_path / "cache",
    )
    criterion = learn_from_teacher(model, spec, config=TrainConfig(epochs=1, views=0), context=context)
    assert set(criterion.features) == set(LOSSES[name].student_features)
    drawn = [p.clone() for p in criterion.parameters()]
    again = learn_from_teacher(model, spec, config=TrainConfig(epochs=1, views=0), context=context)
    assert all(a.equal(b) for a, b in zip(drawn, again.parameters(), strict=True))
