"""The tables of pruning criteria, and of targets by key of the recipe. A new one is a file here and one line."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from compress.pruning.bn_scale import bn_scale
from compress.pruning.counts import Macs, Parameters, SizeBytes
from compress.pruning.criterion import PruningCriterion
from compress.pruning.fpgm import fpgm
from compress.pruning.hessian import hessian
from compress.pruning.lamp import lamp
from compress.pruning.latency import Latency
from compress.pruning.magnitude import magnitude
from compress.pruning.random import random
from compress.pruning.target import Setting, Target
from compress.pruning.taylor import taylor

PRUNING_CRITERIA: dict[str, PruningCriterion] = {
    "magnitude": magnitude,
    "bn_scale": bn_scale,
    "taylor": taylor,
    "hessian": hessian,
    "lamp": lamp,
    "fpgm": fpgm,
    "random": random,
}

TARGETS: dict[str, Callable[[nn.Module, Setting], Target]] = {
    "macs": Macs,
    "parameters": Parameters,
    "size_bytes": SizeBytes,
    "latency": Latency,
    "latency_ms": Latency,
}
