"""Checks of one operator of the reference: against coremltools' evaluation of constants, or against torch."""

import copy

import numpy as np
import pytest
import torch

pytest.importorskip("coremltools")

from export.emit.coreml.operators import OPERATORS
from export.emit.coreml.saved import import_quietly

import_quietly()

from coremltools import target  # noqa: E402
from coremltools.converters.mil.mil import Builder, Function, types  # noqa: E402

_random = np.random.default_rng(0)


def floats(*shape, low=-2.0, high=2.0):
    return _random.uniform(low, high, shape).astype(np.float32)


def ints(*shape, high=5):
    return _random.integers(0, high, shape).astype(np.int32)


def packed(values, kind):
    """Integers in a type of less than a byte."""
    builtin = types.string_to_builtin(kind)
    return (values % 2 ** builtin.get_bitwidth()).astype(types.nptype_from_builtin(builtin))


def tensors(**given):
    """Inputs of an operator in the form of the reference."""
    return {name: value if isinstance(value, str) else _ready(value) for name, value in given.items()}


def ids(cases):
    return [case[0] for case in cases]


def check_against_coremltools(name, given, opset=target.iOS18):
    """Builds the operator with constants only, which coremltools then evaluates."""
    with Function({}, opset_version=opset):
        # A copy: some evaluations modify their inputs.
        outputs = getattr(Builder, name)(**copy.deepcopy(given))
        outputs = outputs if isinstance(outputs, list | tuple) else (outputs,)
        operation = outputs[0].op
        expected = tuple(var.val for var in outputs)
        if expected[0] is None:
            expected = operation.materialized_val_inference()
            expected = expected if isinstance(expected, tuple) else (expected,)
    inputs = {
        key: tuple(_ready(var.val) for var in value) if isinstance(value, list | tuple) else _ready(value.val)
        for key, value in operation.inputs.items()
        if value is not None
    }
    results = OPERATORS[name](inputs)
    results = results if isinstance(results, tuple) else (results,)
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.numpy(), wanted, rtol=2e-5, atol=2e-5)
        assert result.shape == np.shape(wanted)


def check_against_torch(name, given, wanted):
    """Compares with `wanted(given)`."""
    with torch.no_grad():
        results, expected = OPERATORS[name](given), wanted(given)
    results = results if isinstance(results, tuple) else (results,)
    for result, one in zip(results, expected if isinstance(expected, tuple) else (expected,), strict=True):
        torch.testing.assert_close(result.float(), one.float(), rtol=2e-5, atol=2e-5)


def _ready(value):
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    return torch.tensor(array.astype({"f": np.float32, "b": bool}.get(array.dtype.kind, np.int32)))
