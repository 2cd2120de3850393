"""The part that runs on the board: Python's standard library, and NumPy and a runtime in the process of a file.

`hub` answers this machine over one connection; `session` runs one file in a process of its own.
"""
