"""The report of a run: `report.json` for tools, `report.md` and `report.html` for people."""

from compress.report.shape import SCHEMA_VERSION, Report
from compress.report.write import Sample, write_report

__all__ = ["SCHEMA_VERSION", "Report", "Sample", "write_report"]
