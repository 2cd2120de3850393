"""A browser as a device: a page on this machine or on a phone runs ONNX and LiteRT files.

`assets.py` installs the runtimes, `server.py` serves the page (`page/`), `exchange.py` hands commands to it, and
`session.py` turns them into a `Session`.
"""
