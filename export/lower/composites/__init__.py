"""Operators that are rewritten with simpler ones before lowering, in plain torch on tensors of any rank.

Every function takes the arguments of the ATen schema. Lowering folds the constants of these functions; results of
weights stay trainable. `table` maps operators to functions; operators that are in neither `table` nor the rules of
the lowering are decomposed by torch; `rewriting` applies all of this.
"""

from export.lower.composites.neutral import without_neutral
from export.lower.composites.rewriting import (
    broadcast_at_users,
    converted_before_reductions,
    logic_of_booleans,
    one_number_type,
    simplified,
    without_needless_remainders,
)

__all__ = [
    "broadcast_at_users",
    "converted_before_reductions",
    "logic_of_booleans",
    "one_number_type",
    "simplified",
    "without_needless_remainders",
    "without_neutral",
]
