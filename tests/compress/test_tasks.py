import math
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from compress.clip import ClipConfig
from compress.criterion import Batch, Outputs
from compress.data import open_data
from compress.losses import binary_cross_entropy, contrastive, cross_entropy
from compress.sources.synthetic import SyntheticData
from compress.tasks import TaskCriterion, Truth, measure, task_names, with_tasks
from compress.training import Job, TrainConfig, fit, logits_of
from models.spec import LabelSpec
from models.teachers import ModularOptions, modular
from models.teachers.audio import AUDIO_ENCODERS
from models.teachers.encoder import choices
from models.teachers.text import TEXT_ENCODERS
from models.teachers.video import VIDEO_ENCODERS
from tests.specs import small_spec

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Clear clips with every kind of task: 128 train, 8 validation, 48 test."""
    torch.set_num_threads(1)
    source = {"source": "synthetic", "labels": ["label", "thing"], "tags": ["tags"], "difficulty": 0.0}
    config = SyntheticData.model_validate({**source, "clips": {"train": 128, "validation": 8, "test": 48}})
    clip = ClipConfig.model_validate(
        {"frames": 4, "size": 32, "audio": {"mels": 16, "bins": 16}, "text": {"length": 8}}
    )
    cache = tmp_path_factory.mktemp("tasks")
    return open_data(config, clip, cache=cache, workers=0, seed=0, console=Console(quiet=True))


def truth_of(data, clips, spec):
    return Truth.of(clips.for_spec(spec), spec, tag_separator=data.tag_separator)


def test_a_teacher_learns_every_kind_of_task(data, tmp_path):
    spec = with_tasks(data.spec, data.spec.inputs, ["label", "thing", "tags", "retrieval"])
    torch.manual_seed(0)
    parts = ModularOptions(
        video=choices(VIDEO_ENCODERS)["factorised_tiny"](name="factorised_tiny"),
        audio=choices(AUDIO_ENCODERS)["cnn_tiny"](name="cnn_tiny"),
        text=choices(TEXT_ENCODERS)["mean"](name="mean", features=16),
        retrieval_features=16,
        dropout=0.0,
    )
    model = modular(spec, parts)
    fit(
        model,
        data.train.for_spec(spec),
        criterion=TaskCriterion(
            spec,
            truth_of(data, data.train, spec),
            weights=dict.fromkeys(task_names(spec), 1.0),
            label_smoothing=0.0,
        ),
        config=TrainConfig(epochs=12, batch=16, learning_rate=1e-2, views=1),
        validation=data.validation.for_spec(spec),
        job=Job(name="test", device=CPU, seed=0, folder=tmp_path, console=Console(quiet=True)),
    )
    outputs = logits_of(model, data.test.for_spec(spec), batch=16, device=CPU)
    found = measure(outputs, truth_of(data, data.test, spec), spec)
    assert found["label"]["top1"] >= 0.9 and found["label"]["macro_f1"] >= 0.9
    assert found["thing"]["top1"] >= 0.8
    assert found["tags"]["map"] >= 0.9
    assert found["retrieval"]["caption_recall_at_5"] >= 0.6
    assert found["retrieval"]["clip_recall_at_5"] >= 0.6


def test_the_truth_has_labels_tags_and_captions(data):
    spec = with_tasks(data.spec, data.spec.inputs, ["thing", "tags", "retrieval"])
    truth = truth_of(data, data.test, spec)
    assert task_names(spec) == ["thing", "tags", "retrieval"]
    for number, row in enumerate(data.test.rows):
        assert spec.labels[0].classes[truth.labels[number, 0]] == row.labels["thing"]
        given = [tag for tag, has in zip(spec.tags[0].classes, truth.tags[0][number], strict=True) if has]
        assert given == sorted(row.more["tags"].split(";"))
    texts = [row.text for row in data.test.rows]
    assert (truth.captions >= 0).all()
    assert [texts.index(text) for text in texts] == [
        truth.captions.tolist().index(caption) for caption in truth.captions.tolist()
    ]
    silent = data.test.for_spec(spec)
    silent.rows[0] = replace(silent.rows[0], text=" - ")
    assert Truth.of(silent, spec, tag_separator=";").captions[0] == -1


def _pairs(clips, captions):
    return torch.stack([torch.tensor(clips), torch.tensor(captions)], dim=1)


def _case():
    """Three clips, two label columns, a tag column and retrieval: partly correct predictions."""
    spec = replace(
        small_spec("clip", "text", labels=("x", "y")),
        tags=(LabelSpec(name="t", classes=("a", "b")),),
        retrieval=True,
    )
    truth = Truth(
        labels=torch.tensor([[0, 0], [1, 0], [2, 0]]),
        tags=(torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]),),
        captions=torch.tensor([0, 0, -1]),
    )
    outputs = (
        torch.tensor([[4.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 4.0]]),
        torch.tensor([[4.0, 0.0, 0.0]] * 3),
        torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]),
        _pairs([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]),
    )
    return spec, truth, outputs


def _batch(indices):
    return Batch(indices=indices, augmentation=None, labels=torch.zeros(len(indices), 2, dtype=torch.int64))


def test_the_loss_is_the_weighted_sum_of_those_of_the_tasks():
    spec, truth, outputs = _case()
    weights = {"x": 1.0, "y": 2.0, "t": 0.5, "retrieval": 0.25}
    order = [2, 0]
    given = tuple(output[order] for output in outputs)
    criterion = TaskCriterion(spec, truth, weights=weights, label_smoothing=0.1)
    found = criterion(Outputs(logits=given), _batch(order))
    expected = (
        cross_entropy(given[0], truth.labels[order, 0], label_smoothing=0.1)
        + 2.0 * cross_entropy(given[1], truth.labels[order, 1], label_smoothing=0.1)
        + 0.5 * binary_cross_entropy(given[2], truth.tags[0][order])
        + 0.25 * contrastive(given[3][:, 0], given[3][:, 1], truth.captions[order])
    )
    torch.testing.assert_close(found, expected)


def test_learned_weights_become_the_inverse_of_the_losses():
    """At the least of `loss * exp(-s) + s / 2` a task's variance, `exp(s)`, is twice its loss."""
    spec, truth, outputs = _case()
    weights = dict.fromkeys(task_names(spec), 1.0)
    criterion = TaskCriterion(spec, truth, weights=weights, label_smoothing=0.1, learned=True)
    optimizer = torch.optim.Adam(criterion.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        criterion(Outputs(logits=outputs), _batch([0, 1, 2])).backward()
        optimizer.step()
    losses = []
    for name in ("x", "y", "t"):
        only = {**dict.fromkeys(weights, 0.0), name: 1.0}
        alone = TaskCriterion(spec, truth, weights=only, label_smoothing=0.1)
        assert alone.task_weights() is None
        losses.append(alone(Outputs(logits=outputs), _batch([0, 1, 2])))
    variances = criterion.log_variance.exp()
    torch.testing.assert_close(variances[:3], 2 * torch.stack(losses), rtol=0.02, atol=0.0)
    assert criterion.task_weights() == pytest.approx(
        dict(zip(task_names(spec), (1 / variances).tolist(), strict=True))
    )


def test_every_task_has_its_figures():
    spec, truth, outputs = _case()
    found = measure(outputs, truth, spec)
    assert found["x"] == pytest.approx({"top1": 2 / 3, "macro_f1": (2 / 3 + 0 + 1) / 3})
    assert found["y"]["top1"] == 1.0
    assert found["t"]["map"] == pytest.approx((1 / 1 + 2 / 3) / 2), "the tag that no clip has is left out"
    assert found["retrieval"] == {
        f"{what}_recall_at_{k}": 1.0 for what in ("caption", "clip") for k in (1, 5)
    }


def test_recall_counts_different_captions_and_any_clip_with_the_caption():
    spec = replace(small_spec("clip", "text"), retrieval=True)
    captions = torch.tensor([0, 0, 1, 2, 3, 4, 5])
    vectors = torch.eye(6)[captions]
    clips = vectors.clone()
    clips[0] = torch.tensor([0.0, 6.0, 5.0, 4.0, 3.0, 2.0])  # its own caption comes last
    clips[2] = torch.tensor([2.0, 1.0, 0.0, 0.0, 0.0, 0.0])  # its own comes second
    truth = Truth(labels=torch.zeros(7, 1, dtype=torch.int64), tags=(), captions=captions)
    logits = torch.zeros(7, 3)
    found = measure((logits, torch.stack([clips, vectors], dim=1)), truth, spec)["retrieval"]
    assert found["caption_recall_at_1"] == pytest.approx(5 / 7)
    assert found["caption_recall_at_5"] == pytest.approx(6 / 7)
    # Caption 0 finds clip 2 first and its own clip 1 next; captions 1 to 5 find clip 0 first.
    assert found["clip_recall_at_1"] == 0.0
    assert found["clip_recall_at_5"] == 1.0


def test_top5_is_there_when_classes_are_more_than_five():
    spec = replace(small_spec("clip"), labels=(LabelSpec(name="x", classes=tuple("abcdefg")),))
    truth = Truth(labels=torch.tensor([[0], [6]]), tags=(), captions=torch.tensor([-1, -1]))
    logits = torch.arange(7.0).expand(2, 7)
    assert measure((logits,), truth, spec)["x"] == pytest.approx(
        {"top1": 0.5, "top5": 0.5, "macro_f1": 1 / 3}, abs=0.02
    )


def test_contrastive_loss_of_known_pairs():
    eye = torch.eye(3)
    apart = contrastive(eye, eye, torch.tensor([0, 1, 2]))
    assert apart.item() == pytest.approx(-math.log(math.e / (math.e + 2)))
    shared = contrastive(eye[:2], eye[:2], torch.tensor([4, 4]))
    assert shared.item() == pytest.approx(-0.5 * (1 - math.log(math.e + 1)) + 0.5 * math.log(math.e + 1))
    left_out = contrastive(torch.randn(4, 3), torch.randn(4, 3), torch.tensor([-1, -1, -1, -1]))
    assert left_out.item() == 0.0
    with_one_more = contrastive(
        torch.cat([eye, eye[:1]]), torch.cat([eye, eye[:1]]), torch.tensor([0, 1, 2, -1])
    )
    torch.testing.assert_close(with_one_more, apart)
