import json
import re

import numpy as np
import pytest

from export import EXPORTERS
from export.trial import FLOAT, REFERENCE, Trial
from export.verify.acceptance import TOLERANCES, check_parity
from export.verify.execute import Executed

LOGITS = np.random.default_rng(0).normal(size=(8, 1, 5)).astype("float32")


def parity_of(outputs, *, scheme="fp32", reference=None, names=("logits",)):
    expected = {FLOAT: (LOGITS,) * len(names)}
    if reference is not None:
        expected[REFERENCE] = (reference,)
    trial = Trial(inputs={"clip": LOGITS}, source="8 clips", outputs=expected)
    executed = Executed(outputs=outputs, runner="ONNX Runtime 1", reason=None)
    return check_parity(executed, trial, scheme=scheme, outputs=names)


def noisy(level, *, seed=1):
    return LOGITS + level * np.random.default_rng(seed).normal(size=LOGITS.shape).astype("float32")


def test_every_scheme_has_a_tolerance():
    assert {scheme for row in EXPORTERS.values() for scheme in row.schemes} <= set(TOLERANCES)


@pytest.mark.parametrize(
    ("scheme", "level", "wrong"),
    [
        ("fp32", 1e-6, None),
        ("fp32", 1e-2, r"differs from the float network: its largest error is 0.\d+ of the largest value"),
        ("fp16", 1e-3, None),
        ("w8", 1e-2, None),
        ("w8", 1.0, r"its SQNR is -?\d.\d dB, at least 20 dB is required"),
        ("w4", 0.2, None),
    ],
)
def test_float_schemes_are_compared_with_the_float_network(scheme, level, wrong):
    parity = parity_of((noisy(level),), scheme=scheme)
    if wrong is None:
        assert parity.wrong is None and parity.at_fault is None
    else:
        with pytest.raises(AssertionError, match=wrong):
            raise AssertionError(parity.wrong)
        assert parity.at_fault == "file"


def test_an_int8_file_is_compared_with_the_reference_first():
    reference = noisy(0.05)
    right = parity_of((reference,), scheme="w8a8", reference=reference)
    assert right.wrong is None
    row = right.to_dict(["logits"])
    assert row["reference"][0]["sqnr_db"] == 160 and row["float"][0]["sqnr_db"] < 40
    json.dumps(row, allow_nan=False)
    differs = parity_of((noisy(0.5),), scheme="w8a8", reference=reference)
    assert differs.at_fault == "file" and "the file differs from the torch int8 reference" in differs.wrong


@pytest.mark.parametrize(("level", "right"), [(0.2, True), (1.2, False)])
def test_a_file_may_differ_from_the_reference_by_twice_what_that_differs_from_float(level, right):
    reference = noisy(0.3)
    turned = np.random.default_rng(2).normal(size=LOGITS.shape).astype("float32")
    parity = parity_of((reference + level * turned,), scheme="w8a8", reference=reference)
    assert parity.against[REFERENCE][0].sqnr_db < 20
    assert (parity.wrong is None) == right
    if not right:
        assert re.search(r"its SQNR is -2.8 dB, at least 2.\d dB is required", parity.wrong)


@pytest.mark.parametrize("seed", range(20))
def test_implementations_equally_far_from_float_pass_for_any_clips(seed):
    parity = parity_of((noisy(0.2, seed=2 * seed),), scheme="w8a8", reference=noisy(0.2, seed=2 * seed + 1))
    assert parity.against[REFERENCE][0].sqnr_db < 20
    assert parity.wrong is None


def test_clear_predictions_must_agree_even_with_a_high_quantization_cost():
    generator = np.random.default_rng(0)
    outputs = generator.normal(size=(200, 10)).astype("float32")
    outputs[np.arange(200), generator.integers(10, size=200)] += 4
    reference, right = (outputs + 0.4 * generator.normal(size=outputs.shape).astype("float32") for _ in "ab")
    swapped = right.copy()
    swapped[:20] = np.roll(right[:20], 1, axis=1)
    found = {}
    for name, given in (("right", right), ("swapped", swapped)):
        trial = Trial(
            inputs={"clip": outputs}, source="", outputs={FLOAT: (outputs,), REFERENCE: (reference,)}
        )
        executed = Executed(outputs=(given,), runner="", reason=None)
        found[name] = check_parity(executed, trial, scheme="w8a8", outputs=["logits"])
        assert found[name].against[REFERENCE][0].sqnr_db < 20
    assert found["right"].wrong is None
    assert found["right"].against[REFERENCE][0].clear_top1_agreement < 1, (
        "near ones are turned around by noise"
    )
    assert found["swapped"].at_fault == "file"


def test_a_quantization_cost_that_is_too_high_is_not_the_files_fault():
    reference = noisy(2.0)
    parity = parity_of((reference,), scheme="w8a8", reference=reference)
    assert parity.at_fault == "quantization"
    assert "its quantization cost is too high: its SQNR is" in parity.wrong


def test_changed_predictions_are_wrong_whatever_their_sqnr():
    reference = np.tile(np.float32([0, 1, 8, 9]), (8, 1, 1))
    turned = reference[..., [0, 1, 3, 2]]
    outputs = {FLOAT: (reference,), REFERENCE: (reference,)}
    trial = Trial(inputs={"clip": LOGITS}, source="", outputs=outputs)
    executed = Executed(
        outputs=(np.where(np.arange(8)[:, None, None] < 1, turned, reference),), runner="", reason=None
    )
    parity = check_parity(executed, trial, scheme="w8a8", outputs=["logits"])
    assert "87.5% of its clear predictions agree, at least 98% is required" in parity.wrong


def test_the_output_is_named_where_there_are_several():
    parity = parity_of((LOGITS, noisy(1.0)), names=("first", "second"))
    assert "output 'second', its largest error" in parity.wrong


def test_a_file_that_fails_is_wrong_and_one_without_a_runtime_is_unknown():
    trial = Trial(inputs={"clip": LOGITS}, source="8 clips", outputs={FLOAT: (LOGITS,)})
    refused = Executed(outputs=None, runner=None, reason="error 0x12")
    assert (
        check_parity(refused, trial, scheme="fp32", outputs=["logits"]).wrong
        == "the file does not run: error 0x12"
    )
    elsewhere = Executed(outputs=None, runner=None, reason="not installed", available=False)
    parity = check_parity(elsewhere, trial, scheme="fp32", outputs=["logits"])
    assert parity.wrong is None and parity.to_dict(["logits"])["reason"] == "not installed"


def test_other_shapes_and_non_finite_values_are_wrong():
    assert "returns outputs of shape [[1, 4]], the network [[1, 5]]" in parity_of((LOGITS[..., :4],)).wrong
    assert "it has values that are NaN or infinite" in parity_of((LOGITS * np.nan,)).wrong


def test_a_high_quantization_cost_of_a_correct_file_is_reported():
    reference = noisy(0.4)
    parity = parity_of((reference,), scheme="w8a8", reference=reference)
    assert parity.wrong is None
    assert re.match(
        r"the quantization cost is high: its SQNR is [5-9]\.\d dB, at least 10 dB",
        parity.quantization_cost,
    )
    assert parity_of((noisy(0.05),), scheme="w8a8", reference=noisy(0.05)).quantization_cost is None
