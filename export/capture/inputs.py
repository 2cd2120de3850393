"""Parses input specifications of the command line, `clip=1x3x16x112x112`, and describes tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from export.manifest import TensorInfo

UNNAMED = "clip"
"""Name of an input that is given by its shape only."""

SYNTAX = (
    "give [NAME=]SIZExSIZEx...[:RANGE], such as 1x3x16x112x112, slow=1x3x4x112x112:-2..2 or "
    "text=1x16:int64<1000"
)

LAYOUTS = {0: "", 1: "N", 2: "NC", 3: "NCB", 4: "NCHW", 5: "NCTHW"}
"""Axis letters by rank, the only information about an input. Rank 5 has the layout of Conv3d."""

MAX_ELEMENTS, MAX_TOKENS = 2**27, 2**31
"""Limits of one input: half a gigabyte of float32 (more than 16 frames in full HD), and ids that fit in 32 bits."""

_DIGITS = 20
"""Limit of one number. Python itself reads a few thousand digits."""

_WRITTEN = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<sizes>\d+(?:x\d+)*)"
    r"(?::(?:(?P<integer>int64)<(?P<count>\d+)|(?P<low>-?[\d.]+)\.\.(?P<high>-?[\d.]+)))?"
)


def parse_inputs(texts: Sequence[str]) -> tuple[TensorInfo, ...]:
    """The inputs that `texts` describe, in order.

    `1x3x16x112x112` is the input `clip`, in 0..1; `audio=1x1x40x64` has a name and no bounds; `clip=...:-2..2` has
    other bounds; `text=1x16:int64<1000` takes integers from 0 to 999. By default an input of rank 5 is a clip
    `N C T H W` in 0..1.

    Raises ValueError for any other syntax, a size of 0, more than `MAX_ELEMENTS`, reversed bounds, and duplicate
    names.
    """
    inputs = tuple(_parse(text) for text in texts)
    if not inputs:
        raise ValueError(f"the network has no input: {SYNTAX}, once per argument of forward")
    names = [info.name for info in inputs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two inputs are called {name!r}; name each: NAME=SIZExSIZEx...")
    return inputs


def _parse(text: str) -> TensorInfo:
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        integer = re.search(r":int(64|32)?$", text)
        why = "does not give the number of tokens" if integer else "cannot be read"
        raise ValueError(f"shape {text!r} {why}: {SYNTAX}")
    if any(len(digits) > _DIGITS for digits in re.findall(r"[\d.]+", text)):
        raise ValueError(f"shape {text[:100]!r}: a number has more than {_DIGITS} digits; {SYNTAX}")
    shape = tuple(int(size) for size in found["sizes"].split("x"))
    if 0 in shape or len(shape) > max(LAYOUTS):
        raise ValueError(f"shape {text!r}: sizes are 1 or more, and there are {max(LAYOUTS)} of them at most")
    if math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(
            f"shape {text!r}: has {math.prod(shape):,} elements; an input has {MAX_ELEMENTS:,} at most"
        )
    bounds: tuple[float, float] | None = (0, 1) if len(shape) == 5 else None
    if found["integer"]:
        if int(found["count"]) > MAX_TOKENS:
            raise ValueError(f"shape {text!r}: {MAX_TOKENS:,} different tokens at most")
        bounds = (0, int(found["count"]) - 1)
    elif found["low"]:
        bounds = (_number(found["low"], text), _number(found["high"], text))
    if bounds is not None and bounds[0] > bounds[1]:
        raise ValueError(f"shape {text!r}: the range {bounds[0]:g}..{bounds[1]:g} is empty")
    return TensorInfo(
        name=found["name"] or UNNAMED,
        shape=shape,
        dtype=found["integer"] or "float32",
        layout=_layout(shape, integer=bool(found["integer"])),
        value_range=bounds,
    )


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"shape {whole!r}: {text!r} is not a number; {SYNTAX}") from None


def _layout(shape: tuple[int, ...], *, integer: bool) -> str:
    return "NL" if integer and len(shape) == 2 else LAYOUTS[len(shape)]


def describe_examples(examples: Mapping[str, Tensor]) -> tuple[TensorInfo, ...]:
    """The inputs that example tensors stand for: float32 of any values, or int64 within the bounds of the example.

    Other float types become float32, int32 becomes int64 (`cast_examples` reports it). Raises ValueError for other
    types and for ranks above 5.
    """
    return tuple(_describe(name, tensor) for name, tensor in examples.items())


def _describe(name: str, tensor: Tensor) -> TensorInfo:
    integer = tensor.dtype in (torch.int64, torch.int32)
    if not integer and not tensor.is_floating_point():
        raise ValueError(
            f"input {name!r} is {tensor.dtype}; networks are exported for float32 and int64: "
            "let the application convert, and give the example as float32 (pixels in 0..1: x / 255)"
        )
    if not 1 <= tensor.dim() <= max(LAYOUTS) or not tensor.numel():
        raise ValueError(
            f"input {name!r} has shape {list(tensor.shape)}; allowed are ranks 1 to {max(LAYOUTS)}"
        )
    return TensorInfo(
        name=name,
        shape=tuple(tensor.shape),
        dtype="int64" if integer else "float32",
        layout=_layout(tuple(tensor.shape), integer=integer),
        value_range=(int(tensor.min()), int(tensor.max())) if integer else None,
    )


OUTPUT_DTYPES = {torch.int64: "int64", torch.int32: "int32", torch.bool: "bool"}
"""Types of outputs that are not float."""


def cast_examples(examples: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Notes on examples whose type is not that of the files' input."""
    return tuple(
        f"input {name!r} was given as {str(tensor.dtype).removeprefix('torch.')}; files take it as "
        f"{'float32' if tensor.is_floating_point() else 'the integer type of the format'}"
        for name, tensor in examples.items()
        if tensor.dtype not in (torch.float32, torch.int64)
    )


def describe_outputs(outputs: Mapping[str, Tensor]) -> tuple[TensorInfo, ...]:
    """The outputs of a network, by their names (`export.capture.named_outputs`): float32, int64, int32 or bool.

    Raises ValueError for another type, for a rank above 5, and if there is no output.
    """
    if not outputs:
        raise ValueError("the network returns no tensor; let its forward return the outputs of the file")
    for name, output in outputs.items():
        if not output.is_floating_point() and output.dtype not in OUTPUT_DTYPES:
            raise ValueError(
                f"output {name!r} is {output.dtype}; files return float32, int64, int32 and bool: convert it "
                "with .float() or .long()"
            )
        if output.dim() > max(LAYOUTS) or not output.numel():
            raise ValueError(
                f"output {name!r} has shape {list(output.shape)}; networks are exported with outputs of rank "
                f"{max(LAYOUTS)} or less that are not empty"
            )
    return tuple(
        TensorInfo(
            name=name,
            shape=tuple(output.shape),
            dtype=OUTPUT_DTYPES.get(output.dtype, "float32"),
            layout={2: "NK", 3: "NTK"}.get(output.dim(), LAYOUTS[output.dim()]),
        )
        for name, output in outputs.items()
    )
