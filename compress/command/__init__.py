"""The ground floor of every command: exit codes, the guard around it, terminals, limits on processes.

Imports the standard library, typer, rich and psutil alone, and nothing of ours, so that every package may import it
and a command answers a wrong argument before it loads anything large.
"""

OK = 0
GATE_FAILED = 1
"""A gate of a recipe, or a line or figure of a table that has to hold, does not."""
RECIPE_WRONG = USAGE = 2
"""The recipe or an argument is wrong; what a user's own module raises while it is loaded counts as that."""
FAILED = 3
"""A stage, a backend or the user's code failed, or the machine ran out of something."""
UNEXPECTED = 70
"""An error that the project did not foresee (`EX_SOFTWARE` of sysexits.h); its traceback is in a file."""
INTERRUPTED = 130
"""Stopped by Ctrl-C, SIGTERM or SIGHUP."""
