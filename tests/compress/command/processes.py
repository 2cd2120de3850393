"""What a command has started, and whether it is still there."""

from __future__ import annotations

import time

import psutil

MARK = "POCKETREEL_TEST_RUN"
"""Environment variable by which everything that a command has started is found, whoever its parent is."""


def left(mark: str) -> list[psutil.Process]:
    """Processes of the command that are there ten seconds after its end."""
    until = time.monotonic() + 10
    while True:
        found = []
        for one in psutil.process_iter():
            try:
                if one.environ().get(MARK) == mark and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(one)
            except psutil.Error:
                continue
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.2)
