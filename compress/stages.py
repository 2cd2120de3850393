"""The table of stages. A new stage is one file with `<Verb>Config` and `<verb>()`, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compress.artifact import Form
from compress.distill import DistillConfig, distill
from compress.prune import prune
from compress.pruning import PRUNING_CRITERIA, TARGETS
from compress.pruning.on_device import PruneOnDeviceConfig
from compress.quantization import QUANTIZATION_METHODS
from compress.quantize import QuantizeConfig, quantize
from compress.stage import Stage
from compress.versions import FILES, installed
from export.quantize.ranges import RANGES


def _pruning_methods(config: PruneOnDeviceConfig) -> list[Callable[..., Any]]:
    """The criterion and the target, and the device that measures it; other patterns have neither."""
    if config.pattern != "structured":
        return []
    device = config.measured_on[1]
    measuring = [type(device).connect] if _is_measured(config) and device.kind != "host" else []
    return [PRUNING_CRITERIA[config.criterion], TARGETS[config.target], *measuring]


def _pruning_machine(config: PruneOnDeviceConfig) -> dict[str, Any]:
    """Runtimes and device, for a measured target."""
    if not _is_measured(config):
        return {}
    return {"runtimes": installed(FILES), "processor": config.measured_on[1].identity()}


def _is_measured(config: PruneOnDeviceConfig) -> bool:
    return config.latency is not None or config.latency_ms is not None


STAGES: dict[str, Stage] = {
    "distill": Stage(
        config=DistillConfig, run=distill, takes=Form.FLOAT, gives=Form.FLOAT, needs_teacher=True
    ),
    "prune": Stage(
        config=PruneOnDeviceConfig,
        run=prune,
        takes=Form.FLOAT,
        gives=Form.FLOAT,
        needs_training=True,
        methods=_pruning_methods,
        machine=_pruning_machine,
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
