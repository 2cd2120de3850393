"""The writers: one package per format, with everything specific to its runtime."""
