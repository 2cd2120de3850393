"""The report of a run: `report.json` for tools, `report.md` and `report.html` for people."""

from compress.report.page import did_not_run
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
