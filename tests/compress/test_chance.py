"""Networks at chance level are found, trained networks are not."""

from __future__ import annotations

import pytest
import torch

from compress.chance import at_chance, guessed, predicted_classes
from tests.specs import small_spec

SPEC = small_spec("clip")
CLASSES = SPEC.labels[0].classes


def warned(top1: float, counts: list[int], predicted: list[int] | None = None) -> list[str]:
    labels = torch.tensor([k for k, count in enumerate(counts) for _ in range(count)]).unsqueeze(1)
    predictions = None if predicted is None else {SPEC.labels[0].name: predicted}
    found = at_chance("models.teacher", top1, spec=SPEC, labels=labels, predicted=predictions)
    return [one["message"] for one in found]


@pytest.mark.parametrize(
    ("right", "clips", "chance", "expected"),
    [(3, 3, 1 / 3, 1 / 27), (1, 2, 0.5, 0.75), (0, 5, 0.2, 1.0), (60, 100, 0.5, 0.02844), (5, 5, 1.0, 1.0)],
)
def test_the_tail_of_the_binomial_distribution(
    right: int, clips: int, chance: float, expected: float
) -> None:
    assert guessed(right, clips, chance=chance) == pytest.approx(expected, abs=1e-5)


def test_a_third_of_three_classes_is_chance() -> None:
    (message,) = warned(1 / 3, [2, 2, 2])
    assert message.startswith("top-1 of 33.3 % on 6 test clips is not above chance")
    assert f"always predicting {CLASSES[0]!r} gives 33.3 %" in message


def test_a_share_that_the_most_frequent_class_gives_is_chance_however_high() -> None:
    assert warned(0.9, [90, 5, 5])
    assert not warned(0.97, [90, 5, 5])


def test_few_clips_prove_nothing_and_many_do() -> None:
    assert warned(0.5, [2, 2, 2])
    assert not warned(0.5, [200, 200, 200])
    assert not warned(1.0, [2, 2, 2])


def test_a_constant_prediction_is_named() -> None:
    (message,) = warned(0.9, [90, 5, 5], predicted=[0])
    assert message.startswith(f"predicts {CLASSES[0]!r} for all 100 test clips")
    assert (
        not warned(1.0, [100, 0, 0], predicted=[0])
        or "is not above chance" in warned(1.0, [100, 0, 0], [0])[0]
    )


def test_classes_are_those_of_the_largest_logits() -> None:
    logits = torch.tensor([[0.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    assert predicted_classes([logits], SPEC) == {SPEC.labels[0].name: [1]}
