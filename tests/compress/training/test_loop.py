import io
import re
from contextlib import nullcontext

import pytest
import torch
from rich.console import Console

from benchmarks.clips.augmentation import AugmentationSettings
from benchmarks.clips.cache import Augmentation
from benchmarks.clips.mixing import Mix
from benchmarks.top1 import Accuracy
from compress.artifact import weights_sha256
from compress.criterion import Batch, Criterion, LabelCriterion, Outputs
from compress.training import (
    Job,
    TrainConfig,
    accuracy,
    augmentations_of,
    batch_notes,
    fit,
    logits_of,
    per_label,
    selection_notes,
)
from compress.training.loop import autocast
from compress.training.selection import best_epoch
from models import STUDENTS
from tests.specs import small_spec

CPU = torch.device("cpu")


def _student(data):
    torch.manual_seed(3)
    row = STUDENTS["mobilenet3d_tiny"]
    return row.build(data.spec.only(("clip",)), row.options())


def _fit(data, folder, *, seed=0, criterion=None, console=None, on_step=None, workers=None, **settings):
    model = _student(data)
    config = TrainConfig.model_validate({"epochs": 3, "batch": 8, **settings})
    curve = fit(
        model,
        data.train.select(("clip",)),
        criterion=criterion or LabelCriterion(),
        config=config,
        validation=data.validation.select(("clip",)),
        job=Job(
            name="test",
            device=CPU,
            seed=seed,
            folder=folder,
            console=console or Console(quiet=True),
            workers=workers,
        ),
        on_step=on_step,
    )
    return model, curve


class Stopping(Criterion):
    """Another criterion that is interrupted after some steps."""

    def __init__(self, inner, *, steps):
        super().__init__()
        self.inner, self.left, self.features = inner, steps, inner.features

    def parts(self, outputs, batch):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.inner.parts(outputs, batch)


class NotANumber(Criterion):
    """A loss that is none."""

    def parts(self, outputs, batch):
        return outputs.logits[0].sum() * float("nan"), torch.zeros(())


def test_the_loss_falls_and_every_epoch_has_a_row(tiny_data, tmp_path):
    _, curve = _fit(tiny_data, tmp_path, epochs=8, views=0, learning_rate=1e-2)
    assert [row["epoch"] for row in curve] == list(range(1, 9))
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]
    assert curve[-1]["learning_rate"] < 1e-3 < curve[1]["learning_rate"]


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

    def parts(self, outputs, batch):
        feature = outputs.features[self.features[0]]
        pooled = feature if feature.dim() == 2 else feature.mean((2, 3, 4))
        return torch.nn.functional.cross_entropy(self.layer(pooled), batch.labels[:, 0]), torch.zeros(())


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
        ValueError,
        match=r"has no module 'video\.99'; its modules, nearest first: video\.\d, .*embedding is the input",
    ):
        _fit(tiny_data, tmp_path / "other", epochs=1, criterion=Projected("video.99", 4))


def test_a_training_with_fresh_views_shows_another_one_in_every_epoch():
    config = TrainConfig(epochs=3, views="fresh", augmentation=AugmentationSettings(mixup=0.2))
    assert augmentations_of(config, seed=3) == tuple(Augmentation(number=k, seed=3) for k in range(3))


class Recording(LabelCriterion):
    """Remembers the batches."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def parts(self, outputs, batch):
        self.batches.append(batch)
        return super().parts(outputs, batch)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_clips_are_trained_on_both_labels_and_resumed_to_the_same_weights(tiny_data, tmp_path, kind):
    settings = {"epochs": 2, "views": "fresh", "augmentation": {kind: 0.4}}
    recorded = Recording()
    whole, _ = _fit(tiny_data, tmp_path / "whole", criterion=recorded, **settings)
    own, other = recorded.batches[:2]
    assert own.mix is not None and (own.mix.box is None) == (kind == "mixup")
    assert other.clips == own.indices == own.clips
    assert other.indices == [own.indices[partner] for partner in own.mix.partners]
    labels = tiny_data.train.labels
    assert other.labels.equal(labels[other.indices]) and own.labels.equal(labels[own.indices])
    with pytest.raises(KeyboardInterrupt):
        criterion = Stopping(LabelCriterion(), steps=2 * 4)
        _fit(tiny_data, tmp_path / "stopped", criterion=criterion, **settings)
    resumed, _ = _fit(tiny_data, tmp_path / "stopped", **settings)
    assert weights_sha256(resumed) == weights_sha256(whole)


def test_the_loss_of_mixed_clips_is_the_weighted_mean_of_those_with_both_labels():
    logits = torch.randn(2, 3)
    labels = torch.tensor([[0], [2]])
    mix = Mix(partners=(1, 0), share=0.75)
    batch = Batch(indices=[5, 7], augmentation=None, labels=labels, mix=mix)
    losses = (
        torch.nn.functional.cross_entropy(logits, labels[:, 0]),
        torch.nn.functional.cross_entropy(logits, labels.flip(0)[:, 0]),
    )
    found = LabelCriterion().of_mixed(Outputs(logits=(logits,)), batch)
    torch.testing.assert_close(found, 0.75 * losses[0] + 0.25 * losses[1])


def test_settings_of_augmentations_without_views_are_refused():
    with pytest.raises(
        ValueError, match="augmentation has settings, but views is 0, which trains on the centre"
    ):
        TrainConfig(epochs=1, views=0, augmentation=AugmentationSettings(mixup=0.2))
    with pytest.raises(ValueError, match="Input should be 'fresh'"):
        TrainConfig(epochs=1, views="new")


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


def test_a_hook_is_called_before_every_step(tiny_data, tmp_path):
    called = []
    _fit(tiny_data, tmp_path / "whole", epochs=2, on_step=lambda *given: called.append(given))
    assert called == [(step, 6) for step in range(6)], "2 epochs of 24 clips in batches of 8"
    with pytest.raises(KeyboardInterrupt):
        _fit(tiny_data, tmp_path / "stopped", epochs=2, criterion=Stopping(LabelCriterion(), steps=4))
    called.clear()
    _fit(tiny_data, tmp_path / "stopped", epochs=2, on_step=lambda *given: called.append(given))
    assert called == [(3, 6), (4, 6), (5, 6)], "the epoch that was interrupted"


def test_an_average_of_the_best_epoch_is_resumed_to_the_same_weights(tiny_data, tmp_path):
    settings = {"ema": 0.9, "select": "best", "optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 1e-3}
    whole, curve = _fit(tiny_data, tmp_path / "whole", **settings)
    last, _ = _fit(tiny_data, tmp_path / "last", **{**settings, "select": "last"})
    plain, _ = _fit(tiny_data, tmp_path / "plain", **{**settings, "ema": None, "select": "last"})
    assert weights_sha256(last) != weights_sha256(plain)
    if best_epoch(curve) == len(curve) - 1:
        assert weights_sha256(whole) == weights_sha256(last)
    for steps_done in (4, 7):
        folder = tmp_path / f"stopped-{steps_done}"
        with pytest.raises(KeyboardInterrupt):
            _fit(tiny_data, folder, criterion=Stopping(LabelCriterion(), steps=steps_done), **settings)
        resumed, resumed_curve = _fit(tiny_data, folder, **settings)
        assert weights_sha256(resumed) == weights_sha256(whole)
        assert resumed_curve == curve


def test_averaged_weights_have_statistics_of_the_training_clips(tiny_data, tmp_path):
    """A BatchNorm sees its first input with the mean and variance that it has stored."""
    model, _ = _fit(tiny_data, tmp_path, ema=0.9, batch=24)
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm3d))
    seen = []
    norm.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad():
        model(*tiny_data.train.select(("clip",)).batch(range(24)))
    torch.testing.assert_close(norm.running_mean, seen[0].mean((0, 2, 3, 4)), rtol=1e-3, atol=1e-4)


def test_statistics_are_estimated_on_batches_in_random_order(tiny_data, tmp_path, monkeypatch):
    shown = []
    batch = type(tiny_data.train).batch

    def remember(self, indices, *, augmentation=None):
        shown.append((list(indices), augmentation))
        return batch(self, indices, augmentation=augmentation)

    monkeypatch.setattr(type(tiny_data.train), "batch", remember)
    _fit(tiny_data, tmp_path, epochs=1, ema=0.9)
    last = [index for indices, _ in shown[-3:] for index in indices]
    assert sorted(last) == list(range(24)) != last
    assert [augmentation for _, augmentation in shown[-3:]] == [None] * 3, "as on a device"


def test_the_weights_of_the_best_epoch_are_the_result(tiny_data, tmp_path, monkeypatch):
    """Validation is scripted: epoch 2 is best, and as good as epoch 3, whose rate was lower."""
    tops = iter((1, 5, 5, 2, 4, 3))
    kept = []

    def scripted(logits, clips):
        return [Accuracy(correct=next(tops), total=8)]

    def remember(step, steps):
        kept.append(weights_sha256(model))

    monkeypatch.setattr("compress.training.loop.accuracy", scripted)
    model = _student(tiny_data)
    config = TrainConfig(epochs=9, batch=8, select="best", patience=3)
    data = {name: getattr(tiny_data, name).select(("clip",)) for name in ("train", "validation")}
    job = Job(name="test", device=CPU, seed=0, folder=tmp_path, console=Console(quiet=True))
    curve = fit(
        model,
        data["train"],
        criterion=LabelCriterion(),
        config=config,
        validation=data["validation"],
        job=job,
        on_step=remember,
    )
    assert [8 * row["validation_top1"] for row in curve] == [1, 5, 5, 2, 4], "three epochs after the second"
    assert weights_sha256(model) == kept[9], "before the first step of epoch 4"
    assert selection_notes(config, curve) == (
        "stopped after epoch 5 of 9: no better validation top-1 in 3 epochs",
        "weights of epoch 3, validation top-1 62.5 %",
    )


def test_a_training_is_selected_by_its_last_epoch_unless_told_otherwise(tiny_data, tmp_path):
    _, curve = _fit(tiny_data, tmp_path, epochs=2)
    assert selection_notes(TrainConfig(epochs=2), curve) == ()
    averaged = selection_notes(TrainConfig(epochs=2, ema=0.99), curve)
    assert averaged == ("averaged weights (ema 0.99), BatchNorm statistics re-estimated on training clips",)


def test_workers_give_the_batches_of_this_process(tiny_data, tmp_path):
    found = [
        weights_sha256(_fit(tiny_data, tmp_path / str(workers), epochs=1, workers=workers)[0])
        for workers in (0, 2)
    ]
    assert found[0] == found[1]


def test_a_gradient_is_clipped_to_the_given_norm(tiny_data, tmp_path, monkeypatch):
    norms = []
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(
        torch.nn.utils,
        "clip_grad_norm_",
        lambda *given, max_norm: norms.append(max_norm) or clip(*given, max_norm),
    )
    for norm in (0.5, None):
        _fit(tiny_data, tmp_path / str(norm), epochs=1, clip_grad_norm=norm)
    assert norms == [0.5] * 3


class Precision(Criterion):
    """Remembers the types that it is given."""

    def __init__(self):
        super().__init__()
        self.dtypes = set()

    def parts(self, outputs, batch):
        self.dtypes |= {column.dtype for column in (*outputs.logits, *outputs.features.values())}
        return outputs.logits[0].square().mean(), torch.zeros(())


@pytest.mark.parametrize(
    ("device", "amp", "bfloat16", "expected"),
    [
        ("cuda", True, True, True),
        ("cuda", True, False, False),
        ("cuda", False, True, False),
        ("mps", True, False, True),
        ("cpu", True, True, False),
    ],
)
def test_gpus_compute_in_bfloat16_where_they_can(monkeypatch, device, amp, bfloat16, expected):
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: bfloat16)
    contexts = []
    monkeypatch.setattr("torch.autocast", lambda kind, dtype: contexts.append((kind, dtype)) or nullcontext())
    config = TrainConfig(epochs=1, amp=amp)
    graph = torch.fx.symbolic_trace(torch.nn.Linear(1, 1))
    for model in (torch.nn.Linear(1, 1), graph):
        autocast(model, config, torch.device(device))
    assert contexts == [(device, torch.bfloat16)] * expected, "a captured graph has fixed types"


def test_losses_are_computed_in_float32_whatever_the_network_returns(tiny_data, tmp_path):
    """The logits of this one are bfloat16 in training, as under autocast."""
    network = STUDENTS["mobilenet3d_tiny"]
    spec = tiny_data.spec.only(("clip",))

    class Half(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network.build(spec, network.options())

        def forward(self, clip):
            logits = self.inner(clip)
            return logits.bfloat16() if self.training else logits

    criterion = Precision()
    fit(
        Half(),
        tiny_data.train.select(("clip",)),
        criterion=criterion,
        config=TrainConfig(epochs=1, batch=24),
        validation=tiny_data.validation.select(("clip",)),
        job=Job(name="test", device=CPU, seed=0, folder=tmp_path, console=Console(quiet=True)),
    )
    assert criterion.dtypes == {torch.float32}
