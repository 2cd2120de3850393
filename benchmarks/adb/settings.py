"""The settings of an Android phone."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator

from benchmarks.device_settings import DeviceSettings

_LONGEST_PATH = 4096


def _short_enough(path: Path) -> Path:
    if len(str(path)) > _LONGEST_PATH:
        raise ValueError(f"the path has {len(str(path))} characters; allowed are {_LONGEST_PATH}")
    return path


_Program = Annotated[
    Path,
    AfterValidator(_short_enough),
    WithJsonSchema({"type": "string", "format": "path", "maxLength": _LONGEST_PATH}),
]


class PhoneSettings(DeviceSettings):
    """What a phone is measured with; `AdbSettings` connects to it."""

    serial: str | None = Field(default=None, min_length=1, max_length=256)
    """Serial number of the phone, as `adb devices` lists it; needed if there are several."""
    benchmark_model: _Program | None = None
    """LiteRT's runner for Android, on this machine; without it LiteRT files are not measured."""
    executor_runner: _Program | None = None
    """ExecuTorch's runner for Android, on this machine; without it ExecuTorch files are not measured."""
    onnxruntime_perf_test: _Program | None = None
    """ONNX Runtime's runner for Android, on this machine; without it ONNX files are not measured."""
    libraries: tuple[_Program, ...] = Field(default=(), max_length=16)
    """Shared libraries that the runners need, such as `libonnxruntime.so`, on this machine."""
    cpus: str | None = Field(default=None, max_length=256)
    """Cores that the runners are kept on, such as `4-7` or `0,2`; by default all."""
    adb: str = Field(default="adb", min_length=1, max_length=_LONGEST_PATH)
    """The `adb` client: a name or a path."""
    folder: str = Field(
        default="/data/local/tmp/pocketreel", pattern=r"^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$", max_length=256
    )
    """Folder on the phone for runners and files; programs can be run there."""
    thermal_limit: int = Field(default=1, ge=0, le=4)
    """Highest thermal status at which a run begins: 0 none, 1 light, 2 moderate, 3 severe, 4 critical."""
    cooling_s: float = Field(default=300, ge=0, le=86_400)
    """Longest wait in total, in seconds, for a phone above `thermal_limit`; then the runs go on with a note."""
    keep: bool = True
    """Keep runners and files on the phone, for the next measurement."""

    @field_validator("cpus")
    @classmethod
    def _check_cpus(cls, given: str | None) -> str | None:
        if given is not None:
            _mask(given)
        return given

    @property
    def mask(self) -> int:
        """The cores of `cpus` as a bit mask; 0 for all."""
        return 0 if self.cpus is None else _mask(self.cpus)

    def identity(self) -> str:
        """Hashes of the runners and libraries that exist."""
        given = (self.benchmark_model, self.executor_runner, self.onnxruntime_perf_test, *self.libraries)
        files = [path for path in given if path is not None and path.is_file()]
        return " ".join(hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files)


def _mask(cpus: str) -> int:
    """Bit mask of a list of cores and ranges. Raises ValueError."""
    mask = 0
    for part in cpus.split(","):
        found = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part.strip())
        if found is None or int(found[2] or found[1]) < int(found[1]):
            raise ValueError(f"{cpus!r} is not a list of cores such as '4-7' or '0,2'")
        for cpu in range(int(found[1]), int(found[2] or found[1]) + 1):
            mask |= 1 << cpu
    return mask
