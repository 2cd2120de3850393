"""MIL's operators computed with torch, for the reference interpreter.

One file per kind of operator; `OPERATORS` lists all. Operators that run blocks of other operators (`cond`,
`while_loop`) are part of the interpreter.
"""

from export.emit.coreml.operators.arguments import Operator
from export.emit.coreml.operators.compressed import COMPRESSED
from export.emit.coreml.operators.data_movement import MOVES
from export.emit.coreml.operators.elementwise import ELEMENTWISE
from export.emit.coreml.operators.indexing import INDEXING
from export.emit.coreml.operators.products import PRODUCTS
from export.emit.coreml.operators.recurrent import RECURRENT
from export.emit.coreml.operators.resizing import RESIZING
from export.emit.coreml.operators.statistics import STATISTICS
from export.emit.coreml.operators.windows import WINDOWS

OPERATORS: dict[str, Operator] = {
    **COMPRESSED,
    **ELEMENTWISE,
    **INDEXING,
    **MOVES,
    **PRODUCTS,
    **RECURRENT,
    **RESIZING,
    **STATISTICS,
    **WINDOWS,
}
"""Every operator that the reference computes, by MIL's name."""
