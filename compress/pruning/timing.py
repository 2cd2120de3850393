"""Latency of networks in a runtime: exports them and measures all files in interleaved rounds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from benchmarks.device import Device
from benchmarks.exported import read_export
from benchmarks.files import ExportedFile
from benchmarks.host import HOST
from benchmarks.latency import FileLatency, inputs_of_spec, measure_files, ratio
from compress.pruning.target import Setting
from compress.stopwatch import DeviceStopwatch
from export.capture.graph import capture
from export.choice import MEASURED_HERE, Forms
from export.files import Variant, export_files
from export.lower import lower
from export.manifest import file_spec

ROUNDS = 15
"""Rounds of a measurement; two files are compared by the median over rounds of the ratio within a round."""
TOGETHER = 8
"""Number of files that are measured together with the reference, each loaded in a process of its own."""


class Timed:
    """The unpruned network in its runtime, and the latency of others relative to it.

    All networks are written in the form of the unpruned one, which is chosen on the device, so that two of them
    never differ in form alone.

    Raises `ValueError` if the runtime cannot run the network, and `Unavailable` if the device cannot be reached.
    """

    def __init__(self, model: nn.Module, setting: Setting) -> None:
        self._setting = setting
        self._folder = tempfile.TemporaryDirectory(prefix="pocketreel-prune-")
        self._device: Device = HOST
        self._forms = MEASURED_HERE
        with self.connected():
            self.device = f"{self._device.name} ({self._device.describe().cpu})"
            """Name and processor of the device."""
            if setting.device is not None:
                self._forms = Forms(stopwatch=DeviceStopwatch(self._device))
            self._reference = self._file(model, "reference")
            measured = self._measure([self._reference])[0]
        assert measured.p50_ms is not None
        self.p50_ms = measured.p50_ms
        self.runtime = str(measured.runtime)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connects the device while networks are measured. This machine needs no connection."""
        if self._setting.device is None:
            yield
            return
        name, settings = self._setting.device
        with settings.connect(name) as self._device:
            yield

    def shares(self, models: Sequence[nn.Module], report: Callable[[int], None] | None = None) -> list[float]:
        """The latency of every network relative to the unpruned one; `report` gets the number that is done."""
        found: list[float] = []
        for start in range(0, len(models), TOGETHER):
            files = [
                self._file(model, str(number))
                for number, model in enumerate(models[start : start + TOGETHER])
            ]
            reference, *others = self._measure([self._reference, *files])
            for one in others:
                compared = ratio(one, reference)
                assert compared is not None
                found.append(compared.value)
            if report is not None:
                report(len(found))
        return found

    def _file(self, model: nn.Module, name: str) -> ExportedFile:
        """The network as a file of the setting's runtime and scheme."""
        runtime, scheme, folder = self._setting.runtime, self._setting.scheme, Path(self._folder.name, name)
        variant = Variant(scheme=scheme, program=program_of(model, self._setting))
        spec = file_spec(self._setting.spec, provenance={})
        (outcome,) = export_files([variant], spec, formats=[runtime], out=folder, forms=self._forms)
        if outcome.failure is not None:
            raise ValueError(
                f"prune: {runtime} cannot run the network, so that its latency is unknown: {outcome.failure}; "
                "choose another runtime, or the target macs"
            )
        if outcome.form is not None:
            self._forms = Forms(preferred=outcome.form.name)
        return read_export(folder).files[0]

    def _measure(self, files: Sequence[ExportedFile]) -> list[FileLatency]:
        """Latency of all files in the same rounds."""
        inputs = inputs_of_spec(self._setting.spec)
        found = measure_files(
            files, inputs, device=self._device, rounds=ROUNDS, starts=1, seed=self._setting.seed
        )
        for one in found:
            if one.unavailable is not None:
                raise ValueError(
                    f"prune: the latency in {self._setting.runtime} on {self.device} cannot be measured: "
                    f"{one.unavailable}"
                )
        return found


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
