"""The settings of the device `browser`, without `connect`, for the modules that `connect` imports."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from benchmarks.device_settings import DeviceSettings

_Text = Annotated[str, Field(max_length=1024)]


class PageSettings(DeviceSettings):
    """How the page is served and opened, and where it runs files."""

    accelerator: Literal["wasm", "webgpu", "webnn"] = "wasm"
    """Where the page runs files: `wasm` on the processor, `webgpu` and `webnn` on what the browser offers."""
    lan: bool = False
    """Serve the page on this machine's address in the local network, for a phone; otherwise on loopback alone."""
    address: Annotated[str, Field(max_length=255)] | None = None
    """The address in the local network, if this machine has several."""
    https: bool = False
    """Encrypt with a self-signed certificate, made by the program `openssl`. Browsers warn about it, and then give
    the page threads and WebGPU, which plain http in a network does not."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port of the page; 0 chooses a free one."""
    open: bool | None = None
    """Open the page in a browser of this machine; by default unless `lan` is true."""
    program: _Text | None = None
    """Program that opens the page, such as `chromium`; by default the system's browser. It ends with the
    measurement."""
    arguments: Annotated[tuple[_Text, ...], Field(max_length=64)] = ()
    """Arguments of `program`, before the address of the page."""
    wait_s: float = Field(default=120.0, gt=0, le=3600)
    """Time in which the page must be opened."""
    silence_s: float = Field(default=30.0, ge=1, le=600)
    """Time after which a silent page counts as lost."""
    assets: _Text | None = None
    """Folder of the runtimes that `pocketreel browser-assets` installs; by default the user's cache."""
