"""Latency of networks in a runtime, relative to the unpruned one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.export import ExportedProgram

from compress.pruning.target import Setting
from compress.timed_files import TimedFiles
from export.capture.graph import capture
from export.files import Variant
from export.lower import lower


class Timed:
    """The unpruned network in its runtime, and the latency of others relative to it.

    Raises `ValueError` if the runtime cannot run the network, and `Unavailable` if the device cannot be reached.
    """

    def __init__(self, model: nn.Module, setting: Setting) -> None:
        self._setting = setting
        self._files = TimedFiles(
            self._variant(model),
            setting.spec,
            runtime=setting.runtime,
            device=setting.device,
            seed=setting.seed,
            stage="prune",
            instead="choose another runtime, or the target macs",
        )
        self.p50_ms, self.runtime, self.device = self._files.p50_ms, self._files.runtime, self._files.device

    def connected(self) -> AbstractContextManager[None]:
        """Connects the device while networks are measured."""
        return self._files.connected()

    def shares(self, models: Sequence[nn.Module], report: Callable[[int], None] | None = None) -> list[float]:
        """The latency of every network relative to the unpruned one; `report` gets the number that is done."""
        return self._files.shares(map(self._variant, models), report)

    def _variant(self, model: nn.Module) -> Variant:
        return Variant(scheme=self._setting.scheme, program=program_of(model, self._setting))


def program_of(model: nn.Module, setting: Setting) -> ExportedProgram:
    """The captured network; for `w8a8` its int8 reference, calibrated on random inputs, which latency does not
    depend on."""
    program = capture(model, setting.spec.example())
    if setting.scheme == "fp32":
        return program
    from export.quantize.int8_reference import calibrate, convert, prepare

    prepared = prepare(lower(program))
    calibrate(prepared, [setting.spec.example(seed=seed) for seed in range(2)])
    return torch.export.export(convert(prepared), setting.spec.example())
