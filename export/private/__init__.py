"""Insides of other libraries: one module per library, named for it, and nowhere else in this package.

What a library has by public means is used in its place. Each module says which version it was written for; its test
fails on any other, so that an upgrade begins by reading it again.
"""
