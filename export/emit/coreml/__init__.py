"""What there is to Core ML beside the writer: saved ML programs are run and looked through, on any system.

Before writing, `decompose.py` reduces a program to operators that coremltools converts. Afterwards `saved.py`
reads the package back; `interpret.py` computes what it says with `operators/`, and `predict.py` chooses between
that and Apple's own runtime; `coverage.py` says what the Neural Engine does of it: by `compute_plan.py` on an Apple
system, by the tables of `neural_engine.py` elsewhere.
"""
