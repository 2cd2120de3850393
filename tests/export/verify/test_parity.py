import json
from dataclasses import asdict

import numpy as np
import pytest

from export.verify.parity import SQNR_LIMIT_DB, compare


def test_values_on_a_hand_computed_example():
    reference = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    candidate = np.array([[3.0, 3.5], [0.5, 0.0]], np.float32)
    parity = compare(reference, candidate)
    assert parity.max_abs_error == 0.5
    assert parity.sqnr_db == pytest.approx(10 * np.log10(25 / 0.5))
    assert parity.top1_agreement == 1.0


def test_agreement_counts_rows_with_the_same_largest_logit():
    reference = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 1.0], [5.0, 1.0]])
    candidate = np.array([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0], [5.0, 1.0]])
    assert compare(reference, candidate).top1_agreement == 0.75


@pytest.mark.parametrize(
    ("reference", "candidate", "sqnr_db"),
    [
        (np.ones((2, 3)), np.ones((2, 3)), SQNR_LIMIT_DB),
        (np.zeros((2, 3)), np.zeros((2, 3)), SQNR_LIMIT_DB),
        (np.zeros((2, 3)), np.ones((2, 3)), -SQNR_LIMIT_DB),
    ],
)
def test_extremes_stay_valid_json(reference, candidate, sqnr_db):
    parity = compare(reference, candidate)
    assert parity.sqnr_db == sqnr_db
    json.dumps(asdict(parity), allow_nan=False)


def test_other_shapes_are_refused():
    with pytest.raises(
        ValueError, match=r"one shape and not be empty: reference \[2, 3\], candidate \[2, 4\]"
    ):
        compare(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="not be empty"):
        compare(np.zeros((0, 3)), np.zeros((0, 3)))


def test_a_candidate_that_is_not_finite_is_as_wrong_as_can_be():
    reference = np.array([[1.0, 0.0], [1.0, 0.0]])
    parity = compare(reference, np.array([[1.0, 0.0], [np.nan, 0.0]]))
    assert parity.max_abs_error is None
    assert parity.sqnr_db == -SQNR_LIMIT_DB
    assert parity.top1_agreement == 0.5
    json.dumps(asdict(parity), allow_nan=False)


def test_a_reference_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="the reference has values that are NaN or infinite"):
        compare(np.array([[0.0, np.inf]]), np.zeros((1, 2)))


def test_only_clear_predictions_count_as_clear():
    reference = np.array([[1.0, 0.0], [0.52, 0.5]])
    candidate = np.array([[1.0, 0.0], [0.5, 0.52]])
    parity = compare(reference, candidate)
    assert (parity.top1_agreement, parity.clear_top1_agreement) == (0.5, 1.0)
    assert compare(reference[1:], reference[1:]).clear_top1_agreement is None


@pytest.mark.parametrize(
    ("shape", "agreement"),
    [((2, 1, 5), 1.0), ((2, 1, 4, 5), 1.0), ((2, 1, 3, 4, 5), None), ((2, 1, 1), None), ((2,), None)],
)
def test_outputs_of_any_shape_are_compared(shape, agreement):
    reference = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    parity = compare(reference, reference + 0.5)
    assert parity.max_abs_error == 0.5
    assert parity.relative_error == pytest.approx(0.5 / reference.max())
    assert parity.top1_agreement == agreement


def test_logits_per_frame_are_separate_predictions():
    reference = np.zeros((2, 1, 2, 3))
    reference[..., 0] = 1
    candidate = reference.copy()
    candidate[1, 0, 1] = [0, 1, 0]
    assert compare(reference, candidate).top1_agreement == 0.75


def test_relative_to_zeros_there_is_no_error():
    assert compare(np.zeros((1, 2)), np.ones((1, 2))).relative_error is None
