"""Private APIs of ExecuTorch."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from compress.command.insides import Insides

WRITTEN_FOR = {"executorch": "1.4.1"}

_inside = Insides(WRITTEN_FOR, __name__)

PASSED_OVER = "executorch.exir"
"""The exporter, including torch's compiler: slow and large to import, while the runtime needs one decorator of
it."""


@contextmanager
def without_exporter() -> Iterator[None]:
    """In this context, `import executorch.runtime` finds modules of the exporter without running its `__init__`."""
    spec = importlib.util.find_spec(PASSED_OVER) if PASSED_OVER not in sys.modules else None
    if spec is None:
        yield
        return
    empty = sys.modules[spec.name] = ModuleType(spec.name)
    empty.__path__ = spec.submodule_search_locations or []
    try:
        yield
    finally:
        del sys.modules[spec.name]


def use_threads(threads: int) -> int:
    """Sets the number of threads of the runtime and returns the resulting number. No program may be running."""
    _inside("executorch.extension.pybindings.portable_lib:_unsafe_reset_threadpool")(threads)
    given: int = _inside("executorch.extension.pybindings.portable_lib:_threadpool_get_thread_count")()
    return given
