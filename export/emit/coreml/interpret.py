"""Interprets a saved ML program operator by operator where Apple's runtime is not available.

Every result is rounded to the type that the program declares for it, float16 included; sums inside one operator
are float32. The Neural Engine and the GPU order and round their sums differently: this is a reference, not a
measurement of either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from export.emit.coreml.operators import OPERATORS
from export.emit.coreml.saved import read_program

if TYPE_CHECKING:
    from coremltools.converters.mil.mil import Block, Operation, Var

RUNNER = "reference, not Apple's runtime"
"""Label of every result of this interpreter."""

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""Maps the inputs of a program by name to its outputs by name."""

_CONTROL = ("cond", "while_loop")
"""Operators that run blocks of other operators."""

_TYPES = {
    "fp16": torch.float16,
    "fp32": torch.float32,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "int32": torch.int32,
    "bool": torch.bool,
}
"""Types of MIL that results are rounded to; integers of other widths use int32."""

Values = dict[Any, Any]
"""Variable of the program -> its value, in the form that operators take (`operators.arguments`)."""


def run_program(path: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by name of the package at `path` for `inputs` by name; for many inputs see `open_program`."""
    return open_program(path)(inputs)


def open_program(path: Path) -> Run:
    """Reads the package at `path` once, decompresses its weights, and returns a function that runs it.

    Raises NotImplementedError for an operator that the reference does not support, FileNotFoundError and ValueError
    as `read_program` does. The returned function raises ValueError for inputs that do not fit.
    """
    function = read_program(path)
    _refuse_unknown(function)
    with torch.no_grad():
        constants = _constants(function)

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = dict(constants)
        values.update(_given(function.inputs, inputs))
        with torch.no_grad():
            outputs = _run_block(function, values)
        return {
            var.name: value.to(_declared(var)).numpy()
            for var, value in zip(function.outputs, outputs, strict=True)
        }

    return run


def _refuse_unknown(block: Block) -> None:
    for operation in _all_operations(block):
        if operation.op_type not in OPERATORS and operation.op_type not in ("const", *_CONTROL):
            raise NotImplementedError(
                f"operator {operation.op_type!r}, which gives {operation.outputs[0].name!r}, is none of the "
                f"{len(OPERATORS) + len(_CONTROL)} that the reference computes; run the package on a Mac, or add "
                "the operator to export/emit/coreml/operators"
            )


def _all_operations(block: Block) -> Iterator[Operation]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _all_operations(inner)


def _is_constant(operation: Operation) -> bool:
    return operation.op_type == "const" or operation.op_type.startswith("constexpr_")


def _constants(function: Block) -> Values:
    """Values that depend on no input, without those that only other constants use."""
    values: Values = {}
    needed = set(function.outputs)
    for operation in _all_operations(function):
        if operation.op_type == "const":
            values[operation.outputs[0]] = _ready(operation.outputs[0].val, operation.outputs[0])
        elif _is_constant(operation):
            _run_operation(operation, values)
        else:
            needed.update(_read(operation))
    return {var: value for var, value in values.items() if var in needed}


def _ready(value: Any, var: Var) -> Any:
    """A constant or an input as operators take it."""
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype == bool:
        return torch.tensor(array)
    return _rounded(torch.tensor(array.astype(np.float32 if array.dtype.kind == "f" else np.int32)), var)


def _declared(var: Var) -> torch.dtype:
    from coremltools.converters.mil.mil import types

    return _TYPES.get(types.builtin_to_string(var.dtype), torch.int32)


def _rounded(value: Tensor, var: Var) -> Tensor:
    """`value` rounded to the declared type of `var`, in a type that operators compute with."""
    declared = _declared(var)
    if declared == torch.bool:
        return value.to(torch.bool)
    return value.to(declared).to(torch.float32 if declared.is_floating_point else torch.int32)


def _given(wanted: Mapping[str, Var], inputs: Mapping[str, np.ndarray]) -> Values:
    if set(wanted) != set(inputs):
        raise ValueError(f"inputs {', '.join(sorted(inputs))}; the program takes {', '.join(sorted(wanted))}")
    for name, var in wanted.items():
        if tuple(inputs[name].shape) != tuple(var.shape):
            raise ValueError(
                f"input {name!r} of shape {tuple(inputs[name].shape)}; the program takes {tuple(var.shape)}"
            )
    return {var: _ready(inputs[name], var) for name, var in wanted.items()}


def _run_block(block: Block, values: Values) -> list[Tensor]:
    """Runs the operations of `block` and returns its outputs. Values are freed after their last use."""
    operations = [operation for operation in block.operations if not _is_constant(operation)]
    last_use = {var: operation for operation in operations for var in _read(operation)}
    made = {output for operation in operations for output in operation.outputs} - set(block.outputs)
    for operation in operations:
        _run_operation(operation, values)
        for var in {*_read(operation), *operation.outputs}:
            if var in made and last_use.get(var, operation) is operation:
                values.pop(var, None)
    return [values[var] for var in block.outputs]


def _read(operation: Operation) -> Iterator[Var]:
    """Every variable that an operation uses, those of its blocks included."""
    for value in operation.inputs.values():
        yield from value if isinstance(value, list | tuple) else [] if value is None else [value]
    for block in operation.blocks:
        yield from block.outputs
        for inner in block.operations:
            yield from _read(inner)


def _run_operation(operation: Operation, values: Values) -> None:
    """Adds the results of one operation to `values`."""
    arguments = {
        name: tuple(values[var] for var in value) if isinstance(value, list | tuple) else values[value]
        for name, value in operation.inputs.items()
        if value is not None
    }
    if operation.op_type in _CONTROL:
        results = _run_control(operation, arguments, values)
    else:
        results = OPERATORS[operation.op_type](arguments)
    results = results if isinstance(results, list | tuple) else (results,)
    for var, result in zip(operation.outputs, results, strict=True):
        shape = tuple(var.shape)
        if all(isinstance(length, int | np.integer) for length in shape) and shape != tuple(result.shape):
            raise RuntimeError(
                f"{operation.op_type} gives {var.name!r} of shape {tuple(result.shape)}, where the program "
                f"declares {shape}: the reference computes this operator wrongly; please report it"
            )
        values[var] = _rounded(result, var)


def _run_control(operation: Operation, arguments: Mapping[str, Any], values: Values) -> list[Tensor]:
    """`cond` runs one of its two blocks; `while_loop` runs its second block while its first returns true."""
    if operation.op_type == "cond":
        return _run_block(operation.blocks[0 if arguments["pred"].item() else 1], dict(values))
    goes_on, body = operation.blocks
    state = list(arguments["loop_vars"])

    def inside(block: Block) -> list[Tensor]:
        return _run_block(block, {**values, **dict(zip(block.inputs, state, strict=True))})

    while inside(goes_on)[0].item():
        state = inside(body)
    return state
