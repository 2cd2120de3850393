"""Converts an ATen graph to a LiteRT file: `translate` -> `integers` -> `tidy` -> `flatbuffer`.

`graph` is the data between the steps, `layout` the arithmetic of axis orders, and `operators` the table of
all supported ATen operators, implemented by family in `windows`, `pointwise`, `products` and `shapes`.
"""
