"""A browser as a `Device`: serves the page, has it opened, and waits for it."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from benchmarks.browser.address import lan_address
from benchmarks.browser.assets import find_assets
from benchmarks.browser.certificate import Certificate, make_certificate
from benchmarks.browser.exchange import RETURN_LIMIT_S, Command, Exchange
from benchmarks.browser.fields import PageSettings
from benchmarks.browser.invitation import invitation
from benchmarks.browser.program import Program, open_in_system_browser
from benchmarks.browser.server import Server
from benchmarks.browser.session import BrowserSession
from benchmarks.device import Description, Unavailable
from benchmarks.files import ExportedFile
from compress.command.terminal import problems

_LOOPBACK = "127.0.0.1"
_FAREWELL_S = 3.0


class Browser:
    """The page of one browser, from the time it is opened to the end of the `with` block."""

    def __init__(self, settings: PageSettings, *, name: str) -> None:
        self.name = name
        self._settings = settings
        self._program: Program | None = None
        self._running = ExitStack()
        self._exchange = Exchange(silence_s=settings.silence_s, ended=self._ended)
        self._server: Server | None = None

    def __enter__(self) -> Self:
        """Serves the page and waits until it is opened. Raises `Unavailable`."""
        try:
            self._start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Tells the page that the measurement is over, and ends server and program."""
        completed = kind is None
        farewell = Command(name="end", argument={"completed": completed}, limit_s=0)
        wait_s = _FAREWELL_S if kind is None or issubclass(kind, Exception) else 0.0
        self._exchange.close(farewell, wait_s=wait_s)
        self._running.close()

    @property
    def url(self) -> str:
        """The address of the page, which contains its token."""
        server = self._serving
        host = self._host if self._settings.lan else "localhost"
        return f"{server.scheme}://{host}:{server.port}/{server.token}/"

    def describe(self) -> Description:
        """What the page tells about its browser."""
        return self._exchange.wait_for_page(RETURN_LIMIT_S).facts.description(self.name)

    def open(self, file: ExportedFile) -> BrowserSession:
        """A session of the file in the page; nothing is loaded yet."""
        return BrowserSession(
            file,
            exchange=self._exchange,
            server=self._serving,
            accelerator=self._settings.accelerator,
        )

    def _start(self) -> None:
        settings = self._settings
        assets = find_assets(None if settings.assets is None else Path(settings.assets))
        self._host = (settings.address or lan_address()) if settings.lan else _LOOPBACK
        certificate = self._certificate() if settings.https else None
        try:
            self._server = Server(
                (self._host, settings.port),
                exchange=self._exchange,
                token=secrets.token_urlsafe(24),
                assets=assets,
                hosts=(self._host,) if settings.lan else (_LOOPBACK, "localhost"),
                tls=certificate.context if certificate else None,
            )
        except OSError as error:
            raise Unavailable(
                f"the page cannot be served on {self._host}, port {settings.port}: {error.strerror}; "
                "set `port` or `address`"
            ) from error
        self._server.start()
        self._running.callback(self._server.stop)
        opens = not settings.lan if settings.open is None else settings.open
        text = invitation(
            self.url,
            lan=settings.lan,
            opens=opens,
            fingerprint=certificate.fingerprint if certificate else None,
        )
        problems().print(f"{self.name}: {text}")
        if opens and settings.program is not None:
            self._program = self._running.enter_context(
                Program(settings.program, [*settings.arguments, self.url])
            )
        elif opens:
            open_in_system_browser(self.url)
        self._exchange.wait_for_page(settings.wait_s)

    def _certificate(self) -> Certificate:
        folder = self._running.enter_context(tempfile.TemporaryDirectory(prefix="pocketreel-certificate-"))
        return make_certificate(Path(folder), self._host)

    def _ended(self) -> str | None:
        return self._program.failure() if self._program else None

    @property
    def _serving(self) -> Server:
        if self._server is None:
            raise RuntimeError("the browser is not connected: use it in a `with` block")
        return self._server
