import io
import re

import pytest
import torch
from rich.console import Console

from benchmarks.clips.cache import Augmentation
from benchmarks.top1 import Accuracy
from compress.artifact import weights_sha256
from compress.criterion import Criterion, LabelCriterion
from compress.training import (
    Job,
    TrainConfig,
    accuracy,
    augmentations_of,
    batch_notes,
    fit,
    logits_of,
    per_label,
)
from models import STUDENTS
from tests.specs import small_spec

CPU = torch.device("cpu")


def _student(data):
    torch.manual_seed(3)
    row = STUDENTS["mobilenet3d_tiny"]
    return row.build(data.spec.only(("clip",)), row.options())


def _fit(data, folder, *, seed=0, criterion=None, console=None, on_step=None, **settings):
    model = _student(data)
    config = TrainConfig.model_validate({"epochs": 3, "batch": 8, **settings})
    curve = fit(
        model,
        data.train.select(("clip",)),
        criterion=criterion or LabelCriterion(),
        config=config,
        validation=data.validation.select(("clip",)),
        job=Job(name="test", device=CPU, seed=seed, folder=folder, console=console or Console(quiet=True)),
        on_step=on_step,
    )
    return model, curve


class Stopping(Criterion):
    """Another criterion that is interrupted after some steps."""

    def __init__(self, inner, *, steps):
        super().__init__()
        self.inner, self.left, self.features = inner, steps, inner.features

    def forward(self, outputs, batch):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.inner(outputs, batch)


class NotANumber(Criterion):
    """A loss that is none."""

    def forward(self, outputs, batch):
        return outputs.logits[0].sum() * float("nan")


def test_the_loss_falls_and_every_epoch_has_a_row(tiny_data, tmp_path):
    _, curve = _fit(tiny_data, tmp_path, epochs=8, views=0, learning_rate=1e-2)
    assert [row["epoch"] for row in curve] == list(range(1, 9))
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]
    assert curve[-1]["learning_rate"] < 1e-3 < curve[1]["learning_rate"]


def test_every_step_is_announced_before_it_is_made(tiny_data, tmp_path):
    steps = []
    _fit(tiny_data, tmp_path, epochs=2, on_step=lambda step, count: steps.append((step, count)))
    assert steps == [(step, len(steps)) for step in range(len(steps))] and len(steps) >= 2


def test_every_epoch_prints_loss_validation_and_time_left(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr("compress.command.progress.LEAST_S", 0.0)
    monkeypatch.setattr("compress.command.progress._LEAST_KNOWN_S", 0.0)
    written = io.StringIO()
    _fit(tiny_data, tmp_path, console=Console(file=written))
    lines = [line for line in written.getvalue().splitlines() if "loss" in line]
    assert len(lines) == 3
    figures = r"loss \d+\.\d{3}, validation top-1 \d+\.\d %"
    for number, line in enumerate(lines, start=1):
        assert re.match(rf"  test: epoch {number} of 3, {figures}, (\d+ s left|took \d+ s)$", line), line


def test_the_same_seed_gives_the_same_weights_another_seed_others(tiny_data, tmp_path):
    first, again, other = (
        weights_sha256(_fit(tiny_data, tmp_path / str(k), seed=seed)[0]) for k, seed in enumerate((0, 0, 1))
    )
    assert first == again != other


def test_corruptions_change_what_is_learned_the_same_way_every_time(tiny_data, tmp_path):
    settings = ({}, {"corruptions": ("noise", "h264")}, {"corruptions": ("noise", "h264")})
    plain, noisy, again = (
        weights_sha256(_fit(tiny_data, tmp_path / str(k), epochs=1, **given)[0])
        for k, given in enumerate(settings)
    )
    assert plain != noisy == again


def test_corruptions_without_views_and_unknown_ones_are_refused():
    with pytest.raises(
        ValueError, match="corruptions are part of the augmentations, but views is 0; give 1 or more"
    ):
        TrainConfig(epochs=1, views=0, corruptions=("noise",))
    with pytest.raises(ValueError, match="Input should be 'noise', 'blur'"):
        TrainConfig(epochs=1, corruptions=("fog",))


def test_stopped_in_any_epoch_it_goes_on_to_the_same_weights(tiny_data, tmp_path):
    whole, curve = _fit(tiny_data, tmp_path / "whole")
    for steps_done in (1, 4, 7):
        folder = tmp_path / f"stopped-{steps_done}"
        with pytest.raises(KeyboardInterrupt):
            _fit(tiny_data, folder, criterion=Stopping(LabelCriterion(), steps=steps_done))
        resumed, resumed_curve = _fit(tiny_data, folder, criterion=Stopping(LabelCriterion(), steps=99))
        assert weights_sha256(resumed) == weights_sha256(whole)
        assert resumed_curve == curve


def test_a_batch_larger_than_the_data_is_all_of_the_data(tiny_data, tmp_path):
    whole, _ = _fit(tiny_data, tmp_path / "whole", batch=24)
    larger, _ = _fit(tiny_data, tmp_path / "larger", batch=4_096)
    assert weights_sha256(whole) == weights_sha256(larger)
    assert batch_notes(TrainConfig(epochs=1, batch=24), tiny_data.train) == ()
    assert batch_notes(TrainConfig(epochs=1, batch=25), tiny_data.train) == (
        "batch 25 was reduced to the number of training clips, 24",
    )


def test_the_largest_seed_trains(tiny_data, tmp_path):
    _, curve = _fit(tiny_data, tmp_path, seed=2**63 - 1, epochs=1)
    assert len(curve) == 1


def test_a_loss_that_is_not_finite_is_refused(tiny_data, tmp_path):
    with pytest.raises(
        FloatingPointError, match=r"the loss became nan in epoch 1, step 1; lower learning_rate"
    ):
        _fit(tiny_data, tmp_path, criterion=NotANumber())


class Projected(Criterion):
    """Classifies a feature by a trainable layer of its own."""

    def __init__(self, feature, size):
        super().__init__()
        self.features = (feature,)
        torch.manual_seed(5)
        self.layer = torch.nn.Linear(size, 8)

    def forward(self, outputs, batch):
        feature = outputs.features[self.features[0]]
        pooled = feature if feature.dim() == 2 else feature.mean((2, 3, 4))
        return torch.nn.functional.cross_entropy(self.layer(pooled), batch.labels[:, 0])


def test_a_criterion_learns_from_features_and_is_kept_with_the_network(tiny_data, tmp_path):
    """Stopped and resumed, its own layer ends as it does in one go, and so does the network."""
    size = _student(tiny_data).heads.features
    whole = Projected("embedding", size)
    before = weights_sha256(whole)
    network, _ = _fit(tiny_data, tmp_path / "whole", criterion=whole)
    assert weights_sha256(whole) != before
    untouched = _student(tiny_data).heads.classifiers[0].bias
    assert torch.equal(network.heads.classifiers[0].bias, untouched), "nothing looks at the logits"
    with pytest.raises(KeyboardInterrupt):
        stopping = Stopping(Projected("embedding", size), steps=4)
        _fit(tiny_data, tmp_path / "stopped", criterion=stopping)
    resumed = Stopping(Projected("embedding", size), steps=99)
    again, _ = _fit(tiny_data, tmp_path / "stopped", criterion=resumed)
    assert weights_sha256(resumed.inner) == weights_sha256(whole)
    assert weights_sha256(again) == weights_sha256(network)


def test_any_module_of_the_network_is_a_feature_by_its_dotted_name(tiny_data, tmp_path):
    _fit(
        tiny_data,
        tmp_path,
        epochs=1,
        criterion=Projected("video.0", _student(tiny_data).video[0][0].out_channels),
    )
    with pytest.raises(
        ValueError, match=r"has no feature 'video\.99'; its top-level modules are .*embedding is the input"
    ):
        _fit(tiny_data, tmp_path / "other", epochs=1, criterion=Projected("video.99", 4))


def test_every_view_that_a_training_shows_is_known_before():
    config = TrainConfig(epochs=6, views=4, corruptions=("noise",))
    assert augmentations_of(config, seed=3) == tuple(Augmentation(number=k, seed=3) for k in range(4))
    assert len(augmentations_of(TrainConfig(epochs=2, views=4), seed=3)) == 2
    assert augmentations_of(TrainConfig(epochs=2, views=0), seed=3) == (None,)


def test_logits_do_not_depend_on_the_batch_and_are_as_many_as_clips(tiny_data):
    model, clips = _student(tiny_data).eval(), tiny_data.test.select(("clip",))
    one = logits_of(model, clips, batch=1, device=CPU)
    many = logits_of(model, clips, batch=5, device=CPU)
    assert one[0].shape == (len(clips), 8)
    torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-6)


def test_accuracy_counts_right_answers(tiny_data):
    clips = tiny_data.test
    right = torch.nn.functional.one_hot(clips.labels[:, 0], 8).float()
    wrong = right.roll(1, dims=1)
    wrong[:2] = right[:2]
    assert accuracy((right,), clips) == [Accuracy(correct=len(clips), total=len(clips))]
    assert accuracy((wrong,), clips) == [Accuracy(correct=2, total=len(clips))]


def test_figures_have_the_names_of_label_columns_where_the_data_has_several():
    one, two = small_spec("clip", labels=("x",)), small_spec("clip", labels=("x", "y"))
    assert per_label([0.5], one, data=one) == 0.5
    assert per_label([0.5, 1.0], two, data=two) == {"x": 0.5, "y": 1.0}
    assert per_label([0.5], one, data=two) == {"x": 0.5}, "a student that learns one of them"
