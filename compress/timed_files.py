"""Latency of networks as files of a runtime, relative to a reference file, in interleaved rounds.

Used where a latency decides: how much is pruned, and which layers stay in float.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, cast

from benchmarks.device import Device
from benchmarks.device_settings import DeviceSettings
from benchmarks.exported import read_export
from benchmarks.files import ExportedFile
from benchmarks.host import HOST
from benchmarks.latency import FileLatency, inputs_of_spec, measure_files, ratio
from compress.folders.writing import write_atomic
from compress.stopwatch import DeviceStopwatch
from compress.versions import FILES, installed
from export.choice import MEASURED_HERE, Forms
from export.files import Variant, export_files
from export.manifest import file_spec
from models.spec import ClipSpec

ROUNDS = 15
"""Rounds of a measurement; two files are compared by the median over rounds of the ratio within a round."""
TOGETHER = 8
"""Number of files that are measured together with the reference, each loaded in a process of its own."""


class TimedFiles:
    """A reference file in its runtime, and the latency of others relative to it: one clip, one thread.

    All networks are written in the form of the reference, which is chosen on the device, so that two of them never
    differ in form alone. `device` has a name and settings; None is this machine. `stage` begins the errors,
    `instead` ends that of a runtime which cannot run the reference. Raises `ValueError` if the runtime cannot run a
    network, and `Unavailable` if the device cannot be reached.
    """

    def __init__(
        self,
        reference: Variant,
        spec: ClipSpec,
        *,
        runtime: str,
        device: tuple[str, DeviceSettings] | None,
        seed: int,
        stage: str,
        instead: str,
    ) -> None:
        self._spec, self._runtime, self._seed = spec, runtime, seed
        self._stage, self._instead = stage, instead
        self._folder = tempfile.TemporaryDirectory(prefix=f"pocketreel-{stage}-")
        self._settings, self._device, self._forms = device, cast(Device, HOST), MEASURED_HERE
        with self.connected():
            stopwatch = DeviceStopwatch(self._device)
            self.device = stopwatch.name
            """Name and processor of the device."""
            if device is not None:
                self._forms = Forms(stopwatch=stopwatch)
            self._reference = self._file(reference, "reference")
            measured = self._measure([self._reference])[0]
        assert measured.p50_ms is not None
        self.p50_ms = measured.p50_ms
        self.runtime = str(measured.runtime)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connects the device while files are measured. This machine needs no connection."""
        if self._settings is None:
            yield
            return
        name, settings = self._settings
        with settings.connect(name) as self._device:
            yield

    def shares(self, variants: Iterable[Variant], report: Callable[[int], None] | None = None) -> list[float]:
        """The latency of every file relative to the reference; `report` gets the number that is done."""
        found: list[float] = []
        left = iter(variants)
        while files := [self._file(one, str(number)) for number, one in enumerate(islice(left, TOGETHER))]:
            reference, *others = self._measure([self._reference, *files])
            for one in others:
                compared = ratio(one, reference)
                assert compared is not None
                found.append(compared.value)
            if report is not None:
                report(len(found))
        return found

    def _file(self, variant: Variant, name: str) -> ExportedFile:
        """The file of the runtime."""
        folder = Path(self._folder.name, name)
        spec = file_spec(self._spec, provenance={})
        (outcome,) = export_files([variant], spec, formats=[self._runtime], out=folder, forms=self._forms)
        if outcome.failure is not None:
            raise ValueError(
                f"{self._stage}: {self._runtime} cannot run the network, so that its latency is unknown: "
                f"{outcome.failure}; {self._instead}"
            )
        if outcome.form is not None:
            self._forms = Forms(preferred=outcome.form.name)
        return read_export(folder).files[0]

    def _measure(self, files: Sequence[ExportedFile]) -> list[FileLatency]:
        """Latency of all files in the same rounds."""
        inputs = inputs_of_spec(self._spec)
        found = measure_files(files, inputs, device=self._device, rounds=ROUNDS, starts=1, seed=self._seed)
        for one in found:
            if one.unavailable is not None:
                raise ValueError(
                    f"{self._stage}: the latency in {self._runtime} on {self.device} cannot be measured: "
                    f"{one.unavailable}"
                )
        return found


def remembered(folder: Path | None, parts: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
    """What `measure` returns, as JSON data, or returned in an earlier run: kept in `folder/latency`.

    `parts` are what determines it, the device included, except for noise, the rounds and the versions of the
    runtimes.
    """
    if folder is None:
        return measure()
    text = json.dumps({**parts, "rounds": ROUNDS, "versions": installed(FILES)}, sort_keys=True)
    path = folder / "latency" / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    found = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(found, indent=2))
    return found
