"""Opens and decodes media files within the limits of `limits.py`."""

from __future__ import annotations

import errno
import logging
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Stream
from av.video.frame import VideoFrame

from benchmarks.clips.formats import ALLOWED, refused_kind
from benchmarks.clips.limits import USUAL, Limits
from benchmarks.clips.processes import Alive

_IO_TIMEOUT_S = 30.0
_PATTERN = frozenset("%*?{")
"""Characters that FFmpeg interprets as a pattern of file names."""
_TOO_LARGE = re.compile(r"Picture size (\d+)x(\d+) (?:exceeds|is invalid)")
TRANSPARENT = "is transparent; its opacity is ignored"
_NOT_OPENED = "Format not on whitelist"


class UnreadableClip(ValueError):
    """A clip that cannot be read: its file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The span of one clip in a file; None means the start or end of the file."""

    start_s: float | None = None
    end_s: float | None = None
    pad_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The decoded values of cut number `cut`."""

    cut: int
    values: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The reason why cut number `cut` could not be decoded."""

    cut: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Note:
    """A remark about a file that was read."""

    text: str


Outcome = Clip | Refusal | Note


class _Listener(logging.Handler):
    """The last log messages of FFmpeg, which say more than its error codes: (logger, message)."""

    def __init__(self) -> None:
        super().__init__()
        self.words: deque[tuple[str, str]] = deque(maxlen=50)

    def emit(self, record: logging.LogRecord) -> None:
        """Stores the message."""
        self.words.append((record.name.removeprefix("libav."), record.getMessage()))


_LISTENER = _Listener()


def _listen() -> None:
    """Sends FFmpeg's errors to `_LISTENER`; they are printed only if a program configured logging before."""
    log = logging.getLogger("libav")
    if _LISTENER not in log.handlers:
        log.addHandler(_LISTENER)
    if av.logging.get_level() is None:
        log.propagate = False
        av.logging.set_level(av.logging.ERROR)
        av.logging.set_skip_repeated(False)
    _LISTENER.words.clear()


class _Nameless:
    """A file object without a name, which FFmpeg could interpret as a pattern."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.read, self.seek, self.tell, self.close = (
            self._file.read,
            self._file.seek,
            self._file.tell,
            self._file.close,
        )


@contextmanager
def opened(path: Path, limits: Limits = USUAL) -> Iterator[InputContainer]:
    """Opens a file. Raises `UnreadableClip` if it is not a media file, also while it is being read."""
    path = Path(path)
    _refuse_unless_file(path)
    # "file:" prevents that "a:b.mp4" is parsed as a protocol; the whitelists keep playlists from opening URLs.
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": ALLOWED,
        "max_pixels": str(limits.max_pixels),  # of the frames that are decoded to probe the file
        "threads": "1",
    }
    _listen()
    try:
        source = _Nameless(path) if _PATTERN & set(str(path)) else f"file:{path.absolute()}"
        container = av.open(source, options=options, timeout=_IO_TIMEOUT_S)
    except MemoryError:
        raise UnreadableClip(path, limits.no_memory()) from None
    except (av.FFmpegError, OSError, ValueError, UnicodeError) as error:
        if _lacks_memory(error):
            raise UnreadableClip(path, limits.no_memory()) from None
        kinds = [logger for logger, what in _LISTENER.words if what.startswith(_NOT_OPENED)]
        if kinds:
            raise UnreadableClip(path, refused_kind(kinds[0])) from None
        raise UnreadableClip(path, f"cannot be opened as video or audio: {message_of(error)}") from None
    assert isinstance(container, InputContainer)
    with container:
        yield container


def _refuse_unless_file(path: Path) -> None:
    try:
        if not path.exists():
            raise UnreadableClip(path, "no such file")
        if path.is_dir():
            raise UnreadableClip(path, "is a folder, not a file")
        if not path.is_file():
            raise UnreadableClip(path, "is not a regular file")
        if path.stat().st_size == 0:
            raise UnreadableClip(path, "is empty (0 bytes)")
    except OSError as error:  # a name that is too long, a folder without permission
        raise UnreadableClip(path, f"cannot be opened: {error.strerror}") from None


def decoded(
    container: InputContainer, stream: Stream, *, path: Path, limits: Limits, alive: Alive
) -> Iterator[object | None]:
    """Yields the frames of a video or audio stream in order; None for one that cannot be decoded.

    Raises `UnreadableClip` for frames that exceed the limits.
    """
    if stream.codec_context is not None:
        stream.codec_context.options = {
            **(stream.codec_context.options or {}),
            "max_pixels": str(limits.decoder_pixels),
        }
    packets = container.demux(stream)
    while True:
        alive()
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.EOFError:
            return
        except MemoryError:
            raise UnreadableClip(path, limits.no_memory()) from None
        except (av.FFmpegError, OSError) as error:
            if reason := over_limit(error, limits):
                raise UnreadableClip(path, reason) from None
            yield None
            continue
        for frame in frames:
            if isinstance(frame, VideoFrame) and (reason := limits.pixels(frame.width, frame.height)):
                raise UnreadableClip(path, reason)
            yield frame


def over_limit(error: BaseException, limits: Limits) -> str | None:
    """The message of the limit that caused this FFmpeg error; None for any other error."""
    for _, words in reversed(_LISTENER.words):
        if size := _TOO_LARGE.search(words):
            _LISTENER.words.clear()
            return limits.pixels(*map(int, size.groups()))
    return limits.no_memory() if _lacks_memory(error) else None


def _lacks_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM


def message_of(error: BaseException) -> str:
    """FFmpeg's message, without error codes and file names."""
    text = getattr(error, "strerror", None) or str(error)
    if isinstance(error, av.InvalidDataError):
        return f"{text} (not a media file, or its header is missing, as after an incomplete download)"
    return text
