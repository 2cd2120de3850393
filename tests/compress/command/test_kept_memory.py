"""Freed memory stays in the process for as long as it trains; counted in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from compress.command import kept_memory as module
from compress.command.kept_memory import kept_memory

needs_glibc = pytest.mark.skipif(module._glibc() is None, reason="only glibc returns freed memory at once")

_COUNTS = """
import resource
from pathlib import Path
import torch
from compress.command.kept_memory import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**20

"""


def counted(script):
    done = subprocess.run(
        [sys.executable, "-c", _COUNTS + script], capture_output=True, text=True, check=True
    )
    return [int(word) for word in done.stdout.split()]


@needs_glibc
def test_freed_tensors_leave_their_pages_to_the_next():
    # The heap grows in the first rounds, until it has a gap that fits with the alignment.
    without, within = counted(
        "print(sum(faults() for _ in range(60)))\n"
        "with kept_memory():\n"
        "    print(sum(faults() for _ in range(60)))"
    )
    assert within < without / 3


@needs_glibc
@pytest.mark.parametrize("end", ["pass", "raise RuntimeError"])
def test_afterwards_memory_goes_back_to_the_system(end):
    before, within, after = counted(
        "print(resident_mib())\n"
        "try:\n"
        "    with kept_memory():\n"
        "        torch.ones(64 * 2**20)\n"
        "        print(resident_mib())\n"
        f"        {end}\n"
        "except RuntimeError:\n"
        "    pass\n"
        "print(resident_mib())\n"
    )
    assert within > before + 200 and after < before + 100


def test_elsewhere_nothing_changes(monkeypatch):
    monkeypatch.setattr(module, "_glibc", lambda: None)
    with kept_memory():
        assert torch.ones(3).sum() == 3
