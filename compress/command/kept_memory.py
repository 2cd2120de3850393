"""Keeps the memory of freed tensors in the process while it trains: equal results, faster.

glibc returns large freed blocks to the system at once, and every step of a training on a CPU gets its activations
anew, page by page: a third of its processor time. Allocators such as jemalloc and tcmalloc keep them; PyTorch's
performance tuning guide recommends these, but they must be installed and loaded before Python starts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt (malloc.h of glibc).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 2**30
"""Blocks below it come from the heap, of which as much stays at its end."""
_USUAL_BYTES = {_TRIM_THRESHOLD: 64 * 2**20, _MMAP_THRESHOLD: 32 * 2**20}
"""What glibc's own adaptation reaches after large blocks were freed."""


@contextmanager
def kept_memory() -> Iterator[None]:
    """In this context, freed memory stays in the process; at the end it is returned to the system.

    The process then takes about its peak all the time. Without glibc (macOS, Windows, Alpine) nothing changes.
    """
    library = _glibc()
    if library is None:
        yield
        return
    for parameter in _USUAL_BYTES:
        library.mallopt(parameter, _KEEP_BYTES)
    try:
        yield
    finally:
        for parameter, size_bytes in _USUAL_BYTES.items():
            library.mallopt(parameter, size_bytes)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 (glibc alone has it)
    except (OSError, TypeError, AttributeError):
        return None
    return library
