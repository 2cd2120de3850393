"""MIL's operators computed with torch: the arithmetic of the reference interpreter.

One file per kind of work; `OPERATORS` is the whole list. An operator that runs blocks of other operators (`cond`,
`while_loop`) is no arithmetic and lives in the interpreter.
"""

from export.coreml.operators.arguments import Operator
from export.coreml.operators.compressed import COMPRESSED
from export.coreml.operators.elementwise import ELEMENTWISE
from export.coreml.operators.indexing import INDEXING
from export.coreml.operators.moves import MOVES
from export.coreml.operators.products import PRODUCTS
from export.coreml.operators.recurrent import RECURRENT
from export.coreml.operators.resizing import RESIZING
from export.coreml.operators.statistics import STATISTICS
from export.coreml.operators.windows import WINDOWS

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
