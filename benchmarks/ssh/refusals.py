"""Explains why ssh failed: the reason in plain words, and the remedy."""

from __future__ import annotations

import re

_LAST_LINES = 2
_FAULT_OF_SSH = 255
"""Its exit code; it may end without a message."""
_LOST = "the connection was lost; what was copied stays, so that the next run continues there"
_ENDED_BY_PROXY = "kex_exchange_identification: Connection closed by remote host"
"""ssh prints it after the reason of another ssh that should have passed the connection on."""
_OF_A_JUMP_HOST = (
    "the connection to it passes a jump host (ProxyJump or ProxyCommand of the configuration), which is at "
    "fault: "
)


def why(errors: str, *, code: int | None, address: str) -> str:
    """The reason by what ssh printed as errors, and by its exit code (None: it was still running)."""
    for pattern, reason in _REASONS:
        found = re.search(pattern, errors)
        if found and reason != _LOST and _ENDED_BY_PROXY in errors:
            return _OF_A_JUMP_HOST + reason.format(*found.groups(), address="JUMP_HOST")
        if found:
            return reason.format(*found.groups(), address=address)
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    if code == _FAULT_OF_SSH and not lines:
        return _LOST
    said = f": {' | '.join(lines[-_LAST_LINES:])}" if lines else ""
    return f"ssh ended with exit code {code}{said}" if code else f"the connection ended{said}"


_REASONS = (
    (r"(?m)^pocketreel: (.+)$", "{0}"),
    (
        r"(?:No space left on device|Disk quota exceeded|File too large)",
        "its disk is full: free some space there, or give another `folder`",
    ),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED(?:.|\n)*?Offending \S+ key in (\S+):(\d+)",
        "its host key differs from the one in line {1} of {0}: either the board was set up anew, or another "
        "machine answers in its place. Compare the fingerprint with that on the board (ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub); if it was set up anew, remove the line and connect once by hand: ssh "
        "{address}",
    ),
    (
        r"(?:[Hh]ost key verification failed|host key is known for)",
        "its host key is not known yet. Connect once by hand (ssh {address}), compare the fingerprint and confirm "
        "it",
    ),
    (
        r"Permission denied \(([^)]*)\)",
        "it accepts none of the offered keys (it takes: {0}); passwords are not asked for. Copy your key to it "
        "(ssh-copy-id {address}), load it into the agent (ssh-add), or give it as `identity_file`",
    ),
    (
        r"Too many authentication failures",
        "it refused too many keys before the right one: give the right one as `identity_file`",
    ),
    (r"Could not resolve hostname (\S+):", "the name {0} cannot be resolved: check the address"),
    (
        r"Connection refused",
        "nothing answers at its port: start the ssh server on the board, or check address and `port`",
    ),
    (
        r"(?:timed out|Operation timed out|No route to host|Network is unreachable|Host is down)",
        "it does not answer: check that it is switched on and reachable (ssh {address})",
    ),
    (
        r"(?:Connection (?:reset|closed)|Broken pipe|[Tt]imeout, server|client_loop|closed by remote host)",
        _LOST,
    ),
)
