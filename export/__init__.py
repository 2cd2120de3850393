"""Writes a network into files that phone runtimes execute: one lowered graph in, one file per format out.

`EXPORTERS` is the whole list of formats; a new format is one line here and one module with
`write(program, path, *, spec, scheme, step) -> WrittenFile`. Importing this package loads no backend.
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

_MODELS = Path(__file__).resolve().parent.parent / "models" / "__init__.py"

# Users have files called models.py, and Python looks into the working directory first.
_found = find_spec("models")
if _found is None or _found.origin is None or Path(_found.origin).resolve() != _MODELS:
    raise ImportError(
        f"Pocketreel needs its own package 'models' from {_MODELS.parent}, but Python finds "
        f"{_found and _found.origin}; start Python in another folder, and name a network of yours by its file: "
        "path/to/models.py:make_net"
    )


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One file format: who writes it, who runs it, what it takes."""

    extension: str
    runtime: str
    schemes: tuple[str, ...]
    """Number formats the writer takes: `fp32`, `fp16`, `w8a8` (int8 weights and activations), ..."""
    extra: str
    """Name of the extra that installs the backend."""
    module: str
    """Module that holds `write`."""
    clip_layout: str = "NCTHW"
    """Axis order in which the file takes its `clip` input."""
    token_dtype: str = "int64"
    """Integer type in which the file takes its `text` input and gives whole numbers."""
    flag_dtype: str = "bool"
    """Type in which the file gives truth values."""
    lowering: str = "export.lower"
    """Module whose `lower(program)` rewrites a captured float network for this runtime, in the writer's process;
    for files with rounded weights `export.lower` does it for every format, so that all hold the same weights."""
    int8_lowering: str | None = None
    """Module whose `lower(program)` rewrites the int8 reference for this runtime; where that changes numbers, torch
    answers with the result. None for a runtime that takes it as it is."""
    rounds_weights: tuple[str, ...] = ()
    """Schemes whose weights the writer itself rounds, with the values it computes; for the others it is given them
    rounded."""

    @property
    def pip_line(self) -> str:
        """Command that installs the backend, given in a checkout of this project."""
        return f"pip install '.[{self.extra}]'"


EXPORTERS: dict[str, Exporter] = {
    "onnx": Exporter(
        extension=".onnx",
        runtime="ONNX Runtime",
        schemes=("fp32", "fp16", "w8a8", "w8", "w4"),
        extra="onnx",
        module="export.emit.onnx.writer",
        lowering="export.layout.select",
        int8_lowering="export.layout.tap_fusion",
    ),
    "tflite": Exporter(
        extension=".tflite",
        runtime="LiteRT",
        schemes=("fp32", "fp16", "w8a8", "w8", "w4"),
        extra="tflite",
        module="export.emit.tflite.writer",
        clip_layout="NTHWC",
        token_dtype="int32",
    ),
    "executorch": Exporter(
        extension=".pte",
        runtime="ExecuTorch",
        schemes=("fp32", "w8a8", "w8", "w4"),
        extra="executorch",
        module="export.emit.executorch.writer",
    ),
    "coreml": Exporter(
        extension=".mlpackage",
        runtime="Core ML",
        schemes=("fp32", "fp16", "w8a8", "w8", "w4"),
        extra="coreml",
        module="export.emit.coreml.writer",
        token_dtype="int32",
        flag_dtype="int32",
        rounds_weights=("fp16",),
    ),
}
"""Every format by name, in the order in which files are written and reported."""


SCHEMES = tuple(dict.fromkeys(scheme for row in EXPORTERS.values() for scheme in row.schemes))
"""Every number format that one of the formats takes."""

INT8_SCHEMES = ("w8a8",)
"""Those that take an int8 reference instead of the float network."""


def require(name: str, *modules: str) -> None:
    """Imports `modules`, the backend of the format `name`.

    Raises ImportError with the pip line that installs them when one cannot be imported.
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise ImportError(
                f"writing {EXPORTERS[name].extension} files needs {module}, which cannot be imported ({error}); "
                f"install it, in a checkout of Pocketreel, with: {EXPORTERS[name].pip_line}"
            ) from error
