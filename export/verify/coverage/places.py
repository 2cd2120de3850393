"""Places in the user's source, in the form for the description of a file."""

from __future__ import annotations

from pathlib import Path

from torch import fx

from export.lower.source import user_line


def place_of(stack_trace: str | None) -> str | None:
    """The user's line of a stack trace as `file:line` and the code, `None` if there is none.

    The file is relative to the working directory, or its name only outside of it: the description is distributed
    with the file and must not contain paths of this machine.
    """
    line = user_line(stack_trace)
    if line is None:
        return None
    file, separator, rest = line.partition(":")
    path = Path(file)
    here = path.is_relative_to(Path.cwd())
    return f"{path.relative_to(Path.cwd()).as_posix() if here else path.name}{separator}{rest}"


def places_of(graph: fx.Graph) -> dict[str, str]:
    """Node name -> place, for every node that has one; a node added by a pass takes that of its first input."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        inherited = (found[source.name] for source in node.all_input_nodes if source.name in found)
        place = place_of(node.meta.get("stack_trace")) or next(inherited, None)
        if place is not None:
            found[node.name] = place
    return found
