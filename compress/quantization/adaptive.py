"""AdaRound: weights rounded up or down so that the outputs of each layer stay the same, without labels.

Source: Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization".
"""

from __future__ import annotations

from typing import Any

import torch

from compress.command.progress import bar
from compress.quantization.method import Decision, QuantizationMethod, Task
from compress.quantization.ptq import CALIBRATION, calibrated_ranges


def learn_rounding(graph: torch.fx.GraphModule, task: Task) -> Decision:
    """Rounds every weight to one of its two nearest integers, layer by layer."""
    from export.quantize.adaround import round_adaptively
    from export.quantize.weight_only import LAYERS

    config: Any = task.config
    count = sum(node.target in LAYERS for node in graph.graph.nodes)
    with bar(task.context.console, "quantize: rounding", unit=" layers") as report:
        layers, improved = round_adaptively(
            graph,
            task.batches(),
            iterations=config.iterations,
            seed=task.context.seed,
            grids=task.grids,
            report=lambda done: report(done, count),
        )
    return Decision(
        notes=(
            f"AdaRound: the outputs of {improved} of {layers} layers improved, others round to the nearest",
        )
    )


ADAROUND = QuantizationMethod(
    ranges=calibrated_ranges,
    decide=learn_rounding,
    settings=(*CALIBRATION, "iterations"),
    schemes=("w8a8", "w8", "w4"),
)
