"""The interface of bounds of mixed precision: how many layers stay in float."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compress.quantization.float_search import FloatSearch

Bound = Callable[[FloatSearch, Any], dict[str, str]]
"""The layers of the search's order that stay in float, with the reason of each, given the settings of the stage.

Raises ValueError for a bound that cannot be met, or that needs no int8."""
