"""Contract of every row of `EXPORTERS`."""

import inspect
import sys
from importlib import import_module

import pytest

from export import EXPORTERS
from export.manifest import file_spec
from tests.export.small_nets import clip_spec, float_graph, program_of

BACKENDS = {"onnx": "onnx", "tflite": "ai_edge_litert", "executorch": "executorch", "coreml": "coremltools"}
"""The package without which a format cannot be written."""


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_module_has_a_writer_with_the_common_signature(name):
    write = import_module(EXPORTERS[name].module).write
    parameters = inspect.signature(write).parameters
    assert list(parameters) == ["program", "path", "spec", "scheme", "step"]
    assert [parameters[key].kind for key in ("spec", "scheme", "step")] == [
        inspect.Parameter.KEYWORD_ONLY
    ] * 3


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_row_is_complete(name):
    exporter = EXPORTERS[name]
    assert exporter.extension.startswith(".") and exporter.runtime
    assert {"fp32", "w8a8"} <= set(exporter.schemes) <= {"fp32", "fp16", "w8a8", "w8", "w4"}
    assert exporter.pip_line == f"pip install '.[{exporter.extra}]'"
    assert sorted(exporter.clip_layout) == sorted("NCTHW")


@pytest.mark.parametrize("name", EXPORTERS)
def test_without_its_backend_the_writer_names_the_pip_line(name, tmp_path, monkeypatch):
    spec = clip_spec()
    program = program_of(float_graph(spec), spec)
    exporter = EXPORTERS[name]
    requested = file_spec(
        spec, clip_layout=exporter.clip_layout, token_dtype=exporter.token_dtype, provenance={}
    )
    write = import_module(exporter.module).write
    for module in [module for module in sys.modules if module.split(".")[0] == BACKENDS[name]]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, BACKENDS[name], None)
    with pytest.raises(ImportError, match=rf"pip install '\.\[{exporter.extra}\]'"):
        write(program, tmp_path / f"model{exporter.extension}", spec=requested, scheme="fp32")
