"""Opens media files safely and decodes them, within the limits of `limits.py`."""

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
"""Characters that make FFmpeg take a name for the pattern of many."""
_TOO_LARGE = re.compile(r"Picture size (\d+)x(\d+) (?:exceeds|is invalid)")
TRANSPARENT = "is transparent; its opacity is ignored"
_NOT_OPENED = "Format not on whitelist"


class UnreadableClip(ValueError):
    """A clip that cannot be read: which file, and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The part of a file that one clip is; None means the file's start or end."""

    start_s: float | None = None
    end_s: float | None = None
    pad_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What a reader decoded for the cut of that number."""

    cut: int
    values: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a reader has nothing for the cut of that number."""

    cut: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something about the file that a user should know although it was read."""

    text: str


Outcome = Clip | Refusal | Note


class _Listener(logging.Handler):
    """The last words of FFmpeg, which say more than its error numbers: (who spoke, what)."""

    def __init__(self) -> None:
        super().__init__()
        self.words: deque[tuple[str, str]] = deque(maxlen=50)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps what was said."""
        self.words.append((record.name.removeprefix("libav."), record.getMessage()))


_LISTENER = _Listener()


def _listen() -> None:
    """Has FFmpeg's errors told to `_LISTENER`, and to nobody else unless a program asked for them before."""
    log = logging.getLogger("libav")
    if _LISTENER not in log.handlers:
        log.addHandler(_LISTENER)
    if av.logging.get_level() is None:
        log.propagate = False
        av.logging.set_level(av.logging.ERROR)
        av.logging.set_skip_repeated(False)
    _LISTENER.words.clear()


class _Nameless:
    """A file without a name that FFmpeg could take for a pattern."""

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
    """The opened file. Raises `UnreadableClip` for anything that is not a media file, also while it is read."""
    path = Path(path)
    _refuse_unless_file(path)
    # "file:" keeps FFmpeg from taking "a:b.mp4" for a protocol; the whitelists keep lists of files off the network.
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": ALLOWED,
        "max_pixels": str(
            limits.max_pixels
        ),  # of the frames that are decoded to find out what the file holds
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
        raise UnreadableClip(path, f"cannot be opened as video or sound: {message_of(error)}") from None
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
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise UnreadableClip(path, f"cannot be opened: {error.strerror}") from None


def decoded(
    container: InputContainer, stream: Stream, *, path: Path, limits: Limits, alive: Alive
) -> Iterator[object | None]:
    """Every frame of a picture or of sound, in order; None where one cannot be decoded.

    Raises `UnreadableClip` for frames that are over the limits.
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
    """The limit that FFmpeg kept to when it failed with this error; None: it failed of something else."""
    for _, words in reversed(_LISTENER.words):
        if size := _TOO_LARGE.search(words):
            _LISTENER.words.clear()
            return limits.pixels(*map(int, size.groups()))
    return limits.no_memory() if _lacks_memory(error) else None


def _lacks_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM


def message_of(error: BaseException) -> str:
    """What FFmpeg said, without error numbers and file names."""
    text = getattr(error, "strerror", None) or str(error)
    if isinstance(error, av.InvalidDataError):
        return f"{text} (not a media file, or its header is missing as after a broken download)"
    return text
