"""Insides of LiteRT."""

from __future__ import annotations

from typing import Any

from compress.command.insides import Insides

WRITTEN_FOR = {"ai-edge-litert": "2.3.0"}

_inside = Insides(WRITTEN_FOR, __name__)


def operators_of(interpreter: Any) -> list[dict[str, Any]]:
    """The operators of the first graph, and behind them one `DELEGATE` for each part that was handed to a delegate.

    The file itself, which can be read by public means, does not say what is handed over.
    """
    listed: list[dict[str, Any]] = _inside("ai_edge_litert.interpreter:Interpreter._get_ops_details")(
        interpreter
    )
    return listed
