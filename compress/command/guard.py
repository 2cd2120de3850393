"""Entry point of all commands: `run_command(main)` parses, runs and exits; no traceback reaches a terminal."""

from __future__ import annotations

import errno
import math
import os
import platform
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from compress import __version__
from compress.command import FAILED, INTERRUPTED, OK, UNEXPECTED, USAGE, interrupts, supervise
from compress.command.invocation import invocation
from compress.command.lines import first_line
from compress.command.terminal import StandardOutputFailed, finish_output, prepare_streams, print_error
from compress.command.user_code import UserCodeFailed

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS)
"""Error numbers of exhausted or denied resources."""

_USERS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
_NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENOTEMPTY)
"""Error numbers of an invalid path given by the user."""

_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "Storage size calculation overflowed",
)
"""Substrings of torch's RuntimeErrors about memory."""

_folder: Path | None = None


def keep_tracebacks_in(folder: Path) -> None:
    """Sets the folder for tracebacks of unexpected errors to `folder`, which belongs to the command.

    The ledger (`compress.folders.ledger`) recognises the file name as Pocketreel's.
    """
    global _folder
    _folder = folder


def run_command(
    main: Callable[..., None],
    *,
    resume: supervise.Resume | None = None,
    first: Callable[..., None] | None = None,
    renamed: Mapping[str, str] | None = None,
) -> NoReturn:
    """Runs `main`, whose parameters are the command's options in typer's form, and exits with its code.

    `main` runs in a worker process (`compress.command.supervise`), which starts this program a second time. Before
    that, this process calls `first` with the same options for checks that need no large import; it raises
    ValueError. `resume` describes how to resume after an interruption. `renamed` maps options of earlier versions
    to their current names.
    """
    interrupts.stop_once()
    prepare_streams()
    works = supervise.is_supervised()
    threading.excepthook = lambda failed: _write_traceback(failed.exc_value)
    sys.unraisablehook = lambda failed: (
        None
    )  # exceptions in destructors have no effect and are not actionable

    @wraps(main)
    def command(**options: Any) -> None:
        _check_numbers(options)
        if works:
            try:
                main(**options)
            except KeyboardInterrupt as error:
                if interrupts.stop_requested():
                    raise
                raise RuntimeError(
                    "KeyboardInterrupt without Ctrl-C"
                ) from error  # typer would treat it as Ctrl-C
            return
        if first is not None:
            with exit_codes():
                first(**options)
        raise typer.Exit(supervise.supervise(resume=resume))

    code = _exit_code(command, renamed or {})
    interrupts.ignore()
    if works:
        supervise.send_code(code)
    sys.exit(code)


def _check_numbers(options: Mapping[str, Any]) -> None:
    """Exits for NaN, which passes range checks because all comparisons are false."""
    with exit_codes():
        for name, value in options.items():
            if isinstance(value, float) and math.isnan(value):
                raise ValueError(f"--{name.replace('_', '-')} is nan: give a number")


@contextmanager
def exit_codes(*, failed: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Exits with a message for expected errors.

    Exit code 2 for ValueError and for a user file that is missing, of another type or not accessible; 3 for
    `failed` and for exhausted resources: memory, disk space.
    """
    try:
        yield
    except typer.Exit:  # a RuntimeError
        raise
    except failed as error:
        print_error(error)
        raise typer.Exit(FAILED) from error
    except UserCodeFailed as error:
        print_error(error)
        raise typer.Exit(USAGE) from error
    except OSError as error:
        if isinstance(error, StandardOutputFailed) or error.errno in _FULL:
            raise
        print_error(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error)
        raise typer.Exit(USAGE if isinstance(error, _USERS) or error.errno in _NAMES else FAILED) from error
    except ValueError as error:
        print_error(error)
        raise typer.Exit(USAGE) from error


def _exit_code(command: Callable[..., None], renamed: Mapping[str, str]) -> int:
    """Runs the command; reports errors and returns its exit code."""
    try:
        code = _command(command).main(prog_name=_program(), standalone_mode=False)
        finish_output()
        return code or OK
    except BaseException as error:
        with suppress(OSError):
            finish_output()
        return _report_error(error, renamed)


class _Command(TyperCommand):
    """A command whose help hides the metavar of flags and the options implied by its name."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments."""
        started = invocation()
        implied = started.implied if started else ()
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""  # instead of the type, <bool>
                param.hidden = not set(implied).isdisjoint(param.opts)  # type: ignore[attr-defined]
        return params


def _command(function: Callable[..., None]) -> Any:
    """A command that calls a function with the options described by its parameters, plus `--version`."""
    started = invocation()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=_Command, help=started.help if started else None)(function)
    command = typer.main.get_command(app)
    command.params += _versioned_options()
    return command


def _versioned_options() -> list[Any]:
    """The option `--version` in typer's form."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def _(
        version: Annotated[
            bool,
            typer.Option(
                "--version",
                is_eager=True,
                expose_value=False,
                callback=_print_version,
                help="Show the version and exit.",
            ),
        ] = False,
    ) -> None: ...

    return typer.main.get_command(app).params


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"pocketreel {__version__}")
        raise typer.Exit(OK)


def _program() -> str | None:
    """The name of the command in usage lines and errors; `None` for typer's default."""
    started = invocation()
    return started.program if started else None


def _report_error(error: BaseException, renamed: Mapping[str, str]) -> int:
    """Prints an error on standard error; returns the exit code."""
    if isinstance(error, KeyboardInterrupt) and interrupts.stop_requested():
        return INTERRUPTED
    if hasattr(error, "format_message"):  # errors of typer and click
        context = getattr(error, "ctx", None)
        more = f"; see {context.command_path} --help" if context else ""
        old = getattr(error, "option_name", None)
        new = renamed.get(old or "") if hasattr(error, "possibilities") else None
        message = error.format_message().rstrip(".")
        print_error((f"No such option: {old}; it is now {new}" if new else message) + more)
        return USAGE
    # typer replaces these exceptions.
    error = error.__cause__ if isinstance(error, typer.Abort) and error.__cause__ else error
    error = error.__context__ if isinstance(error, SystemExit) and error.__context__ else error
    if isinstance(error, StandardOutputFailed):
        print_error(error)
        return FAILED
    if is_out_of_memory(error):
        print_error(f"not enough memory: {first_line(error)}")
        return FAILED
    if isinstance(error, (UserCodeFailed, *_USERS)) or (isinstance(error, OSError) and error.errno in _FULL):
        print_error(error)
        return FAILED
    print_error(f"unexpected {type(error).__name__}: {first_line(error)}; {_write_traceback(error)}")
    return UNEXPECTED


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; torch raises RuntimeError for that."""
    message_text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in message_text for words in _NO_MEMORY)
    )


def _write_traceback(error: BaseException | None) -> str:
    """Writes the traceback of an error to a file; returns the end of a message that names it."""
    name = f"pocketreel.traceback-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    command = " ".join(map(repr, sys.orig_argv))
    text = f"{command}\nPython {sys.version}\n{platform.platform()}\n\n"
    if error is not None:
        text += "".join(traceback.format_exception(error))
    for folder in _places():
        with suppress(OSError):
            path = folder / (f".{name}" if folder == _folder else name)
            with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return f"please report it with the traceback in {path}"
    return "its traceback could not be written: no temporary folder is writable"


def _places() -> Iterator[Path]:
    if _folder is not None and _folder.is_dir():
        yield _folder
    with suppress(OSError):
        yield Path(tempfile.gettempdir())
    with suppress(OSError):
        yield Path.cwd()
