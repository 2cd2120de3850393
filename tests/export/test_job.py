"""Writers that are real modules, each with another failure."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from export.capture.graph import capture
from export.choice import Forms
from export.job import FormsJob, Job, write
from export.manifest import file_spec
from export.process.child import run_in_child
from export.targets import PER_FRAME
from tests.export.small_nets import clip_spec

pytestmark = pytest.mark.slow

WRITERS = {
    "sleeping": "import os, pathlib, time\ndef write(program, path, *, spec, scheme, step=None):\n"
    "    pathlib.Path(path).write_text(str(os.getpid()))\n    time.sleep(600)\n",
    "chained": "def write(*a, **k):\n    try:\n        {}['aten.foo']\n    except KeyError as error:\n"
    "        raise RuntimeError('Conversion failed.\\nA long story.') from error\n",
}


@pytest.fixture
def job_of(tmp_path, monkeypatch):
    """Jobs for the writers above."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(1),)), program)
    spec = file_spec(clip_spec(), clip_layout="NCTHW", token_dtype="int64", provenance={})

    def make(name):
        (tmp_path / f"{name}_writer.py").write_text(WRITERS[name])
        path = tmp_path / "model.bin"
        return Job(
            module=f"{name}_writer", program=program, path=path, spec=spec, scheme="fp32", lowering=None
        )

    return make


def test_a_writer_that_hangs_is_ended(job_of, tmp_path):
    ended = _ended(job_of("sleeping"), tmp_path, time_limit_s=0.5)
    assert ended.reason == "the converter had not ended after 0.5 s"


def test_the_first_cause_is_named_with_the_error(job_of, tmp_path):
    ended = _ended(job_of("chained"), tmp_path)
    assert ended.reason == "RuntimeError: Conversion failed. (because of KeyError: 'aten.foo')"
    assert "A long story." in (tmp_path / "log").read_text()


def test_a_writer_ends_when_the_process_that_started_it_is_killed(job_of, tmp_path):
    job = job_of("sleeping")
    code = (
        "import sys, pathlib; from export.process.child import run_in_child;"
        "from export.job import Job, write;"
        "from export.manifest import file_spec;"
        "from tests.export.small_nets import clip_spec;"
        "spec = file_spec(clip_spec(), clip_layout='NCTHW', token_dtype='int64', provenance={});"
        f"run_in_child(write, Job(module={job.module!r}, program=pathlib.Path({str(job.program)!r}),"
        f" path=pathlib.Path({str(job.path)!r}), spec=spec, scheme='fp32', lowering=None),"
        f" who='', log=pathlib.Path({str(tmp_path / 'log')!r}), time_limit_s=600)"
    )
    project = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{tmp_path}"}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    assert _soon(lambda: job.path.exists() and job.path.read_text()), "the writer has not started"
    writer = int(job.path.read_text())
    parent.kill()
    parent.wait()
    assert _soon(lambda: not psutil.pid_exists(writer) or psutil.Process(writer).status() == "zombie")


def _ended(job, folder, *, time_limit_s=600):
    return run_in_child(write, job, who="the converter", log=folder / "log", time_limit_s=time_limit_s)


def _soon(holds):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(("taps", "form"), [(3, PER_FRAME), (1, None)])
def test_a_part_of_a_network_has_the_form_of_the_whole_if_it_can(tmp_path, taps, form):
    spec = clip_spec()
    layers = torch.nn.Conv3d(3, 5, (taps, 3, 3)), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten()
    program = tmp_path / "program.pt2"
    torch.export.save(capture(torch.nn.Sequential(*layers).eval(), spec.example()), program)
    measured = Forms().of("onnx.fp32")
    whole = FormsJob(
        module="export.layout.forms",
        runner="export.emit.onnx.session",
        file="onnx.fp32",
        clip=measured,
        step=measured,
    )
    job = Job(
        module="export.emit.onnx.writer",
        program=program,
        path=tmp_path / "model.onnx",
        spec=file_spec(spec, provenance={}),
        scheme="fp32",
        lowering=None,
        forms=whole.in_form(PER_FRAME),
    )
    written = write(job)
    assert (None if written.form is None else written.form.name) == form
    assert job.path.is_file() and not list(tmp_path.glob("*.forms"))
