"""Makes a saved `.mlpackage` reproducible: the same network always gives the same bytes.

coremltools writes the date of the conversion and random identifiers for the files of the package, and maps in
arbitrary order.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

_DAY = "com.github.apple.coremltools.conversion_date"


def make_repeatable(package: Path) -> None:
    """Rewrites the program and the file list of a package in place. Only the date changes in meaning."""
    from coremltools.proto import Model_pb2

    listed = json.loads((package / "Manifest.json").read_text(encoding="utf-8"))
    names = {name: _identifier(entry["path"]) for name, entry in listed["itemInfoEntries"].items()}
    program = package / "Data" / listed["itemInfoEntries"][listed["rootModelIdentifier"]]["path"]
    model = Model_pb2.Model.FromString(program.read_bytes())
    model.description.metadata.userDefined.pop(_DAY, None)
    program.write_bytes(model.SerializeToString(deterministic=True))
    listed["itemInfoEntries"] = {names[name]: entry for name, entry in listed["itemInfoEntries"].items()}
    listed["rootModelIdentifier"] = names[listed["rootModelIdentifier"]]
    text = json.dumps(listed, indent=4, sort_keys=True) + "\n"
    (package / "Manifest.json").write_text(text, encoding="utf-8")


def _identifier(path: str) -> str:
    """The identifier of a file in a package: the same for the same path."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mlpackage/{path}"))
