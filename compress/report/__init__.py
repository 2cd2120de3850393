"""The report of a run: `report.json` for tools, `report.md` and `report.html` for people.

Imports are lazy, so that `python -m compress.report` refuses a wrong argument before it loads anything large.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.report.headline import did_not_run
    from compress.report.table import print_files, print_gates
    from compress.report.write import Sample, write_report
    from compress.report_shape import SCHEMA_VERSION, Report

__all__ = [
    "SCHEMA_VERSION",
    "Report",
    "Sample",
    "did_not_run",
    "print_files",
    "print_gates",
    "write_report",
]

_HOMES = {
    "did_not_run": "compress.report.headline",
    **dict.fromkeys(("print_files", "print_gates"), "compress.report.table"),
    **dict.fromkeys(("Sample", "write_report"), "compress.report.write"),
    **dict.fromkeys(("SCHEMA_VERSION", "Report"), "compress.report_shape"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
