"""Measures exported files on devices. Knows files, clips and devices; nothing of `compress` or `export`."""
