"""Stores weights with many zeros as a bit mask and the other values: `constexpr_sparse_to_dense` of iOS 16.

Numbers stay the same. Networks get such weights from `prune: {pattern: unstructured}` or `2:4`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.export import ExportedProgram

from export.emit.coreml.compression import compress_weights

if TYPE_CHECKING:
    from coremltools import PassPipeline
    from coremltools.models import MLModel

SCHEMES = ("fp32", "fp16")
"""Schemes whose weights can be sparse. Those of int8, int4 and palettes are encoded already, and iOS 17 has no
sparse form of them."""

LEAST_ZEROS = 0.25
"""Smallest share of zeros in a sparse weight; the mask takes 1/16 of a float16 weight, 1/32 of a float32 one."""

LEAST_WEIGHTS = 2_048
"""Weights with fewer values stay dense."""


def has_sparse_weights(program: ExportedProgram) -> bool:
    """Whether any weight has many zeros."""
    return any(
        weight.numel() > LEAST_WEIGHTS and (weight == 0).float().mean() >= LEAST_ZEROS
        for _, weight in program.named_parameters()
    )


def store_sparse(passes: PassPipeline) -> None:
    """Adds the pass that stores weights with many zeros sparsely."""
    import coremltools.optimize.coreml as optimize

    zeros = optimize.OpThresholdPrunerConfig(
        threshold=0.0, minimum_sparsity_percentile=LEAST_ZEROS, weight_threshold=LEAST_WEIGHTS
    )
    compress_weights(passes, "prune_weights", zeros)


def notes(model: MLModel) -> tuple[str, ...]:
    """The number of weights that are stored sparsely."""
    blocks = model.get_spec().mlProgram.functions["main"].block_specializations.values()
    count = sum(one.type == "constexpr_sparse_to_dense" for block in blocks for one in block.operations)
    return (f"{count} weights are stored sparsely: a bit mask, and the values that are not zero",)
