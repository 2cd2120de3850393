"""Output folders of commands: ledgers of Pocketreel's files, their integrity, and locks.

Imports nothing else of this project, so that every package may import it.
"""
