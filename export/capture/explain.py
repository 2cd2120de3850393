"""Explains why `torch.export` could not capture a network: the user's line, torch's message and a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator

from compress.command.lines import is_library, line_of
from compress.command.sentence import in_a_sentence

_WORDS = 180
"""Maximum length of torch's message in characters. The log has the full message."""

_BY_NAME: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("pack_padded_sequence", "pad_packed_sequence", "pack_sequence"),
        "sequence lengths are values, and the graph of a file is static: pad all sequences to one length, pass the "
        "padded tensor to the recurrent layer, and select the last valid step with a mask after it",
    ),
    (
        ("numpy", "from_numpy", "asarray", "__array__"),
        "NumPy is not part of the graph: use torch functions",
    ),
    (
        ("item", "tolist", "__float__", "__int__", "__bool__"),
        "a value that leaves its tensor leaves the graph: keep it a tensor (x.amax(), not x.max().item())",
    ),
    (
        ("load_state_dict", "open", "load"),
        "read files when the network is constructed, not in forward",
    ),
)
"""Functions that a user's line calls -> remedy. The first function called counts."""

_BY_MESSAGE: tuple[tuple[str, str], ...] = (
    (
        r"data-dependent|GuardOnDataDependent|Could not (guard|extract)|unbacked",
        "make the computation depend on shapes, not on values: torch.where instead of `if`, no .item()",
    ),
    (
        r"ScriptModule|ScriptMethod|ScriptFunction|TorchScript|__torch__|__obj_flatten__",
        "keep the Python code: remove torch.jit.script and torch.jit.trace",
    ),
    (r"\.numpy\(\)|NumPy|numpy", "NumPy is not part of the graph: use torch functions"),
    (
        r"autograd\.Function|HigherOrderOperator|vmap|functorch",
        "compute it with standard torch operators, without a custom derivative",
    ),
    (
        r"kwarg|keyword|positional argument",
        "let forward take its tensors as positional arguments, one tensor per argument",
    ),
    (
        r"FakeTensor|fake tensor|meta tensor",
        "store the network's tensors as parameters and buffers: register_buffer for constants, no tensors in "
        "global variables",
    ),
)
"""Pattern in torch's message -> remedy."""

_OTHERWISE = (
    "torch.export runs forward once and records its torch operators: make it depend on the shapes of its "
    "inputs only"
)


def why_not(error: BaseException) -> str:
    """One sentence that explains a failed capture."""
    line = line_of(error)
    where = f" at {line}" if line else ""
    message = in_a_sentence(error)
    if len(message) > _WORDS:  # keeps the advice after it visible
        message = f"{message[: _WORDS - 3]}..."
    return f"the network cannot be captured as one graph{where}: {message}; {_advice(error)}"


def _advice(error: BaseException) -> str:
    called = list(_called(error))
    packed = _BY_NAME[0]
    # A packed sequence fails inside the layer that receives it, whose message does not mention it.
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
    """Names that the functions in the traceback of `error` call, outermost first, without library functions."""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not is_library(code.co_filename):
            yield code.co_names
        trace = trace.tb_next
