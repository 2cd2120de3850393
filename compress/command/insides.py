"""What our code takes from inside other libraries, where these promise nothing: by name, and with who may read it.

Such names stand in the files `private/<library>.py` of a package alone, each with the versions that it was written
for. Where another version has lost a name, the error says which, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Any


class Insides:
    """Hands out what lies inside a library, for the module `home`, which was written for the version given."""

    def __init__(self, written_for: Mapping[str, str], home: str) -> None:
        ((self._distribution, self._version),) = written_for.items()
        self._home = home

    def __call__(self, path: str) -> Any:
        """What stands at `path`, such as `torch.fx.proxy:TracerBase.trace`.

        Raises ImportError where it is not there, or where the library is not installed.
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
        """The attribute `name` of an object of the library. Raises ImportError where it has none."""
        try:
            return getattr(owner, name)
        except AttributeError as error:
            kind = type(owner)
            raise ImportError(self._missing(f"{kind.__module__}:{kind.__qualname__}.{name}")) from error

    def _missing(self, path: str) -> str:
        return (
            f"{self._distribution} {version(self._distribution)} has no {path}, which {self._home} takes from its "
            f"inside: that was written for {self._distribution} {self._version}. Install "
            f"{self._distribution}=={self._version}, or read {self._home} and what it uses again"
        )
