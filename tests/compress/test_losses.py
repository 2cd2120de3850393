"""Every loss does what its paper says, on cases that can be checked by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional import kl_divergence

from compress.distillation.alignment import same_grid
from compress.distillation.attention import Attention, AttentionSettings
from compress.distillation.dist import Dist, DistSettings
from compress.distillation.dkd import DecoupledKD, DecoupledKDSettings
from compress.distillation.features import Features, FeaturesSettings
from compress.distillation.kd import KD, KDSettings
from compress.distillation.relation import Relation, RelationSettings
from compress.distillation.similarity import Similarity, SimilaritySettings
from compress.losses import cross_entropy, soft_targets, standardized

ANY = torch.tensor([0, 1, 2])
"""Labels, for losses that do not read them."""


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_soft_targets_are_zero_for_equal_logits_and_positive_otherwise():
    logits = torch.randn(5, 7)
    assert soft_targets(logits, logits + 3, temperature=2).item() == pytest.approx(0, abs=1e-6)
    assert soft_targets(logits, torch.randn(5, 7), temperature=2) > 0.01


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_targets_are_the_divergence_from_the_teacher_times_temperature_squared(temperature):
    student, teacher = torch.randn(6, 4), torch.randn(6, 4)
    expected = kl_divergence((teacher / temperature).softmax(1), (student / temperature).softmax(1))
    given = soft_targets(student, teacher, temperature=temperature)
    torch.testing.assert_close(given, expected * temperature**2)


def test_cross_entropy_with_smoothing_never_reaches_zero():
    logits, labels = torch.eye(3) * 50, torch.arange(3)
    assert cross_entropy(logits, labels) < 1e-6
    assert cross_entropy(logits, labels, label_smoothing=0.1) > 1


def test_cross_entropy_counts_clips_by_their_weights():
    logits, labels = torch.randn(3, 4), torch.tensor([1, 0, 3])
    found = cross_entropy(logits, labels, weights=torch.tensor([2.0, 0.0, 1.0]))
    each = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(found, (2 * each[0] + each[2]) / 3)


def test_kd_by_hand():
    """Teacher 3/4 against 1/4 at temperature 2, student 1/2 against 1/2."""
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]])
    found = KD(KDSettings(temperature=2.0))(torch.zeros(1, 2), teacher, torch.tensor([0]))
    by_hand = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert found.item() == pytest.approx(by_hand, rel=1e-6)


def test_standardised_kd_does_not_depend_on_scale_and_shift_of_either_side():
    student, teacher = torch.randn(3, 5), torch.randn(3, 5)
    loss = KD(KDSettings(standardize=True))
    found = loss(student, teacher, ANY)
    torch.testing.assert_close(loss(7 * student + 2, 0.1 * teacher - 4, ANY), found)
    assert loss(student, 5 * student + 1, ANY).item() == pytest.approx(0, abs=1e-6)
    plain = KD(KDSettings())
    assert (plain(7 * student + 2, teacher, ANY) - plain(student, teacher, ANY)).abs() > 0.1


def test_standardised_logits_have_mean_0_and_deviation_1():
    found = standardized(torch.tensor([[1.0, 2.0, 3.0]]))
    torch.testing.assert_close(found, torch.tensor([[-1.0, 0.0, 1.0]]))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dkd_with_the_teachers_doubt_as_beta_is_kd(temperature):
    """Zhao et al. 2022, equation 5: KD = TCKD + (1 - p of the labelled class) NCKD."""
    student, teacher, labels = torch.randn(1, 5), torch.randn(1, 5), torch.tensor([3])
    doubt = 1 - (teacher / temperature).softmax(1)[0, 3].item()
    dkd = DecoupledKD(DecoupledKDSettings(temperature=temperature, alpha=1.0, beta=doubt))
    kd = KD(KDSettings(temperature=temperature))
    torch.testing.assert_close(dkd(student, teacher, labels), kd(student, teacher, labels))


def test_dkd_separates_the_labelled_class_from_the_others():
    """The two agree on class 0 against the rest, and disagree among the rest."""
    student = torch.tensor([[0.5, 0.4, 0.1]]).log()
    teacher = torch.tensor([[0.5, 0.1, 0.4]]).log()
    labels = torch.tensor([0])

    def part(alpha, beta):
        return DecoupledKD(DecoupledKDSettings(temperature=1.0, alpha=alpha, beta=beta))(
            student, teacher, labels
        )

    assert part(1.0, 0.0).item() == pytest.approx(0, abs=1e-6)
    by_hand = 0.2 * math.log(0.2 / 0.8) + 0.8 * math.log(0.8 / 0.2)
    assert part(0.0, 1.0).item() == pytest.approx(by_hand, rel=1e-5)
    assert part(1.0, 8.0).item() == pytest.approx(8 * by_hand, rel=1e-5)


def test_standardised_dkd_does_not_depend_on_the_scale():
    student, teacher, labels = torch.randn(3, 5), torch.randn(3, 5), torch.tensor([0, 4, 2])
    loss = DecoupledKD(DecoupledKDSettings(standardize=True))
    torch.testing.assert_close(loss(3 * student, teacher, labels), loss(student, teacher, labels))


def test_dist_is_zero_for_probabilities_that_are_affinely_related_over_the_classes():
    teacher = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    student = 0.5 * teacher + 1 / 6  # rows still sum to 1
    rows = Dist(DistSettings(gamma=0.0))
    assert rows(student.log(), teacher.log(), ANY).item() == pytest.approx(0, abs=1e-6)
    # Columns are affinely related, too; other factors for each clip leave the rows alone related.
    assert Dist(DistSettings())(student.log(), teacher.log(), ANY).item() == pytest.approx(0, abs=1e-6)
    sharper = torch.tensor([[0.9], [0.3], [0.1]]) * (teacher - 1 / 3) + 1 / 3
    assert rows(sharper.log(), teacher.log(), ANY).item() == pytest.approx(0, abs=1e-6)
    assert Dist(DistSettings(beta=0.0))(sharper.log(), teacher.log(), ANY) > 0.01
    assert KD(KDSettings())(student.log(), teacher.log(), ANY) > 0.01


def test_dist_is_two_for_opposite_relations():
    teacher = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    opposite = 2 / 3 - teacher
    for settings in (DistSettings(gamma=0.0), DistSettings(beta=0.0, temperature=1.0)):
        found = Dist(settings)(opposite.log(), teacher.log(), ANY[:2])
        # The column of equal values has no correlation.
        expected = 2.0 if settings.gamma == 0 else 1 + 2 / 3
        assert found.item() == pytest.approx(expected, abs=1e-5)


def features(student, teacher, **settings):
    return Features(FeaturesSettings(**settings), student=student, teacher=teacher)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_features_are_zero_if_the_projector_reproduces_the_teacher(norm):
    loss = features((3, 2, 4, 4), (5, 2, 4, 4), distance="mse", norm=norm)
    student = torch.randn(2, 3, 2, 4, 4)
    teacher = loss.project(student.movedim(1, -1)).movedim(-1, 1).detach()
    assert loss(student, teacher).item() == pytest.approx(0, abs=1e-6)
    assert loss(student, torch.randn_like(teacher)) > 0.1


def test_features_with_a_batch_norm_do_not_depend_on_scale_and_shift_of_a_channel():
    loss = features((3,), (3,), projector="none")
    student, teacher = torch.randn(8, 3), torch.randn(8, 3)
    moved = teacher * torch.tensor([2.0, 0.5, 30.0]) + torch.tensor([1.0, 0.0, -9.0])
    torch.testing.assert_close(loss(student, moved), loss(student, teacher), atol=2e-3, rtol=1e-3)


def test_features_by_hand():
    """Without projector and norm: differences 1 and -2."""
    student, teacher = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    plain = {"projector": "none", "norm": "none"}
    assert features((2,), (2,), distance="mse", **plain)(student, teacher).item() == pytest.approx(5 / 4)
    found = features((2,), (2,), distance="logsum", **plain)(student, teacher).item()
    assert found == pytest.approx(math.log(1 + 2**4))


def relation(**settings):
    return Relation(RelationSettings(**settings), student=(2,), teacher=(2,))


def test_relation_does_not_depend_on_scale_shift_and_rotation():
    teacher = torch.randn(6, 4)
    rotation = torch.linalg.qr(torch.randn(4, 4))[0]
    assert relation()(3 * teacher @ rotation + 5, teacher).item() == pytest.approx(0, abs=1e-4)
    assert relation()(torch.randn(6, 4), teacher) > 0.1


def test_relation_by_hand():
    """A right angle against three clips on a line."""
    corner = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])

    def huber(differences):
        return sum(0.5 * d * d if abs(d) < 1 else abs(d) - 0.5 for d in differences) / 9

    corner_distances, line_distances = [x / 4 for x in (3, 4, 5)], [x / (4 / 3) for x in (1, 2, 1)]
    both_ways = [a - b for a, b in zip(corner_distances, line_distances, strict=True)] * 2
    found = relation(distance=1.0, angle=0.0)(corner, line)
    assert found.item() == pytest.approx(huber(both_ways), rel=1e-5)
    # Cosines at the three clips, for the pair of the other two: 0, 3/5, 4/5 against 1, -1, 1.
    found = relation(distance=0.0, angle=1.0)(corner, line)
    both_ways = [0 - 1, 3 / 5 + 1, 4 / 5 - 1] * 2
    assert found.item() == pytest.approx(huber(both_ways) * 9 / 27, rel=1e-5)


def test_relation_has_a_finite_gradient_for_equal_clips():
    student = torch.zeros(3, 2, requires_grad=True)
    relation()(student, torch.randn(3, 2)).backward()
    assert student.grad.isfinite().all()


def test_similarity_keeps_which_clips_are_alike():
    loss = Similarity(SimilaritySettings(), student=(2,), teacher=(3,))
    alike = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    same = torch.tensor([[0.0, 0.0, 5.0], [0.0, 0.0, 5.0], [5.0, 0.0, 0.0]])
    assert loss(alike, same).item() == pytest.approx(0, abs=1e-7)
    # All alike: rows of 1/sqrt(3) against (1, 1, 0)/sqrt(2) twice and (0, 0, 1).
    a, b = 1 / math.sqrt(3), 1 / math.sqrt(2)
    by_hand = (4 * (a - b) ** 2 + 2 * a**2 + 2 * a**2 + (1 - a) ** 2) / 9
    assert loss(alike, torch.ones(3, 3)).item() == pytest.approx(by_hand, rel=1e-5)


def attention(student, teacher):
    names = AttentionSettings(student="a", teacher="b")
    return Attention(names, student=student, teacher=teacher)


def test_attention_compares_where_a_layer_responds_and_not_how_much_or_in_which_channel():
    loss = attention((2, 1, 2), (3, 1, 2))
    student = torch.tensor([[[[1.0, 2.0]], [[2.0, 1.0]]]])  # mean squares 5/2 and 5/2
    teacher = torch.tensor([[[[9.0, 0.0]], [[0.0, 0.0]], [[0.0, 9.0]]]])
    assert loss(student, teacher).item() == pytest.approx(0, abs=1e-7)
    aside = torch.tensor([[[[9.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]]])  # a map of (1, 0)
    half = 1 / math.sqrt(2)
    assert loss(student, aside).item() == pytest.approx(((half - 1) ** 2 + half**2) / 2, rel=1e-5)


def test_attention_without_positions_in_common_is_refused():
    with pytest.raises(ValueError, match=r"a of the student has shape \[6, 2, 4, 4\], b .* \[6\] .*maps"):
        attention((6, 2, 4, 4), (6,))


def test_features_of_other_sizes_are_averaged_to_the_smaller_grid():
    student, teacher = torch.arange(16.0).reshape(1, 1, 4, 2, 2), torch.arange(8.0).reshape(1, 1, 2, 1, 4)
    ours, theirs = same_grid(student, teacher)
    assert ours.shape == theirs.shape == (1, 1, 2, 1, 2)
    # Two frames of two rows each become one; columns stay.
    assert ours.flatten().tolist() == [(0 + 2 + 4 + 6) / 4, (1 + 3 + 5 + 7) / 4, 11.0, 12.0]
    assert theirs.flatten().tolist() == [0.5, 2.5, 4.5, 6.5]


def test_a_clip_beside_frames_is_averaged_over_time_and_anything_beside_a_vector_over_all_positions():
    clip, picture, vector = torch.randn(2, 3, 4, 5, 5), torch.randn(2, 6, 5, 5), torch.randn(2, 7)
    ours, theirs = same_grid(clip, picture)
    torch.testing.assert_close(ours, clip.mean(2))
    assert theirs is picture
    ours, theirs = same_grid(vector, clip)
    assert ours is vector
    torch.testing.assert_close(theirs, clip.mean((2, 3, 4)))


def test_channels_that_differ_need_a_projector():
    with pytest.raises(
        ValueError, match=r"has 6 channels, embedding of the teacher 4; .*`projector: linear`"
    ):
        features((6,), (4,), projector="none")
