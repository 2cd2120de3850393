"""The console command `pocketreel`: each subcommand runs a module, as `python -m` does.

`pocketreel run RECIPE` is `python -m compress.run RECIPE`: the same function with the same options, supervision and
exit codes. Tables for maintainers are made by `python -m compress.studies.comparison` and similar commands.
"""

from __future__ import annotations

import os
import runpy
import shlex
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from compress import __version__, refuse_strangers
from compress.command import FAILED, OK, USAGE, only_reads_arguments
from compress.command.invocation import Invocation, started_as

NAME = "pocketreel"


@dataclass(frozen=True, kw_only=True)
class SubCommand:
    """A subcommand and the module that it runs."""

    module: str
    summary: str
    implied: tuple[str, ...] = ()
    """Options that are added to the command line."""
    help: str | None = None
    """The help text, if it differs from that of the module."""


SUB_COMMANDS = {
    "run": SubCommand(
        module="compress.run",
        summary="Run a recipe: train, export, measure and report. Resumes a stopped run.",
    ),
    "plan": SubCommand(
        module="compress.run",
        summary="Check a recipe and print the steps of its run.",
        implied=("--plan",),
        help="""
        Checks a recipe and prints the steps of its run, without running it. Writes nothing.

        Exit codes: 0 the recipe can be run, 2 the recipe or an argument is invalid.
        """,
    ),
    "diagnose": SubCommand(
        module="compress.diagnose",
        summary="Predict, before the hours of a run, whether the teacher will help the student.",
    ),
    "export": SubCommand(
        module="export.run", summary="Export any PyTorch network to files for phones, and verify every file."
    ),
    "check": SubCommand(
        module="export.run",
        summary="List operators of a network that a runtime would refuse, run slowly or run in float.",
        implied=("--check",),
        help="""
        Lists, from the graph of a network alone and before training, the operators that each runtime would
        refuse, run slowly or run in float, and alternatives. Writes nothing.

        Exit codes: 0 no operator would be refused; 2 an argument is invalid; 3 an operator would be refused.
        """,
    ),
    "bench": SubCommand(
        module="benchmarks.run",
        summary="Measure exported files: latency, memory, and accuracy on labelled clips.",
    ),
    "gate": SubCommand(
        module="compress.gate",
        summary="Compare a run with a baseline: accuracy, latency, size; stops regressions.",
    ),
    "compare": SubCommand(
        module="compress.report",
        summary="Compare two finished runs: top-1 on the same clips, latency, size, settings.",
    ),
    "classify": SubCommand(
        module="benchmarks.classify", summary="Classify whole videos with an exported file."
    ),
    "live": SubCommand(module="benchmarks.live", summary="Classify a camera or videos frame by frame."),
    "stream": SubCommand(
        module="benchmarks.streaming", summary="Measure the latency of a new frame of a stream."
    ),
    "browser-assets": SubCommand(
        module="benchmarks.browser.install", summary="Install the runtimes of the device browser."
    ),
}


def main() -> NoReturn:
    """Runs the subcommand named by the first argument, and exits with its code."""
    only_reads_arguments("__main__")
    given = sys.argv[1:]
    chosen = SUB_COMMANDS.get(given[0]) if given else None
    if chosen is None:
        sys.exit(_without_command(given))
    started_as(
        Invocation(words=(*_program(), given[0]), implied=chosen.implied, help=chosen.help),
    )
    sys.argv[1:] = [*chosen.implied, *given[1:]]
    _look_for_modules_here()
    runpy.run_module(chosen.module, run_name="__main__", alter_sys=True)
    raise RuntimeError(f"{chosen.module} did not exit")


def _without_command(given: list[str]) -> int:
    """Handles a command line without a subcommand: help, version or an error; returns the exit code."""
    from compress.command.terminal import (
        StandardOutputFailed,
        finish_output,
        prepare_streams,
        print_error,
        problems,
    )

    prepare_streams()
    name = shlex.join(_program())
    if not given:
        with suppress(OSError):
            problems().print(_help(name))
        return USAGE
    try:
        if given[0] in ("--help", "-h", "help"):
            print(_help(name))
        elif given[0] == "--version":
            print(f"{NAME} {__version__}")
        else:
            print_error(_unknown(given[0], name))
            return USAGE
        finish_output()
    except StandardOutputFailed as error:
        print_error(error)
        with suppress(OSError):
            finish_output()
        return FAILED
    return OK


def _help(name: str) -> str:
    width = max(map(len, SUB_COMMANDS)) + 2
    lines = (f"  {command:{width}}{row.summary}" for command, row in SUB_COMMANDS.items())
    return "\n".join(
        [
            f"Usage: {name} COMMAND [ARGUMENTS]",
            "",
            "Shrinks video and multimodal models until they run on phones and edge boards.",
            "",
            "Commands:",
            *lines,
            "",
            "Options:",
            f"  {'--version':{width}} Show the version and exit.",
            f"  {'--help':{width}} Show this message and exit.",
            "",
            f"{name} COMMAND --help shows the arguments of a command.",
        ]
    )


def _unknown(word: str, name: str) -> str:
    kind = "option" if word.startswith("-") else "command"
    known = ["--help", "--version"] if kind == "option" else list(SUB_COMMANDS)
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    return f"there is no {kind} {word!r}{meant}; known are {', '.join(known)}; see {name} --help"


def _program() -> tuple[str, ...]:
    """The part of the command line before the subcommand."""
    script = Path(sys.argv[0])
    if script.stem != NAME:  # python -m compress.cli
        return tuple(sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1])
    found = shutil.which(NAME)
    return (NAME,) if found and Path(found).resolve() == script.resolve() else (str(script),)


def _look_for_modules_here() -> None:
    """Puts the working directory on the module path, as `python -m` does, in place of the script's folder."""
    if sys.flags.safe_path or Path(sys.argv[0]).stem != NAME:
        return
    scripts = str(Path(sys.argv[0]).resolve().parent)
    sys.path[:] = [os.getcwd(), *(path for path in sys.path if path != scripts)]  # noqa: PTH109
    try:
        refuse_strangers()
    except ImportError as error:
        from compress.command.terminal import print_error

        print_error(error)
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
