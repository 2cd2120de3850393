"""Access to private APIs of other libraries by name, with version checks.

Only the files `private/<library>.py` of a package use such names, each with the versions that it was written for.
If another version lacks a name, the error states the name, the user and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Any


class Insides:
    """Gives access to private names of a library for the module `home`, which was written for the given version."""

    def __init__(self, written_for: Mapping[str, str], home: str) -> None:
        ((self._distribution, self._version),) = written_for.items()
        self._home = home

    def __call__(self, path: str) -> Any:
        """The object at `path`, such as `torch.fx.proxy:TracerBase.trace`.

        Raises ImportError if it does not exist, or if the library is not installed.
        """
        module, _, names = path.partition(":")
        try:
            found = import_module(module)
            for name in names.split(".") if names else ():
                found = getattr(found, name)
        except ModuleNotFoundError as error:
            if error.name == module.partition(".")[0]:
                raise  # the library itself is missing
            raise ImportError(self._missing(path)) from error
        except (ImportError, AttributeError) as error:
            raise ImportError(self._missing(path)) from error
        return found

    def of(self, owner: Any, name: str) -> Any:
        """The attribute `name` of an object of the library. Raises ImportError if it does not exist."""
        try:
            return getattr(owner, name)
        except AttributeError as error:
            kind = type(owner)
            raise ImportError(self._missing(f"{kind.__module__}:{kind.__qualname__}.{name}")) from error

    def _missing(self, path: str) -> str:
        return (
            f"{self._distribution} {version(self._distribution)} has no {path}, a private API that {self._home} "
            f"uses: it was written for {self._distribution} {self._version}. Install "
            f"{self._distribution}=={self._version}, or review {self._home} and the names that it uses"
        )
