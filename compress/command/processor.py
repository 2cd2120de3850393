"""Instructions of the processor of this process that decide about exact int8 products."""

from __future__ import annotations

import platform
import re
from pathlib import Path

_X86 = ("x86_64", "amd64", "i386", "i686")
_VNNI = re.compile(r"^flags\s*:.*\b(avx512_vnni|avx_vnni)\b", re.MULTILINE)


def lacks_vnni(*, root: Path = Path("/"), machine: str | None = None) -> bool:
    """Whether this is an x86 processor without VNNI, or one whose instructions the system does not list.

    Without VNNI, x86 kernels add pairs of uint8 x int8 products in 16 bits, which saturates for large weights.
    `root` has the folder `proc` of Linux; `machine` is the architecture, by default that of this process.
    """
    if (machine or platform.machine()).lower() not in _X86:
        return False
    try:
        return _VNNI.search((root / "proc/cpuinfo").read_text(errors="replace")) is None
    except OSError:
        return True
