"""Private APIs of coremltools: libraries loaded by its import, its counters of names, operators it converts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from compress.command.insides import Insides

WRITTEN_FOR = {"coremltools": "9.0"}

_inside = Insides(WRITTEN_FOR, __name__)

OTHERS = ("tensorflow", "executorch")
"""Libraries for other model sources, whose import takes time and memory. coremltools works without them."""


@contextmanager
def without_others() -> Iterator[None]:
    """Makes `import coremltools` treat the libraries `OTHERS` as not installed, unless they are loaded.

    There is no setting for that.
    """
    hidden = [name for name in OTHERS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def reset_names() -> None:
    """Makes the next conversion count generated names from 0.

    coremltools resets its counters after a conversion that succeeds. After one that fails, the next file of the
    same process has other names.
    """
    _inside("coremltools.converters.mil.converter:_reset_conversion_state")()


def is_converted(target: Any) -> bool:
    """Whether coremltools has a converter for an operator.

    Its public `is_torch_fx_node_supported` drops the namespace of the name, so it does not recognise operators of
    int8 graphs.
    """
    table = _inside("coremltools.converters.mil.frontend.torch.torch_op_registry:_TORCH_OPS_REGISTRY")
    name = _inside("coremltools.converters.mil.frontend.torch.utils:sanitize_op_kind")(target.name())
    return name in table
