"""Folders that commands write into: which files in them are ours, whether these are whole, and who works there.

Ground floor: imports nothing of this project, so that every package may import it.
"""
