"""Measures exported files on devices. Depends on neither the pipeline of `compress` nor on `export`.

`benchmarks/devices.py` lists all kinds of devices. Importing this package loads no runtime and no torch.
"""
