"""The bound `max_drop_pp`: layers in float until validation top-1 drops by no more."""

from __future__ import annotations

from typing import Any

from compress.command.progress import bar
from compress.quantization.float_search import FloatSearch


def until_drop(search: FloatSearch, config: Any) -> dict[str, str]:
    """Layers in float until the drop is at most `max_drop_pp`; those that are not needed go back to int8."""
    limit_pp, order = config.max_drop_pp, search.order
    kept = list(search.chosen)
    with bar(search.context.console, "quantize: layers in float") as report:
        report(0, len(order))
        reached, without = search.drop_pp(kept), dict[str, float]()
        for done, name in enumerate(order, start=1):
            if reached <= limit_pp:
                break
            without[name] = reached
            kept.append(name)
            reached = search.drop_pp(kept, changed=name, into="float")
            report(done, len(order))
        if reached > limit_pp:
            raise ValueError(
                f"max_drop_pp {limit_pp:g} cannot be met: with every layer in float, validation top-1 is "
                f"{reached:.2f} points below the float student (resolution {100 / len(search.validation):.2f}); "
                "allow more, or train more gently"
            )
        for name in reversed(list(without)[:-1]):
            place = kept.index(name)
            kept.remove(name)
            without[name] = search.drop_pp(kept, changed=name, into="int8")
            if without[name] > limit_pp:
                kept.insert(place, name)
    return {
        name: f"max_drop_pp: without it the drop is {found:.2f} points"
        for name, found in without.items()
        if name in kept
    }
