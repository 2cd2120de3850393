"""Where the work of an exported file is done: how much in its runtime's fast kernels, and what is left behind.

`report.py` holds the answer; one module per runtime finds it out from that runtime itself.
"""
