"""The table of stages. A new stage is one file with `<Verb>Config` and `<verb>()`, and one line here."""

from __future__ import annotations

from compress.artifact import Form
from compress.distill import DistillConfig, distill
from compress.prune import PruneConfig, prune
from compress.pruning import PRUNING_CRITERIA
from compress.quantization import QUANTIZATION_METHODS
from compress.quantize import QuantizeConfig, quantize
from compress.stage import Stage
from export.quantize.ranges import RANGES

STAGES: dict[str, Stage] = {
    "distill": Stage(
        config=DistillConfig, run=distill, takes=Form.FLOAT, gives=Form.FLOAT, needs_teacher=True
    ),
    "prune": Stage(
        config=PruneConfig,
        run=prune,
        takes=Form.FLOAT,
        gives=Form.FLOAT,
        needs_training=True,
        methods=lambda config: [PRUNING_CRITERIA[config.criterion]],
    ),
    "quantize": Stage(
        config=QuantizeConfig,
        run=quantize,
        takes=Form.FLOAT,
        gives=Form.QUANTIZED,
        needs_training=True,
        methods=lambda config: [QUANTIZATION_METHODS[config.method].decide, RANGES[config.ranges].search],
    ),
}
