"""The HTTP server of the page. It answers only requests that know the token, for the paths listed here.

Every request must name this server as its host, and a request by a page must come from this server's own page.
Files are looked up by name in tables, so that no path of a request reaches the file system. Bodies have a stated
and limited length and must arrive in time.
"""

from __future__ import annotations

import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError

from benchmarks.browser.exchange import Busy, Exchange, Gone
from benchmarks.browser.facts import Facts
from benchmarks.browser.message import HEADER_BYTES, Malformed, message_parts, message_size, read_message

_HOLD_S = 15.0
"""Time for which a request for the next command is held."""
_REQUEST_LIMIT_S = 15.0
"""Time in which a request must arrive, and for every 50 kB of its body a second more."""
_BODY_BYTES_PER_S = 50_000
_MOST_CONNECTIONS = 64
_CHUNK_BYTES = 256 * 1024
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    # Both isolate the page, without which it has one thread and a coarse clock.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}
_POSTS = ("hello", "turn", "alive", "leave")
_PAGE = Path(__file__).parent / "page"


class Refused(Exception):
    """A request is refused with an HTTP status."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serves the page, its assets and the files to measure, and passes messages to an `Exchange`.

    `hosts` are the names and addresses under which it may be addressed; `tls` encrypts. It runs in threads of its
    own between `start` and `stop`.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(
        self,
        address: tuple[str, int],
        *,
        exchange: Exchange,
        token: str,
        assets: Mapping[str, Path],
        hosts: Iterable[str],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(address, _Handler)
        self.exchange, self.token, self.tls = exchange, token, tls
        self.port: int = self.server_address[1]
        self.scheme = "https" if tls else "http"
        self.authorities = {f"{host}:{self.port}" for host in hosts}
        self.files = {f"assets/{name}": path for name, path in assets.items()}
        self.files |= {f"page/{path.name}": path for path in sorted(_PAGE.iterdir()) if path.suffix in _TYPES}
        self.files[""] = self.files.pop("page/index.html")
        self._deadlines_s: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)

    def start(self) -> None:
        """Starts to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stops to answer and closes the port."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def offer(self, path: Path, *, number: int) -> str:
        """Makes a file to measure available; returns its address relative to the page."""
        name = f"files/{number}"
        self.files[name] = path
        return name

    def withdraw(self, name: str) -> None:
        """Undoes `offer`."""
        self.files.pop(name, None)

    def expect(self, connection: socket.socket, seconds: float | None) -> None:
        """Closes the connection if it has not sent its request within `seconds`; None: it has."""
        with self._lock:
            self._deadlines_s.pop(connection, None)
            if seconds is not None:
                self._deadlines_s[connection] = time.monotonic() + seconds

    def service_actions(self) -> None:
        """Closes connections whose request is overdue."""
        with self._lock:
            overdue = [one for one, at_s in self._deadlines_s.items() if time.monotonic() > at_s]
            for connection in overdue:
                del self._deadlines_s[connection]
        for connection in overdue:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers in a thread, unless too many connections have not sent their request yet."""
        if len(self._deadlines_s) >= _MOST_CONNECTIONS:
            self.shutdown_request(request)
            return
        self.expect(request, _REQUEST_LIMIT_S)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks or is no TLS is not an error of the measurement."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    error_message_format, error_content_type = "%(message)s\n", "text/plain; charset=utf-8"
    timeout = 60.0

    def setup(self) -> None:
        if self.server.tls is not None:
            accepted = self.request
            accepted.settimeout(_REQUEST_LIMIT_S)
            self.request = self.server.tls.wrap_socket(accepted, server_side=True)
            self.server.expect(accepted, None)
            self.server.expect(self.request, _REQUEST_LIMIT_S)
        super().setup()

    def finish(self) -> None:
        self.server.expect(self.connection, None)
        with suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET

    def version_string(self) -> str:
        """The program, without its version."""
        return "Pocketreel"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal belongs to the measurement."""

    def _answer(self) -> None:
        self.close_connection = True
        try:
            name, query = self._checked()
            if self.command == "POST":
                self._post(name, query)
            else:
                self._send_file(name)
        except Refused as refused:
            self._send(refused.status, str(refused).encode(), kind="text/plain; charset=utf-8")
        except (OSError, ssl.SSLError):
            return  # the connection broke; the page tries again
        except Exception as error:
            self.server.exchange.fail(f"the server of the page failed: {error!r}")
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, b"", kind="text/plain; charset=utf-8")

    def _checked(self) -> tuple[str, dict[str, str]]:
        """The path behind the token, and the query. Raises `Refused`."""
        authority = self.headers.get("Host", "")
        if authority not in self.server.authorities:
            raise Refused(HTTPStatus.FORBIDDEN, "wrong host")
        path, _, query = self.path.partition("?")
        token, slash, name = path.removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.NOT_FOUND, "wrong address: open the one that the terminal shows")
        own = f"{self.server.scheme}://{authority}"
        if self.headers.get("Origin", own if self.command == "GET" else "") != own:
            raise Refused(HTTPStatus.FORBIDDEN, "foreign origin")
        if self.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise Refused(HTTPStatus.FORBIDDEN, "foreign site")
        if name in _POSTS:
            allowed = "POST"
        elif name in self.server.files:
            allowed = "GET"
        else:
            raise Refused(HTTPStatus.NOT_FOUND, "not here")
        if self.command != allowed:
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"only {allowed}")
        return name, dict(parse_qsl(query))

    def _post(self, name: str, query: dict[str, str]) -> None:
        exchange, secret = self.server.exchange, query.get("page", "")
        try:
            if name == "hello":
                facts = Facts.model_validate_json(self._body(HEADER_BYTES))
                page = exchange.arrive(facts, previous=query.get("previous"))
                self._send(HTTPStatus.OK, json.dumps({"page": page.secret}).encode(), kind="application/json")
            elif name == "turn":
                body = self._body(exchange.most_bytes(secret))
                self._turn(secret, query.get("answered", ""), body)
            else:
                self._body(0)
                if name == "alive":
                    exchange.alive(secret, hidden=query.get("hidden") == "true")
                else:
                    exchange.leave(secret)
                self._send(HTTPStatus.NO_CONTENT, b"", kind=None)
        except (Malformed, ValidationError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
        except Busy as error:
            raise Refused(HTTPStatus.CONFLICT, str(error)) from error
        except Gone as error:
            raise Refused(HTTPStatus.GONE, str(error)) from error

    def _turn(self, secret: str, answered: str, body: bytes) -> None:
        if not (answered.isascii() and answered.isdigit() and len(answered) < 12):
            raise Refused(HTTPStatus.BAD_REQUEST, "the number of the answered command is missing")
        command = self.server.exchange.turn(
            secret,
            answered=int(answered),
            message=read_message(body) if body else None,
            hold_s=_HOLD_S,
        )
        if command is None:
            self._send(HTTPStatus.NO_CONTENT, b"", kind=None)
            return
        size = message_size(command.header, command.payloads)
        self._send_head(HTTPStatus.OK, size, kind="application/octet-stream")
        for part in message_parts(command.header, command.payloads):
            self.wfile.write(part)

    def _body(self, most_bytes: int) -> bytes:
        """The body of the request. Raises `Refused`."""
        given = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (given.isascii() and given.isdigit()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "the length of the body must be given")
        if len(given) > 12 or int(given) > most_bytes:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {most_bytes} bytes")
        length = int(given)
        self.server.expect(self.connection, _REQUEST_LIMIT_S + length / _BODY_BYTES_PER_S)
        body = self.rfile.read(length)
        self.server.expect(self.connection, None)
        if len(body) < length:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body)} of {length} bytes")
        return body

    def _send_file(self, name: str) -> None:
        self.server.expect(self.connection, None)
        path = self.server.files[name]
        with path.open("rb") as stream:
            kind = _TYPES.get(path.suffix) if not name.startswith("files/") else None
            lasting = name.startswith("assets/")
            size = path.stat().st_size
            self._send_head(HTTPStatus.OK, size, kind=kind or "application/octet-stream", lasting=lasting)
            while chunk := stream.read(_CHUNK_BYTES):
                self.wfile.write(chunk)

    def _send(self, status: HTTPStatus, body: bytes, *, kind: str | None) -> None:
        with suppress(OSError):
            self._send_head(status, len(body), kind=kind)
            if self.command != "HEAD":
                self.wfile.write(body)

    def _send_head(self, status: HTTPStatus, size: int, *, kind: str | None, lasting: bool = False) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        # Workers share compiled assets through the cache of the browser.
        self.send_header("Cache-Control", "private, max-age=3600" if lasting else "no-store")
        if kind is not None:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()
