"""Places in the user's source, in the form in which a file's description may hold them."""

from __future__ import annotations

from pathlib import Path

from torch import fx

from export.lower.source import user_line


def place_of(stack_trace: str | None) -> str | None:
    """The user's line of a stack trace as `file:line` and the code, `None` where there is none.

    The file is relative to the working directory, or its bare name outside of it: a description travels with
    the file, and is to say nothing about the machine that wrote it.
    """
    line = user_line(stack_trace)
    if line is None:
        return None
    file, separator, rest = line.partition(":")
    path = Path(file)
    here = path.is_relative_to(Path.cwd())
    return f"{path.relative_to(Path.cwd()).as_posix() if here else path.name}{separator}{rest}"


def places_of(graph: fx.Graph) -> dict[str, str]:
    """Node name -> place, for every node that has one; what a pass has added takes that of its first input."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        inherited = (found[source.name] for source in node.all_input_nodes if source.name in found)
        place = place_of(node.meta.get("stack_trace")) or next(inherited, None)
        if place is not None:
            found[node.name] = place
    return found
