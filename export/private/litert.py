"""Private APIs of LiteRT."""

from __future__ import annotations

from typing import Any

from compress.command.insides import Insides

WRITTEN_FOR = {"ai-edge-litert": "2.3.0"}

_inside = Insides(WRITTEN_FOR, __name__)


def operators_of(interpreter: Any) -> list[dict[str, Any]]:
    """The operators of the first graph, followed by one `DELEGATE` for each part that was given to a delegate.

    The public API for the file does not show the delegated parts.
    """
    listed: list[dict[str, Any]] = _inside("ai_edge_litert.interpreter:Interpreter._get_ops_details")(
        interpreter
    )
    return listed
