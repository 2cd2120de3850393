"""How a board is reached and used: the fields of its settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from benchmarks.device_settings import DeviceSettings

_Text = Annotated[str, Field(min_length=1, max_length=1024)]
_CPUS = r"^\d{1,3}(-\d{1,3})?(,\d{1,3}(-\d{1,3})?)*$"


class SshFields(DeviceSettings):
    """The settings of a board without `connect`, for the modules that `connect` imports."""

    address: str = Field(max_length=255, pattern=r"^[^-\s][^\s]*$")
    """What `ssh` takes: `user@host`, or a `Host` of its configuration."""
    config: _Text | None = None
    """Configuration file of ssh instead of the user's own."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """By default that of the configuration, or 22."""
    identity_file: _Text | None = None
    """Private key; by default those of the agent and of the configuration."""
    cpus: str | None = Field(default=None, max_length=255, pattern=_CPUS)
    """Cores that files run on, such as `4-7` (as `taskset -c`); by default all."""
    python: _Text = "python3"
    """Python 3.11 or newer on the board. It is used as it is if it has NumPy and the runtime; otherwise they are
    installed into a virtual environment in `folder`."""
    wheels: _Text | None = None
    """Folder here with the wheels of NumPy and the runtime for the board, which then needs no network."""
    folder: _Text | None = None
    """Folder on the board for the runner, the environment, files and clips; by default `~/.cache/pocketreel`."""
    connect_timeout_s: int = Field(default=15, ge=1, le=600)
    """Time limit of the connection, in seconds."""
    clean: bool = False
    """Remove everything that was stored on the board when the measurement ends."""

    @field_validator("cpus")
    @classmethod
    def _are_ranges(cls, cpus: str | None) -> str | None:
        for part in (cpus or "").split(","):
            first, _, last = part.partition("-")
            if last and int(last) < int(first):
                raise ValueError(f"the range {part} ends before it begins; write {last}-{first}")
        return cpus
