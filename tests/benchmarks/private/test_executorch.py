"""Private APIs of ExecuTorch's runtime exist, and its exporter is not imported by worker processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.private import executorch as insides
from tests.insides import check

pytest.importorskip("executorch.runtime")


def test_this_executorch_is_the_one_that_it_was_written_for():
    check(insides)


def test_the_runtime_starts_without_the_exporter():
    script = (
        "import sys; from benchmarks.runtimes import RUNTIMES; RUNTIMES['executorch'].start()\n"
        "print('executorch.runtime' in sys.modules, 'executorch.exir' in sys.modules,\n"
        "      'executorch.exir.program' in sys.modules, 'torch._inductor' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "True False False False"


def test_it_uses_as_many_threads_as_it_is_told():
    assert [insides.use_threads(threads) for threads in (2, 1)] == [2, 1]
