"""The bound `max_size_bytes`: the most sensitive layers in float that fit."""

from __future__ import annotations

from typing import Any

from compress.quantization.float_search import FloatSearch


def while_fits(search: FloatSearch, config: Any) -> dict[str, str]:
    """The first layers in order whose float weights fit into `max_size_bytes`."""
    limit_bytes, chosen = config.max_size_bytes, search.chosen
    least = search.graph.weight_bytes(chosen)
    if least > limit_bytes:
        raise ValueError(
            f"max_size_bytes {limit_bytes} cannot be met: the weights take {least} bytes with "
            f"{len(chosen)} layers in float"
        )
    reasons: dict[str, str] = {}
    for rank, name in enumerate(search.order, start=1):
        size = search.graph.weight_bytes([*chosen, *reasons, name])
        if size <= limit_bytes:
            reasons[name] = f"max_size_bytes: rank {rank} by sensitivity; {size} bytes with it"
    return reasons
