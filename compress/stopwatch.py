"""Times written files on a device, for a choice between their forms."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.device import Device, Unavailable
from benchmarks.exported import Exported
from benchmarks.files import ExportedFile, FileTensor
from benchmarks.latency import measure_files, random_inputs
from export.manifest import TensorInfo, WrittenFile, size_bytes_of

ROUNDS, STARTS = 15, 3
"""Interleaved rounds of a measurement, and the processes of each file among which they are divided."""


class DeviceStopwatch:
    """Times files on a connected device, as a `export.choice.Stopwatch`."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.name = f"{device.name} ({device.describe().cpu})"

    def times(self, files: Sequence[WrittenFile], *, format: str, scheme: str) -> list[float | str]:
        """Median latency of every file in milliseconds, or the reason why the device does not run it.

        Raises `Unavailable` if the device is lost or lacks the runtime.
        """
        listed = [_file(file, format=format, scheme=scheme) for file in files]
        inputs = random_inputs(Exported(spec=None, files=tuple(listed)), seed=0)
        found = measure_files(listed, inputs, device=self._device, rounds=ROUNDS, starts=STARTS)
        times: list[float | str] = []
        for one in found:
            if one.unavailable is not None and not one.failed:
                raise Unavailable(
                    f"the forms of {format}.{scheme} cannot be measured on {self.name}: {one.unavailable}; export "
                    "again when it can be reached, or name a target"
                )
            times.append(one.unavailable if one.p50_ms is None else one.p50_ms)  # type: ignore[arg-type]
        return times


def _file(written: WrittenFile, *, format: str, scheme: str) -> ExportedFile:
    return ExportedFile(
        format=format,
        scheme=scheme,
        path=written.path,
        size_bytes=size_bytes_of(written.path),
        inputs=tuple(map(_tensor, written.inputs)),
        outputs=tuple(map(_tensor, written.outputs)),
        entry=written.entry,
    )


def _tensor(info: TensorInfo) -> FileTensor:
    return FileTensor(
        name=info.name,
        shape=info.shape,
        dtype=info.dtype,
        layout=info.layout,
        value_range=info.value_range,
    )
