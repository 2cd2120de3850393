"""The report of a run: `report.json` for tools, `report.md` and `report.html` for people."""
