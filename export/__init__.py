"""Exports a network to files for mobile runtimes: one lowered graph, one file per format.

`EXPORTERS` lists every format. A new format is one line here and one module with
`write(program, path, *, spec, scheme, step) -> WrittenFile`, `load_backend()`, which imports its libraries, and
`open_file(path, *, entry, outputs) -> OpenedFile`. Importing this package loads no backend.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

_MODELS = Path(__file__).resolve().parent.parent / "models" / "__init__.py"

# A user's models.py shadows the package: Python searches the working directory first.
_found = find_spec("models")
if _found is None or _found.origin is None or Path(_found.origin).resolve() != _MODELS:
    raise ImportError(
        f"Pocketreel needs its own package 'models' from {_MODELS.parent}, but Python finds "
        f"{_found and _found.origin}; start Python in another folder, and refer to your network by its file: "
        "path/to/models.py:make_net"
    )


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One file format: its writer, its runtime and the schemes and types that it supports."""

    extension: str
    runtime: str
    schemes: tuple[str, ...]
    """Schemes that the writer supports: `fp32`, `fp16`, `w8a8` (int8 weights and activations), ..."""
    extra: str | None = None
    """Name of the extra that installs the backend; None if Pocketreel itself requires it."""
    distributions: tuple[str, ...]
    """Distributions that write and run the files: results depend on their versions."""
    module: str
    """Module that holds `write` and `load_backend`."""
    runner: str
    """Module that holds `open_file`."""
    preflight: str | None = None
    """Module whose `check(subject)` predicts what the runtime refuses. None if it takes every lowered operator."""
    clip_layout: str = "NCTHW"
    """Axis order of the `clip` input of the file."""
    token_dtype: str = "int64"
    """Integer type of the `text` input and of integer outputs."""
    flag_dtype: str = "bool"
    """Type of boolean outputs."""
    lowering: str = "export.lower"
    """Module whose `lower(program)` rewrites a captured float network for this runtime, in the writer's process.
    Files with rounded weights use `export.lower` in every format, so that all have the same weights."""
    int8_lowering: str | None = None
    """Module whose `lower(program)` rewrites the int8 reference for this runtime. Where that changes numbers, the
    reference outputs come from the rewritten graph. None for a runtime that takes the reference unchanged."""
    forms: str | None = None
    """Module whose `forms_of(program)` gives the forms of a captured float network, in place of `lowering`, for a
    format with one program per file that takes inputs as torch does. None if there is one form."""
    rounds_weights: tuple[str, ...] = ()
    """Schemes whose weights the writer rounds, together with computed constants. For the other schemes the writer
    gets rounded weights."""

    cost: int = 1
    """Processor time of writing a file, relative to the other formats: the one that takes longest begins first."""

    quantizers: Mapping[str, str] = field(default_factory=dict)
    """Schemes whose files another tool quantizes from the float file, with the module that holds
    `quantize_file(written, out, *, calibration)`. They need calibration inputs."""

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that files depend on."""
        return (
            self.module,
            self.runner,
            self.lowering,
            *filter(None, [self.int8_lowering, self.forms]),
            *self.quantizers.values(),
        )

    @property
    def pip_line(self) -> str:
        """Command that installs the backend, run in a checkout of this project."""
        return f"pip install '.[{self.extra}]'" if self.extra else "pip install ."


EXPORTERS: dict[str, Exporter] = {
    "onnx": Exporter(
        extension=".onnx",
        runtime="ONNX Runtime",
        schemes=("fp32", "fp16", "w8a8", "w8", "w4", "w8a8_nncf"),
        cost=3,
        extra="onnx",
        distributions=("onnx", "onnxscript", "onnxruntime", "nncf"),
        module="export.emit.onnx.writer",
        runner="export.emit.onnx.session",
        preflight="export.preflight.on_onnxruntime",
        forms="export.layout.forms",
        int8_lowering="export.layout.tap_fusion",
        quantizers={"w8a8_nncf": "export.nncf_onnx"},
    ),
    "tflite": Exporter(
        extension=".tflite",
        runtime="LiteRT",
        schemes=("fp32", "fp16", "w8a8", "w8", "w4"),
        extra="tflite",
        distributions=("ai-edge-litert", "tensorflow", "tensorflow-cpu"),
        module="export.emit.tflite.writer",
        runner="export.emit.tflite.runtime",
        preflight="export.preflight.on_litert",
        clip_layout="NTHWC",
        token_dtype="int32",
    ),
    "executorch": Exporter(
        extension=".pte",
        runtime="ExecuTorch",
        schemes=("fp32", "w8a8", "w8", "w4"),
        cost=4,
        extra="executorch",
        distributions=("executorch",),
        module="export.emit.executorch.writer",
        runner="export.emit.executorch.runtime",
        preflight="export.preflight.on_executorch",
    ),
    "coreml": Exporter(
        extension=".mlpackage",
        runtime="Core ML",
        schemes=("fp32", "fp16", "w8a8", "w8", "w4", "p4"),
        cost=2,
        extra="coreml",
        distributions=("coremltools",),
        module="export.emit.coreml.writer",
        runner="export.emit.coreml.predict",
        preflight="export.preflight.on_coreml",
        token_dtype="int32",
        flag_dtype="int32",
        rounds_weights=("fp16",),
    ),
}
"""Every format by name, in the order of writing and reporting."""


SCHEMES = tuple(dict.fromkeys(scheme for row in EXPORTERS.values() for scheme in row.schemes))
"""Every scheme that at least one format supports."""

NOT_OFFERED = {
    "w8a16": "ONNX Runtime, ExecuTorch and Core ML have no kernels for 16-bit activations on a CPU, and LiteRT has "
    "reference kernels only, which are slower than float; use w8, or keep layers in float",
}
"""Schemes that exist elsewhere, and why no format supports them."""

INT8_SCHEMES = ("w8a8",)
"""Schemes that are written from an int8 reference instead of the float network."""


QUANTIZED_BY_OTHERS = tuple(scheme for row in EXPORTERS.values() for scheme in row.quantizers)
"""Schemes whose files another tool quantizes, from the float network and calibration inputs."""


def require(name: str, *modules: str) -> None:
    """Imports `modules`, the backend of the format `name`.

    Raises ImportError with the `pip` command that installs the backend if one cannot be imported.
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise ImportError(
                f"writing {EXPORTERS[name].extension} files needs {module}, which cannot be imported ({error}); "
                f"install it, in a checkout of Pocketreel, with: {EXPORTERS[name].pip_line}"
            ) from error
