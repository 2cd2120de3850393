"""What the terminal says about the page: its address, a QR code, what it exposes, and what it lacks."""

from __future__ import annotations

import io
from urllib.parse import urlsplit

_EXTRA = "pip install '.[browser]' in a checkout of Pocketreel"


def invitation(url: str, *, lan: bool, opens: bool, fingerprint: str | None) -> str:
    """The text for the terminal. `fingerprint` is that of the certificate, None without one."""
    lines = [f"{'opening' if opens else 'open'} {url}"]
    port = urlsplit(url).port
    if not lan:
        lines.append(
            "it is reachable from this machine alone; on an Android phone with USB debugging run "
            f"`adb reverse tcp:{port} tcp:{port}` and open the same address there"
        )
        return "\n".join(lines)
    lines.append(
        "whoever is in this network and has this address can download the measured files and send wrong figures, "
        "until the measurement ends"
    )
    if fingerprint is None:
        lines.append(
            "over plain http the page has 1 thread and no WebGPU: set `https: true`, or omit `lan`, run `adb "
            f"reverse tcp:{port} tcp:{port}` and open the page on the phone as localhost"
        )
    else:
        lines.append(
            f"the browser will warn of the certificate, which is self-signed; its SHA-256 is {fingerprint}"
        )
    code = qr_code(url)
    lines.append(code if code is not None else f"for a QR code of the address: {_EXTRA}")
    return "\n".join(lines)


def qr_code(text: str) -> str | None:
    """A QR code in half blocks for a terminal; None if the package segno is not installed."""
    try:
        import segno
    except ImportError:
        return None
    drawn = io.StringIO()
    segno.make_qr(text, error="l").terminal(out=drawn, border=4, compact=True)
    return drawn.getvalue().rstrip("\n")
