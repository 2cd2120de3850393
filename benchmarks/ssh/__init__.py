"""Boards over ssh: any Linux machine or Mac that the user's OpenSSH client reaches.

`settings` are the user's settings, `device` the connected device. `client` starts the `ssh` program. `runner` packs
`board`, the part that runs on the board, and everything that it imports into one file.
"""
