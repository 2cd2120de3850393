"""Compares every network in every format: accuracy, coverage, and speedup over the naive export.

`python -m compress.studies.comparison` measures and writes `docs/comparison.md` and
`benchmarks/results/comparison.json`.
"""
