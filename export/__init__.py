"""Exports networks to the file formats of edge runtimes. Knows torch and `models.spec`; nothing of `compress`."""
