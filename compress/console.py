"""Progress on the terminal, under the name by which the pipeline knows it: see `compress.command.progress`."""

from compress.command.progress import Report, bar

__all__ = ["Report", "bar"]
