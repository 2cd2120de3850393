"""The device `browser` by its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from benchmarks.browser.fields import PageSettings

if TYPE_CHECKING:
    from benchmarks.browser.device import Browser


class BrowserSettings(PageSettings):
    """A browser that opens a page of this program: on this machine, or on a phone by its network address or USB."""

    kind = "browser"
    shorthand = "accelerator"

    def connect(self, name: str) -> Browser:
        """The browser, under this name; entering it serves the page and waits until it is opened."""
        from benchmarks.browser.device import Browser

        return Browser(self, name=name)

    def identity(self) -> str:
        """Versions of page and runtimes, with a new value each time: which browser opens the page, and on what, is
        not known before, so that figures are not reused."""
        from benchmarks.browser.assets import PACKAGES

        versions = ", ".join(f"{one.name} {one.version}" for one in PACKAGES)
        return f"{versions}; opened {uuid4()}"
