"""Formats of the published tables and figures."""

PUBLISHED_FORMATS = ("onnx", "tflite", "executorch", "coreml")
"""Rows of `export.EXPORTERS`. A new format joins them together with its figures."""
