"""The address of this machine in the local network."""

from __future__ import annotations

import ipaddress
import socket

from benchmarks.device import Unavailable

_ANYWHERE = ("192.0.2.1", 9)
"""An address reserved for documentation (RFC 5737): choosing a route to it sends nothing."""


def lan_address() -> str:
    """The IPv4 address from which this machine reaches others. Raises `Unavailable`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ANYWHERE)
            address = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    if ipaddress.ip_address(address).is_loopback:
        raise Unavailable(
            "this machine has no address in a network: connect it, or set `address`, or use `adb reverse`"
        )
    return address
