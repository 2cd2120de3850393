"""Why `torch.export` could not capture a network: the user's line, torch's words, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator

from compress.command.lines import is_library, line_of
from compress.command.sentence import in_a_sentence

_WORDS = 180
"""Characters of torch's own message that are shown; the log has all of it."""

_BY_NAME: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("pack_padded_sequence", "pad_packed_sequence", "pack_sequence"),
        "lengths of sequences are values, and a file's graph is fixed: give all sequences one length, hand the "
        "padded tensor itself to the recurrent layer, and choose the last valid step by a mask behind it",
    ),
    (
        ("numpy", "from_numpy", "asarray", "__array__"),
        "NumPy is outside of the graph: write it with torch's functions",
    ),
    (
        ("item", "tolist", "__float__", "__int__", "__bool__"),
        "a value that leaves its tensor leaves the graph: keep it a tensor (x.amax(), not x.max().item())",
    ),
    (
        ("load_state_dict", "open", "load"),
        "read files when the network is made, not in forward",
    ),
)
"""Functions that a user's line calls -> what to do instead; the first that is called counts."""

_BY_MESSAGE: tuple[tuple[str, str], ...] = (
    (
        r"data-dependent|GuardOnDataDependent|Could not (guard|extract)|unbacked",
        "let what is computed depend on shapes, not on values: torch.where instead of `if`, no .item()",
    ),
    (
        r"ScriptModule|ScriptMethod|ScriptFunction|TorchScript|__torch__|__obj_flatten__",
        "keep the Python code: leave out torch.jit.script and torch.jit.trace",
    ),
    (r"\.numpy\(\)|NumPy|numpy", "NumPy is outside of the graph: write it with torch's functions"),
    (
        r"autograd\.Function|HigherOrderOperator|vmap|functorch",
        "write what it computes with plain operators of torch, without derivatives of its own",
    ),
    (
        r"kwarg|keyword|positional argument",
        "let forward take its tensors by position, one argument for each",
    ),
    (
        r"FakeTensor|fake tensor|meta tensor",
        "give the network plain tensors that its parameters and buffers hold: register_buffer for constants, no "
        "tensors in global variables",
    ),
)
"""What torch's message holds -> what to do instead."""

_OTHERWISE = (
    "torch.export runs forward once and keeps what plain operators of torch compute there: let it depend on the "
    "shapes of its inputs alone"
)


def why_not(error: BaseException) -> str:
    """One sentence for a failed capture."""
    line = line_of(error)
    where = f" at {line}" if line else ""
    said = in_a_sentence(error)
    if len(said) > _WORDS:  # the advice behind it must not be cut off
        said = f"{said[: _WORDS - 3]}..."
    return f"the network cannot be captured as one graph{where}: {said}; {_advice(error)}"


def _advice(error: BaseException) -> str:
    called = list(_called(error))
    packed = _BY_NAME[0]
    # A packed sequence fails in the layer that is given it, whose message says nothing of it.
    if any(name in names for names in called for name in packed[0]):
        return packed[1]
    for pattern, advice in _BY_MESSAGE:
        if re.search(pattern, f"{type(error).__name__} {error}"):
            return advice
    for wanted, advice in _BY_NAME[1:]:
        if called and any(name in called[-1] for name in wanted):
            return advice
    return _OTHERWISE


def _called(error: BaseException) -> Iterator[tuple[str, ...]]:
    """Names that the functions call which `error` passed through, outermost first; libraries' are left out."""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not is_library(code.co_filename):
            yield code.co_names
        trace = trace.tb_next
