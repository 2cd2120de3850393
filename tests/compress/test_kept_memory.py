import resource
from pathlib import Path

import pytest
import torch

from compress import kept_memory as module
from compress.kept_memory import kept_memory

needs_glibc = pytest.mark.skipif(module._glibc() is None, reason="only glibc returns freed memory at once")

PAGES = 64 * 2**20 // 4096
"""Of one tensor, of the smallest pages that there are."""


def faults_of_use():
    """Fewest page faults of a tensor that is made, written and freed, after others like it."""
    return min(faults_once() for _ in range(5))


def faults_once():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@needs_glibc
def test_a_freed_tensor_leaves_its_pages_to_the_next():
    with kept_memory():
        assert faults_of_use() < PAGES / 100


@needs_glibc
def test_afterwards_memory_goes_back_to_the_system():
    before = resident_bytes()
    with kept_memory():
        torch.ones(64 * 2**20)
        assert resident_bytes() > before + 200 * 2**20
    assert resident_bytes() < before + 100 * 2**20


@needs_glibc
def test_an_error_inside_ends_it_too():
    before = resident_bytes()
    with pytest.raises(RuntimeError, match="stopped"), kept_memory():
        torch.ones(64 * 2**20)
        raise RuntimeError("stopped")
    assert resident_bytes() < before + 100 * 2**20


def test_elsewhere_nothing_changes(monkeypatch):
    monkeypatch.setattr(module, "_glibc", lambda: None)
    with kept_memory():
        assert torch.ones(3).sum() == 3
