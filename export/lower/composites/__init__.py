"""Operators that are written with simpler ones before the walk, in plain torch on tensors of any rank.

Every function takes the arguments of the ATen schema. Constants that it makes are folded by the walk; what it makes
of weights stays trainable. `table` says which function stands for which operator; what is neither there nor among
the rules of the walk is decomposed as torch does; `rewriting` does it.
"""

from export.lower.composites.neutral import without_neutral
from export.lower.composites.rewriting import (
    broadcast_at_readers,
    converted_before_reductions,
    logic_of_truth_values,
    one_number_type,
    simplified,
    without_needless_remainders,
)

__all__ = [
    "broadcast_at_readers",
    "converted_before_reductions",
    "logic_of_truth_values",
    "one_number_type",
    "simplified",
    "without_needless_remainders",
    "without_neutral",
]
