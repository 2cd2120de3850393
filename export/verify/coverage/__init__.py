"""Coverage: the share of an exported file that runs in its runtime's fast kernels, and the operators that do not.

`report.py` has the result; one module per runtime determines it from that runtime itself.
"""
