"""Writes Core ML files, and reads, runs and checks saved ML programs on any system.

Before writing, `decompose.py` reduces a program to operators that coremltools converts. Afterwards `saved.py` reads
the package; `interpret.py` computes it with `operators/`, and `predict.py` chooses between the interpreter and
Apple's runtime; `coverage.py` reports what the Neural Engine runs: by `compute_plan.py` on an Apple system, by the
tables of `neural_engine.py` elsewhere.
"""
