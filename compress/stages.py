"""The table of stages. A new stage is one file with `<Verb>Config` and `<verb>()`, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.machine import processor
from compress.artifact import Form
from compress.distill import DistillConfig, distill
from compress.prune import prune
from compress.pruning import PRUNING_CRITERIA, TARGETS
from compress.pruning.on_device import PruneOnDeviceConfig
from compress.quantization import BOUNDS, QUANTIZATION_METHODS
from compress.quantize import QuantizeConfig, quantize
from compress.stage import Stage
from compress.versions import FILES, installed
from export.quantize.ranges import RANGES


def _pruning_methods(config: PruneOnDeviceConfig) -> list[Callable[..., Any]]:
    """The criterion and the target, and the device that measures it; other patterns have neither."""
    if config.pattern != "structured":
        return []
    device = config.measured_on[1]
    measuring = [type(device).connect] if config.is_timed and device.kind != "host" else []
    return [PRUNING_CRITERIA[config.criterion], TARGETS[config.target], *measuring]


def _quantization_methods(config: QuantizeConfig) -> list[Callable[..., Any]]:
    """The method, the search for ranges, and the bound of mixed precision."""
    bound = [] if config.bound is None else [BOUNDS[config.bound]]
    return [QUANTIZATION_METHODS[config.method].decide, RANGES[config.ranges].search, *bound]


def _pruning_machine(config: PruneOnDeviceConfig) -> dict[str, Any]:
    return _measured_on(config.measured_on[1].identity()) if config.is_timed else {}


def _quantization_machine(config: QuantizeConfig) -> dict[str, Any]:
    return _measured_on(processor()) if config.is_timed else {}


def _measured_on(machine: Any) -> dict[str, Any]:
    """Runtimes and machine, which a measured latency depends on."""
    return {"runtimes": installed(FILES), "processor": machine}


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
        methods=_quantization_methods,
        machine=_quantization_machine,
    ),
}
