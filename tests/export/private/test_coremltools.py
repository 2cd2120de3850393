"""Insides of coremltools: its import goes without the libraries that are hidden from it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from export.private import coremltools as insides
from tests.insides import check

pytest.importorskip("coremltools")


def test_this_coremltools_is_the_one_that_it_was_written_for():
    check(insides)


def test_the_import_leaves_out_what_it_does_not_need_and_hides_nothing_afterwards():
    script = (
        "import sys; from export.coreml.saved import import_quietly; import_quietly()\n"
        "from export.private.coremltools import OTHERS\n"
        "print([name for name in OTHERS if name in sys.modules], 'coremltools' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[] True"


def test_what_is_loaded_already_stays(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    with insides.without_others():
        assert sys.modules["tensorflow"] is sys
    assert sys.modules["tensorflow"] is sys
