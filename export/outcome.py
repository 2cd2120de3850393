"""The outcome of one file: exported, exported but wrong, or failed; one row of the manifest's `files`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from export.chosen_form import ChosenForm
from export.manifest import TensorInfo
from export.verify.acceptance import FileParity
from export.verify.coverage.report import Coverage

if TYPE_CHECKING:
    from export.quantize.layer_noise import LayerError

Status = Literal["exported", "wrong", "failed"]


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """The step program of a streaming network, in the file of its format or in one next to it."""

    path: Path
    """The file that holds it, relative to the export folder."""
    entry: str | None
    """Its signature or method in the file; `None` in formats with one program per file."""
    size_bytes: int
    sha256: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    states: Mapping[str, str]
    """As `FileSpec.states`."""
    notes: tuple[str, ...] = ()
    coverage: Coverage | None = None
    parity: FileParity | None = None
    """Its outputs after the last frame of each clip, compared with torch's outputs for the clip."""
    form: ChosenForm | None = None
    needs: str | None = None
    saturating_layers: tuple[str, ...] = ()
    """As in `WrittenFile`."""

    def to_dict(self) -> dict[str, Any]:
        """The program as plain data, paths relative to the export folder."""
        names = [info.name for info in self.outputs if info.name not in self.states.values()]
        return {
            "path": self.path.as_posix(),
            "entry": self.entry,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "inputs": [info.to_dict() for info in self.inputs],
            "outputs": [info.to_dict() for info in self.outputs],
            "states": dict(self.states),
            "parity": None if self.parity is None else self.parity.to_dict(names),
            "coverage": None if self.coverage is None else self.coverage.to_dict(),
            "form": None if self.form is None else self.form.to_dict(),
            "needs": self.needs,
            "saturating_layers": list(self.saturating_layers),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True)
class ExportOutcome:
    """Outcome of one format in one scheme; one row of the manifest's `files`."""

    format: str
    scheme: str
    runtime: str
    path: Path | None
    """The file (or package folder) relative to the export folder; `None` if it failed."""
    failure: str | None
    """Why there is no file, in one sentence; `None` if there is one."""
    log: Path
    """The log of the converter and the runtime, relative to the export folder."""
    seconds: float
    """Duration of the conversion."""
    peak_rss_bytes: int | None
    """Peak memory of the converter's process; `None` if it crashed."""
    size_bytes: int | None = None
    sha256: str | None = None
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    notes: tuple[str, ...] = ()
    coverage: Coverage | None = None
    """The share of its work in accelerated kernels; `None` if it was not determined."""
    parity: FileParity | None = None
    """Parity of its outputs; `None` if there is no file, or no inputs were given."""
    float_layers: tuple[str, ...] = ()
    """Names of the layers of an int8 file that stay in float, as the recipe decided."""
    layers: tuple[LayerError, ...] = ()
    """For an int8 file that is wrong, or correct and far from float: the layers of the torch int8 reference, worst
    first."""
    step: StepOutcome | None = None
    """The step program of a streaming network."""
    form: ChosenForm | None = None
    needs: str | None = None
    saturating_layers: tuple[str, ...] = ()
    """As in `WrittenFile`."""

    @property
    def name(self) -> str:
        """Short name for messages, such as `onnx.w8a8`."""
        return f"{self.format}.{self.scheme}"

    @property
    def status(self) -> Status:
        """`exported` (and correct, as far as it was checked), `wrong` or `failed`."""
        if self.path is None:
            return "failed"
        return "exported" if self.reason is None else "wrong"

    @property
    def reason(self) -> str | None:
        """Why the format failed or the file is wrong; `None` if neither."""
        if self.failure is not None:
            return self.failure
        wrong = None if self.parity is None else self.parity.wrong
        if wrong is None and self.step is not None and self.step.parity is not None:
            wrong = self.step.parity.wrong
            return wrong and f"frame by frame: {wrong}"
        return wrong

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data, paths relative to the export folder."""
        names = [info.name for info in self.outputs]
        return {
            "format": self.format,
            "path": None if self.path is None else self.path.as_posix(),
            "scheme": self.scheme,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "runtime": self.runtime,
            "inputs": [info.to_dict() for info in self.inputs],
            "outputs": [info.to_dict() for info in self.outputs],
            "status": self.status,
            "reason": self.reason,
            "parity": None if self.parity is None else self.parity.to_dict(names),
            "coverage": None if self.coverage is None else self.coverage.to_dict(),
            "float_layers": list(self.float_layers),
            "layers": [layer.to_dict() for layer in self.layers],
            "seconds": round(self.seconds, 2),
            "peak_rss_bytes": self.peak_rss_bytes,
            "log": self.log.as_posix(),
            "form": None if self.form is None else self.form.to_dict(),
            "needs": self.needs,
            "saturating_layers": list(self.saturating_layers),
            "notes": list(self.notes),
            "step": None if self.step is None else self.step.to_dict(),
        }
