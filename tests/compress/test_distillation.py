"""Distillation losses and the cross-entropy with the labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from benchmarks.clips.augmentation import AugmentationSettings
from benchmarks.clips.cache import Augmentation
from benchmarks.clips.mixing import mixed
from compress.artifact import Artifact
from compress.cached_outputs import CachedOutputs, RecordShape
from compress.criterion import Batch, LabelCriterion, Outputs
from compress.distillation.config import DistillationConfig
from compress.distillation.criterion import best_criterion, learn_from_teacher, teaching_notes
from compress.distillation.dist import uncorrelated
from compress.losses import cross_entropy, soft_targets
from compress.stage import Context
from compress.teacher import Teacher
from compress.training import TrainConfig
from compress.training.batches import planned
from models import STUDENTS
from models.teachers import MultimodalOptions, multimodal_tiny
from tests.specs import small_spec


class Knows:
    """A teacher of the label column x with given logits."""

    artifact = Artifact(
        model=multimodal_tiny(small_spec("clip"), MultimodalOptions()).eval(),
        spec=small_spec("clip", labels=("x",)),
    )

    name, top_k = "teacher", None

    def __init__(self, *logits, weight=1.0):
        self.logits = torch.tensor(logits)
        self.weight = weight
        self.asked = []

    def outputs(self, clips, *, augmentation, features, device, cache, console, report):
        self.asked.append((augmentation, features))
        shape = RecordShape(classes=(self.logits.shape[1],))
        return CachedOutputs(records=shape.records(Outputs(logits=(self.logits,))), shape=shape)


def context(teacher, *others, **settings):
    class Clips:
        train = ()

    return Context(
        device=torch.device("cpu"),
        seed=0,
        data=Clips(),
        teacher=teacher,
        distillation=DistillationConfig.model_validate(settings),
        build_student=None,
        folder=Path("none"),
        cache=Path("none"),
        console=Console(quiet=True),
        further_teachers=others,
    )


def student(*labels):
    torch.manual_seed(0)
    spec, row = small_spec("clip", labels=labels), STUDENTS["mobilenet3d_tiny"]
    return row.build(spec, row.options()).eval(), spec


def criterion_of(teacher, *labels, config=None, **settings):
    config = config or TrainConfig(epochs=1, views=0)
    return learn_from_teacher(*student(*labels), config=config, context=context(teacher, **settings))


def batch(*labels, augmentation=None):
    return Batch(indices=list(range(len(labels))), augmentation=augmentation, labels=torch.tensor(labels))


def outputs(*columns):
    return Outputs(logits=tuple(torch.tensor(column) for column in columns))


def test_the_teacher_answers_all_clean_views_before_the_training_begins():
    teacher = Knows([0.0, 0.0, 9.0])
    config = TrainConfig(epochs=5, views=2, corruptions=("noise",))
    criterion = criterion_of(teacher, "x", config=config)
    clean = [Augmentation(number=0, seed=0), Augmentation(number=1, seed=0)]
    assert teacher.asked == [(augmentation, ()) for augmentation in clean]
    for number in (0, 1, 0):
        noisy = Augmentation(number=number, seed=0, corruptions=("noise",))
        criterion(outputs([[0.0, 0.0, 9.0]]), batch([2], augmentation=noisy))
    assert len(teacher.asked) == 2


def test_with_fresh_views_the_teacher_gets_what_the_student_gets_without_corruptions(tiny_data):
    """Both take video; the teacher runs once for both targets of a mixed batch."""
    torch.manual_seed(0)
    row = STUDENTS["mobilenet3d_tiny"]
    spec = tiny_data.spec.only(("clip",))
    given = []
    model = row.build(spec, row.options()).eval()
    model.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    teacher = Teacher(artifact=Artifact(model=model, spec=spec), key="key")
    around = replace(context(teacher, label_weight=0.0), data=tiny_data)
    config = TrainConfig(epochs=3, views="fresh", augmentation=AugmentationSettings(mixup=1.0))
    criterion = learn_from_teacher(row.build(spec, row.options()).eval(), spec, config=config, context=around)
    assert not given, "nothing before the training begins"
    clips = tiny_data.train.for_spec(spec)
    (one, *_) = planned(clips, size=4, config=config, seed=0, epoch=2)
    noisy = replace(one, augmentation=replace(one.augmentation, corruptions=("noise",)))
    with torch.no_grad():
        inputs = mixed(clips.batch(one.indices, augmentation=one.augmentation), one.mix, spec)
        logits = model(*inputs)
    given.clear()
    found = criterion.of_mixed(Outputs(logits=(logits,)), noisy)
    assert len(given) == 1 and given[0].equal(inputs[0])
    assert found.abs() < 1e-6, "the student predicts what the teacher does"
    criterion.of_mixed(Outputs(logits=(logits,)), replace(noisy, augmentation=None))
    assert len(given) == 2


@pytest.mark.parametrize("label_weight", [0.0, 0.3, 2.0])
def test_the_loss_is_what_the_weights_say(label_weight):
    """Column x comes from the teacher as well, column y from the labels alone, whatever their weight."""
    torch.manual_seed(1)
    theirs, x, y = (torch.randn(4, 3).half().float() for _ in range(3))
    labels = torch.tensor([[0, 1], [2, 2], [1, 0], [1, 1]])
    losses = {"kd": {"weight": 0.5, "temperature": 3.0}, "dist": 0.25}
    settings = {"label_weight": label_weight, "losses": losses}
    criterion = criterion_of(Knows(*theirs.tolist()), "x", "y", **settings)
    found = criterion(Outputs(logits=(x, y)), Batch(indices=[0, 1, 2, 3], augmentation=None, labels=labels))
    softened = soft_targets(x, theirs, temperature=3.0)
    probabilities = x.softmax(1), theirs.softmax(1)
    relations = uncorrelated(*probabilities) + uncorrelated(*(one.T for one in probabilities))
    expected = (
        0.5 * softened
        + 0.25 * relations
        + label_weight * cross_entropy(x, labels[:, 0])
        + cross_entropy(y, labels[:, 1])
    )
    torch.testing.assert_close(found, expected)


def test_a_batch_is_compared_with_the_answers_to_its_own_clips():
    criterion = criterion_of(Knows([9.0, 0.0, 0.0], [0.0, 0.0, 9.0]), "x", label_weight=0.0)
    last = Batch(indices=[1], augmentation=None, labels=torch.tensor([[0]]))
    assert criterion(outputs([[0.0, 0.0, 9.0]]), last) < 0.01
    assert criterion(outputs([[9.0, 0.0, 0.0]]), last) > 5


def test_the_parts_are_the_loss_with_the_labels_and_that_with_the_teacher():
    criterion = criterion_of(Knows([0.0, 0.0, 9.0]), "x", "y", label_weight=0.5, losses={"kd": 3.0})
    given, clips = outputs([[3.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]), batch([0, 1])
    task, distillation = criterion.parts(given, clips)
    x, y = given.logits
    labels = 0.5 * cross_entropy(x, torch.tensor([0])) + cross_entropy(y, torch.tensor([1]))
    torch.testing.assert_close(task, labels)
    theirs = torch.tensor([[0.0, 0.0, 9.0]])
    torch.testing.assert_close(distillation, 3.0 * soft_targets(x, theirs, temperature=2.0))
    torch.testing.assert_close(criterion(given, clips), task + distillation)
    alone = LabelCriterion().parts(given, clips)
    assert alone[0] > 0 and alone[1] == 0


def test_with_correct_only_clips_that_the_teacher_misclassifies_are_learned_from_the_labels_alone():
    """Of three clips the teacher is wrong on the last one."""
    torch.manual_seed(1)
    theirs = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    labels, x = torch.tensor([0, 1, 0]), torch.randn(3, 3)
    clips = Batch(indices=[0, 1, 2], augmentation=None, labels=labels.unsqueeze(1))
    settings = {"label_weight": 0.25, "losses": {"kd": 2.0}, "correct_only": True}
    task, distillation = criterion_of(Knows(*theirs.tolist()), "x", **settings).parts(
        Outputs(logits=(x,)), clips
    )
    each = torch.nn.functional.cross_entropy(x, labels, reduction="none")
    torch.testing.assert_close(task, (0.25 * each[0] + 0.25 * each[1] + each[2]) / 3)
    right = soft_targets(x[:2], theirs[:2], temperature=2.0)
    torch.testing.assert_close(distillation, 2.0 * right * 2 / 3)


def test_with_correct_only_a_teacher_that_is_always_wrong_teaches_nothing():
    wrong = Knows([0.0, 9.0, 0.0], [0.0, 9.0, 0.0])
    settings = {"losses": {"kd": 2.0, "dist": 1.0}, "correct_only": True}
    given = outputs([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    task, distillation = criterion_of(wrong, "x", **settings).parts(given, batch([0], [0]))
    assert distillation == 0
    torch.testing.assert_close(task, cross_entropy(given.logits[0], torch.tensor([0, 0])))


def test_what_is_learned_from_the_labels_alone_is_noted():
    spec = student("x", "y")[1]
    expected = "learned from the labels alone: y, which the teacher lacks"
    assert teaching_notes(spec, context(Knows([0.0, 0.0, 9.0]))) == (expected,)
    assert teaching_notes(student("x")[1], context(Knows([0.0, 0.0, 9.0]))) == ()
    assert teaching_notes(spec, context(None)) == (
        "learned from the labels alone: the recipe has no teacher",
    )


def test_a_teacher_that_shares_no_label_column_with_its_student_is_refused():
    with pytest.raises(ValueError, match="has the label columns x, the student y: they share none"):
        criterion_of(Knows([0.0, 0.0, 9.0]), "y")


def test_without_a_teacher_the_labels_alone_teach():
    config = TrainConfig(epochs=1, label_smoothing=0.1)
    found = best_criterion(*student("x"), config=config, context=context(None))
    assert isinstance(found, LabelCriterion) and found.label_smoothing == 0.1
    with pytest.raises(ValueError, match="there is no teacher to learn from; the recipe has none"):
        learn_from_teacher(*student("x"), config=config, context=context(None))


def test_features_of_the_teacher_are_kept_with_its_answers(tiny_data, tmp_path):
    torch.manual_seed(0)
    spec = tiny_data.spec
    model = multimodal_tiny(spec, MultimodalOptions()).eval()
    teacher = Teacher(artifact=Artifact(model=model, spec=spec), key="key")
    asked = []
    model.register_forward_hook(lambda module, inputs, output: asked.append(len(inputs[0])))
    where = {"device": torch.device("cpu"), "cache": tmp_path, "console": Console(quiet=True)}
    everything, cpu = range(len(tiny_data.test)), torch.device("cpu")
    plain = teacher.outputs(tiny_data.test, augmentation=None, **where).of(everything, device=cpu)
    assert plain.features == {}
    cached = teacher.outputs(tiny_data.test, augmentation=None, features=("embedding",), **where)
    found = cached.of(everything, device=cpu)
    assert found.features["embedding"].shape == (len(tiny_data.test), model.heads.features)
    assert found.logits[0].equal(plain.logits[0])
    torch.testing.assert_close(
        model.heads(found.features["embedding"]), plain.logits[0], rtol=1e-3, atol=2e-3
    )
    passes = len([clips for clips in asked if clips > 1])
    again = teacher.outputs(tiny_data.test, augmentation=None, features=("embedding",), **where)
    assert again.of(everything, device=cpu).features["embedding"].equal(found.features["embedding"])
    assert len([clips for clips in asked if clips > 1]) == passes
    some = cached.of([2, 0], device=cpu)
    assert some.logits[0].equal(found.logits[0][[2, 0]])
    assert some.features["embedding"].equal(found.features["embedding"][[2, 0]])


def test_the_losses_of_several_teachers_are_averaged_by_weight():
    torch.manual_seed(1)
    first, second, x = (torch.randn(4, 3).half().float() for _ in range(3))
    labels = torch.tensor([[0], [2], [1], [1]])
    teachers = Knows(*first.tolist(), weight=3.0), Knows(*second.tolist(), weight=1.0)
    around = context(*teachers, label_weight=0.2, losses={"kd": {"weight": 0.8, "temperature": 2.0}})
    criterion = learn_from_teacher(*student("x"), config=TrainConfig(epochs=1, views=0), context=around)
    found = criterion(Outputs(logits=(x,)), Batch(indices=[0, 1, 2, 3], augmentation=None, labels=labels))
    of_first, of_second = (soft_targets(x, theirs, temperature=2.0) for theirs in (first, second))
    expected = 0.2 * cross_entropy(x, labels[:, 0]) + 0.8 * (0.75 * of_first + 0.25 * of_second)
    torch.testing.assert_close(found, expected)


def test_columns_are_matched_by_name_for_each_of_several_teachers():
    """In the share of a teacher, the column that it does not predict is learned from the labels."""

    class KnowsOther(Knows):
        artifact = Artifact(model=Knows.artifact.model, spec=small_spec("clip", labels=("z", "y")))

        def outputs(self, clips, *, augmentation, features, device, cache, console, report):
            shape = RecordShape(classes=(3, 3))
            both = Outputs(logits=(torch.zeros_like(self.logits), self.logits))
            return CachedOutputs(records=shape.records(both), shape=shape)

    torch.manual_seed(1)
    of_x, of_y, x, y = (torch.randn(2, 3).half().float() for _ in range(4))
    labels = torch.tensor([[0, 1], [2, 2]])
    around = context(
        Knows(*of_x.tolist(), weight=5.0), KnowsOther(*of_y.tolist()), label_weight=0.0, losses={"kd": 1.0}
    )
    criterion = learn_from_teacher(*student("x", "y"), config=TrainConfig(epochs=1, views=0), context=around)
    found = criterion(Outputs(logits=(x, y)), Batch(indices=[0, 1], augmentation=None, labels=labels))
    with_first = soft_targets(x, of_x, temperature=2.0) + cross_entropy(y, labels[:, 1])
    with_second = soft_targets(y, of_y, temperature=2.0) + cross_entropy(x, labels[:, 0])
    expected = 5 / 6 * with_first + 1 / 6 * with_second
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_clip_without_a_label_is_learned_from_the_teacher_alone(smoothing):
    teacher = Knows([0.0, 2.0, 0.0], [1.0, 0.0, 3.0])
    config = TrainConfig(epochs=1, views=0, label_smoothing=smoothing)
    criterion = criterion_of(
        teacher, "x", "y", config=config, label_weight=0.3, losses={"kd": {"weight": 0.7}}
    )
    x, y = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]]), torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]])
    task, distillation = criterion.parts(Outputs(logits=(x, y)), batch([1, 2], [-1, -1]))

    def of_label(logits, label):
        return cross_entropy(logits[:1], torch.tensor([label]), label_smoothing=smoothing)

    # The mean is over both clips, so that each counts as it would beside labelled ones.
    assert task.item() == pytest.approx((0.3 * of_label(x, 1) + of_label(y, 2)).item() / 2)
    taught = soft_targets(x, teacher.logits, temperature=2.0)
    assert distillation.item() == pytest.approx(0.7 * taught.item())


def test_losses_that_need_labels_leave_out_clips_without_one():
    logits = [[0.0, 2.0, 0.0], [1.0, 0.0, 3.0], [0.0, 0.0, 1.0]]
    ours = [[1.0, 0.0, 2.0], [0.0, 1.0, 1.0], [3.0, 1.0, 1.0]]
    part, whole = (
        criterion_of(Knows(*given), "x", losses={"dkd": {"weight": 1.0}}, label_weight=0.0)
        for given in (logits[:2], logits)
    )
    expected = part.parts(outputs(ours[:2]), batch([1], [2]))[1]
    found = whole.parts(outputs(ours), batch([1], [2], [-1]))[1]
    assert found.item() == pytest.approx(expected.item() * 2 / 3)


def test_correct_only_keeps_clips_without_a_label():
    teacher = Knows([0.0, 2.0, 0.0], [1.0, 0.0, 3.0])
    criterion = criterion_of(
        teacher, "x", correct_only=True, label_weight=0.0, losses={"kd": {"weight": 1.0}}
    )
    ours = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
    both = criterion.parts(Outputs(logits=(ours,)), batch([1], [-1]))[1]
    assert both.item() == pytest.approx(soft_targets(ours, teacher.logits, temperature=2.0).item())
