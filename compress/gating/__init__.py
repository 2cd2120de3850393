"""Regression gates: a run against a baseline, on the same clips and in the same session."""
