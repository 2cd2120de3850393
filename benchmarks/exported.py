"""Reads an export: the files that `manifest.json` lists, verified on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from benchmarks.files import ExportedFile, FileId, FileTensor
from benchmarks.frame_by_frame import FRAME
from benchmarks.runtimes import RUNTIMES
from benchmarks.spec_of_manifest import spec_of_manifest
from models.spec import ClipSpec

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Exported files and the spec of their network."""

    spec: ClipSpec | None
    """`None` if only the shapes of the network are known, as in an export by `pocketreel export`."""
    files: tuple[ExportedFile, ...]

    def clip_spec(self) -> ClipSpec:
        """The spec of the clips; raises ValueError if the export has none."""
        if self.spec is None:
            raise ValueError(
                "this export specifies only the shapes of its inputs, not preprocessing and classes: its accuracy "
                "on labelled clips cannot be measured; omit --data to measure latency"
            )
        return self.spec

    def only(self, ids: Collection[FileId]) -> Exported:
        """The export with only the given files."""
        return replace(self, files=tuple(file for file in self.files if file.id in ids))


def read_export(
    export_dir: Path, *, formats: Sequence[str] | None = None, schemes: Sequence[str] | None = None
) -> Exported:
    """The files of `export_dir` in the manifest's order, restricted to `formats` and `schemes`.

    Raises FileNotFoundError (a missing manifest or file) and ValueError (a manifest that cannot be read, another
    schema version, an unknown or missing format or scheme, a changed file).
    """
    manifest = _read_json(export_dir)
    where = export_dir / "manifest.json"
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{where}: schema_version is {manifest.get('schema_version')!r}; this version of Pocketreel reads "
            f"{SCHEMA_VERSION}: export again"
        )
    try:
        spec = None if manifest["spec"] is None else spec_of_manifest(manifest["spec"])
        present = [FileId(_text(row["format"]), _text(row["scheme"])) for row in manifest["files"]]
        _check_ids(present, formats, schemes, where=where)
        rows = [
            row
            for row, one in zip(manifest["files"], present, strict=True)
            if (formats is None or one.format in formats) and (schemes is None or one.scheme in schemes)
        ]
        files = tuple(_file(export_dir, row, spec=spec) for row in rows)
        for file, row in zip(files, rows, strict=True):
            if file.missing is None:
                _check_on_disk(file, row["sha256"], export_dir=export_dir)
    except (KeyError, TypeError, AttributeError) as error:
        raise _malformed(where, error) from error
    return Exported(spec=spec, files=files)


def read_model(model: Path) -> tuple[ClipSpec, ExportedFile]:
    """One file of an export, `<export>/<format>/<scheme>/model.<ext>`, and the spec of its clips.

    Raises FileNotFoundError (no such file, or no manifest.json in a folder above it), ValueError (a file that the
    manifest does not list or that could not be exported, an export without a spec), and
    what `read_export` raises.
    """
    if not model.exists():
        raise FileNotFoundError(
            f"{model}: no such file; give a file of an export, such as out/x/export/onnx/w8a8/model.onnx"
        )
    export_dir = next(
        (above for above in model.absolute().parents[:3] if (above / "manifest.json").is_file()), None
    )
    if export_dir is None:
        raise FileNotFoundError(
            f"{model}: there is no manifest.json in the folders above it, which describes the inputs of the file; "
            "keep the file in its export"
        )
    try:
        files = _read_json(export_dir)["files"]
        rows = {row["path"]: row for row in files if row.get("path")}
        rows |= {row["step"]["path"]: row for row in files if row.get("step")}
    except (KeyError, TypeError, AttributeError) as error:
        raise _malformed(export_dir / "manifest.json", error) from error
    relative = model.absolute().relative_to(export_dir).as_posix()
    if relative not in rows:
        listed = ", ".join(map(str, rows)) or "none"
        raise ValueError(f"{model}: manifest.json does not list this file; it lists {listed}")
    row = rows[relative]
    exported = read_export(export_dir, formats=[row["format"]], schemes=[row["scheme"]])
    (file,) = exported.files
    if file.missing is not None:
        raise ValueError(f"{model}: {file.missing}")
    if exported.spec is None:
        raise ValueError(
            f"{model}: its export specifies only the shapes of its inputs, not preprocessing and classes; export "
            "it by a recipe"
        )
    return exported.spec, file


def _read_json(export_dir: Path) -> dict[str, Any]:
    where = export_dir / "manifest.json"
    if not export_dir.is_dir():
        raise FileNotFoundError(
            f"{export_dir}: no such folder; give the folder with an export's manifest.json"
        )
    if not where.is_file():
        nested = sorted(export_dir.glob("*/manifest.json"))
        hint = f"; did you mean {nested[0].parent}?" if nested else ""
        raise FileNotFoundError(
            f"{export_dir}: is not an export: it has no manifest.json (a run writes its export to "
            f"out/<recipe>/export){hint}"
        )
    try:
        manifest = json.loads(where.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: is not JSON ({error}): export again") from error
    if not isinstance(manifest, dict):
        raise ValueError(f"{where}: contains a {type(manifest).__name__}, not the manifest of an export")
    return manifest


def _malformed(where: Path, error: Exception) -> ValueError:
    return ValueError(f"{where}: a field is missing or of the wrong type ({error!r}): export again")


def _check_ids(
    present: list[FileId], formats: Sequence[str] | None, schemes: Sequence[str] | None, *, where: Path
) -> None:
    if not present:
        raise ValueError(f"{where}: lists no files")
    for one in present:
        if one.format not in RUNTIMES:
            raise ValueError(f"{where}: format {one.format!r} is unknown; known are {', '.join(RUNTIMES)}")
        if present.count(one) > 1:
            raise ValueError(f"{where}: lists {one} twice")
    listed = ", ".join(map(str, present))
    for name in formats or ():
        if name not in RUNTIMES:
            raise ValueError(f"format {name!r} is unknown; known are {', '.join(RUNTIMES)}")
        if not any(one.format == name for one in present):
            raise ValueError(f"{where}: has no file in format {name!r}; it lists {listed}")
    for name in schemes or ():
        if not any(one.scheme == name and (formats is None or one.format in formats) for one in present):
            raise ValueError(f"{where}: has no such file in scheme {name!r}; it lists {listed}")


def _file(export_dir: Path, row: dict[str, Any], *, spec: ClipSpec | None) -> ExportedFile:
    if row["status"] != "exported":
        why = "not exported" if row["status"] == "failed" else "misses its pass criterion"
        return ExportedFile(
            format=row["format"],
            scheme=row["scheme"],
            path=export_dir / row["format"] / row["scheme"],
            size_bytes=0,
            inputs=(),
            outputs=(),
            missing=f"{why}: {row['reason']}",
        )
    file = ExportedFile(
        format=row["format"],
        scheme=_text(row["scheme"]),
        path=_inside(export_dir, row["path"]),
        size_bytes=_whole(row["size_bytes"]),
        inputs=tuple(_tensor(tensor) for tensor in row["inputs"]),
        outputs=tuple(_tensor(tensor) for tensor in row["outputs"]),
        macs=_macs(row),
    )
    if row.get("step"):
        file = replace(file, step=_step(export_dir, row["step"], of=file))
    if spec is None:
        return file
    for what, tensors, expected in (
        ("inputs", file.inputs, spec.inputs),
        ("outputs", file.outputs, spec.outputs),
    ):
        names = tuple(tensor.name for tensor in tensors)
        if sorted(names) != sorted(expected):
            raise ValueError(
                f"{export_dir}: manifest.json lists for {file.title} the {what} {', '.join(names)}, but its spec "
                f"has {', '.join(expected)}: export again"
            )
    for name, label in zip(spec.outputs, spec.labels, strict=True):
        (logits,) = (tensor for tensor in file.outputs if tensor.name == name)
        if logits.shape != (1, len(label.classes)):
            raise ValueError(
                f"{export_dir}: manifest.json lists for {file.title} the output {name} of shape "
                f"{list(logits.shape)}, but its spec has {len(label.classes)} classes: export again"
            )
    return file


def _step(export_dir: Path, row: dict[str, Any], *, of: ExportedFile) -> ExportedFile:
    step = replace(
        of,
        path=_inside(export_dir, row["path"]),
        size_bytes=_whole(row["size_bytes"]),
        inputs=tuple(_tensor(tensor) for tensor in row["inputs"]),
        outputs=tuple(_tensor(tensor) for tensor in row["outputs"]),
        macs=_macs(row),
        entry=None if row["entry"] is None else _text(row["entry"]),
        states={_text(name): _text(after) for name, after in row["states"].items()},
    )
    taken, given = ({tensor.name for tensor in tensors} for tensors in (step.inputs, step.outputs))
    wrong = [f"{name!r}: {after!r}" for name, after in step.states.items() if after not in given | taken]
    if wrong or taken - step.states.keys() != {FRAME} or step.states.keys() - taken:
        raise TypeError(f"the states of a step program do not map its inputs to its outputs: {step.states!r}")
    _check_on_disk(step, row["sha256"], export_dir=export_dir)
    return step


def _macs(row: dict[str, Any]) -> int | None:
    coverage = row.get("coverage")
    return None if coverage is None else _whole(coverage["macs"])


def _inside(export_dir: Path, given: str) -> Path:
    """Path of a file in the export; TypeError for a path outside its folder."""
    path = PurePosixPath(given)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in given:
        raise TypeError(f"the path {given!r} is outside the export")
    return export_dir / path


def _whole(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise TypeError(f"{number!r} is not a count")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _tensor(row: dict[str, Any]) -> FileTensor:
    bounds = row.get("value_range")
    return FileTensor(
        name=_text(row["name"]),
        shape=tuple(_whole(size) for size in row["shape"]),
        dtype=_text(row["dtype"]),
        layout=_text(row["layout"]),
        value_range=None if bounds is None else (float(bounds[0]), float(bounds[1])),
    )


def _check_on_disk(file: ExportedFile, sha256: str, *, export_dir: Path) -> None:
    if not file.path.exists():
        raise FileNotFoundError(
            f"{export_dir}: manifest.json lists {file.title}, which is missing: export again"
        )
    if content_hash(file.path) != sha256:
        raise ValueError(
            f"{export_dir}: {file.title} is not the file that manifest.json describes (different SHA-256): "
            "export again"
        )


def content_hash(path: Path) -> str:
    """SHA-256 of a file; of a folder (`.mlpackage`), over relative path, a zero byte and content of each file."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for part in sorted(part for part in path.rglob("*") if part.is_file()):
        digest.update(part.relative_to(path).as_posix().encode() + b"\0" + part.read_bytes())
    return digest.hexdigest()
