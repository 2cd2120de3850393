"""Sparse weights in Core ML packages: the values that are not zero and a bit mask.

Source: coremltools 9, `ops/defs/iOS16/constexpr_ops.py`, `constexpr_sparse_to_dense`; iOS 16 / macOS 13 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.export import ExportedProgram

if TYPE_CHECKING:
    from coremltools.models import MLModel

LEAST = 2048
"""Weights with more elements than this are stored sparse; smaller ones stay dense, as in coremltools."""

LEAST_SHARE = 0.25
"""Share of zeros from which a weight is stored sparse; the mask costs 6 % of a float16 weight, 3 % in float32."""


def sparse_weights(program: ExportedProgram) -> int:
    """Number of weights with enough elements and zeros to be stored sparse."""
    return sum(
        value.numel() > LEAST and int((value == 0).sum()) >= LEAST_SHARE * value.numel()
        for value in program.state_dict.values()
    )


def with_sparse_weights(model: MLModel) -> MLModel:
    """The model with these weights as `constexpr_sparse_to_dense`; numbers stay the same."""
    import coremltools.optimize.coreml as optimize

    zeros = optimize.OpThresholdPrunerConfig(
        threshold=0.0, minimum_sparsity_percentile=LEAST_SHARE, weight_threshold=LEAST
    )
    return optimize.prune_weights(model, optimize.OptimizationConfig(global_config=zeros))
