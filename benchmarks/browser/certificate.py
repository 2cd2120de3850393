"""A self-signed certificate for the page."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.device import Unavailable

_DAYS = 7
_LIMIT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate, and its SHA-256 fingerprint as browsers show it."""

    context: ssl.SSLContext
    fingerprint: str


def make_certificate(folder: Path, host: str) -> Certificate:
    """Makes a key and a certificate for `host` in `folder`, valid for a week. Raises `Unavailable`."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise Unavailable(
            "`https` needs the program `openssl`, which is not installed: install it, or omit `https`"
        )
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    names = f"IP:{host}" if host != "127.0.0.1" else "IP:127.0.0.1,DNS:localhost"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", str(_DAYS)]
    command += ["-subj", "/CN=Pocketreel", "-addext", f"subjectAltName={names}"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_LIMIT_S)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"openssl could not make a certificate: {reason}") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"openssl did not make a certificate within {_LIMIT_S:g} s") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest().upper()
    return Certificate(
        context=context, fingerprint=":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
    )
