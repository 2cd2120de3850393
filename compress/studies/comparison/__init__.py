"""Every network of a table through every format: how exact, how far covered, and how much faster than without us.

`python -m compress.studies.comparison` measures and writes `docs/comparison.md` and
`benchmarks/results/comparison.json`.
"""
