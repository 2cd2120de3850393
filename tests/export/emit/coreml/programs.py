"""Small ML programs, written with MIL's own builder and saved."""

import pytest

pytest.importorskip("coremltools")

from export.emit.coreml.saved import import_quietly

import_quietly()

import coremltools as ct  # noqa: E402
from coremltools.converters.mil.mil import Builder, types  # noqa: E402

INPUT = Builder.TensorSpec((1, 2, 4, 4), types.fp32)


def saved(path, build, *, inputs=(INPUT,), opset=ct.target.iOS17):
    """The package of the program `build`, in the precision in which it is written."""
    program = Builder.program(input_specs=list(inputs), opset_version=opset)(build)
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=opset,
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    model.save(str(path / "model.mlpackage"))
    return path / "model.mlpackage"
