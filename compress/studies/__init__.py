"""Studies and generated documentation for maintainers; not imported by runs of recipes."""
