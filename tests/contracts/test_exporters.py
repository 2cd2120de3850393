"""Contract of every row of `EXPORTERS`."""

import inspect
import platform
import re
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from torch import nn

from benchmarks.exported import read_export
from benchmarks.latency import measure_latency
from benchmarks.runtimes import RUNTIMES
from export import EXPORTERS
from export.manifest import file_spec
from export.network import check_network, export_network
from tests.export.small_nets import clip_spec, float_graph, program_of

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
SHAPE = "1x3x4x16x16"


def backend_of(extra):
    """The top-level modules of the packages that an extra installs."""
    wanted = {re.match(r"[\w-]+", line)[0] for line in EXTRAS[extra]}
    return {module for module, found in packages_distributions().items() if wanted & set(found)}


def network():
    return nn.Sequential(
        nn.Conv3d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_module_has_a_writer_with_the_common_signature(name):
    write = import_module(EXPORTERS[name].module).write
    parameters = inspect.signature(write).parameters
    assert list(parameters) == ["program", "path", "spec", "scheme", "step"]
    assert [parameters[key].kind for key in ("spec", "scheme", "step")] == [
        inspect.Parameter.KEYWORD_ONLY
    ] * 3
    assert not inspect.signature(import_module(EXPORTERS[name].module).load_backend).parameters
    parameters = inspect.signature(import_module(EXPORTERS[name].runner).open_file).parameters
    assert list(parameters) == ["path", "entry", "outputs"]


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_row_is_complete(name):
    exporter = EXPORTERS[name]
    assert exporter.extension.startswith(".") and exporter.runtime
    assert (
        {"fp32", "w8a8"} <= set(exporter.schemes) <= {"fp32", "fp16", "w8a8", "w8", "w4", "p4", "w8a8_nncf"}
    )
    assert exporter.extra is None or exporter.pip_line == f"pip install '.[{exporter.extra}]'"
    assert RUNTIMES[name].distribution in exporter.distributions
    assert sorted(exporter.clip_layout) == sorted("NCTHW")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["fp32", "w8a8"])
@pytest.mark.parametrize("name", EXPORTERS)
def test_its_files_agree_with_torch_and_are_measured(name, scheme, tmp_path):
    calibration = "random" if scheme == "w8a8" else None
    exported = export_network(
        network(), [SHAPE], formats=[name], schemes=[scheme], calibration=calibration, out=tmp_path
    )
    (outcome,) = exported.outcomes
    assert outcome.status == "exported", outcome.reason
    assert outcome.parity is not None and outcome.parity.runner is not None
    (latency,) = measure_latency(read_export(tmp_path), rounds=1)
    if RUNTIMES[name].system in (None, platform.system()):
        assert latency.unavailable is None and latency.runtime.startswith(EXPORTERS[name].runtime)
    else:
        assert latency.unavailable == RUNTIMES[name].elsewhere


@pytest.mark.parametrize("name", EXPORTERS)
def test_its_check_takes_what_its_runtime_takes(name):
    found = check_network(network(), [SHAPE], formats=[name], scheme="fp32")
    assert not [one for one in found if one.severity == "refused"]


@pytest.mark.parametrize("name", [name for name, row in EXPORTERS.items() if row.extra is not None])
def test_without_its_backend_the_writer_names_the_pip_line(name, tmp_path, monkeypatch):
    spec = clip_spec()
    program = program_of(float_graph(spec), spec)
    exporter = EXPORTERS[name]
    requested = file_spec(
        spec, clip_layout=exporter.clip_layout, token_dtype=exporter.token_dtype, provenance={}
    )
    write = import_module(exporter.module).write
    backend = backend_of(exporter.extra)
    for module in [*backend, *(module for module in sys.modules if module.split(".")[0] in backend)]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install '\.\[{exporter.extra}\]'"):
        write(program, tmp_path / f"model{exporter.extension}", spec=requested, scheme="fp32")
