"""How commands end: exit codes, messages, streams, and no remaining processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from compress.command import interrupts
from compress.command.lifetime import how_it_ended, memory_limit_bytes
from compress.command.user_code import UserCodeFailed, user_code

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
COMMAND = """
import os, signal, subprocess, sys, threading, time
from pathlib import Path
import typer
from compress.command.guard import exit_codes, run_command
from compress.command.json_output import json_alone
from compress.command.supervise import Resume
from compress.command.terminal import headed, output
from compress.command.user_code import set_limits, user_code

def main(what: str, seconds: float = 60.0, gigabytes: float = 8.0):
    set_limits(seconds=seconds, gigabytes=gigabytes)
    with exit_codes(failed=(RuntimeError,)):
        exec(what)

if __name__ == "__main__":
    run_command(main, resume=Resume(says="the same command goes on", without=("--fresh",)))
"""


@pytest.fixture
def command(tmp_path):
    """Starts a command that performs its argument."""
    script = tmp_path / "command.py"
    script.write_text(COMMAND)

    def start(what: str, *more: str, **settings: object) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
        environment.update(settings.pop("environment", {}))
        settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
        return subprocess.Popen(
            [sys.executable, str(script), what, *more], text=True, env=environment, **settings
        )

    return start


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, problems = process.communicate(timeout=120)
    assert "Traceback" not in (out or "") + problems
    return process.returncode, out, problems


@pytest.mark.parametrize(
    "what, code, said",
    [
        ("output().print('[/x] :smile: [bold]')", 0, ""),
        ("raise typer.Exit(1)", 1, ""),
        ("raise ValueError('[/x] is wrong')", 2, "error: [/x] is wrong\n"),
        ("open('/nowhere/x')", 2, "error: /nowhere/x: No such file or directory\n"),
        ("open('/')", 2, "error: /: Is a directory\n"),
        ("raise RuntimeError('the stage failed')", 3, "error: the stage failed\n"),
        ("raise MemoryError", 3, "error: not enough memory: no message\n"),
        ("raise OSError(28, 'No space left on device')", 3, "No space left on device"),
        (
            "os._exit(0)",
            3,
            "error: the command ended its process with exit code 0 and no result; the same command",
        ),
        (
            "os.kill(os.getpid(), 9)",
            3,
            "error: the command was killed (SIGKILL), usually because memory ran out; the",
        ),
        (
            "os.kill(os.getpid(), 11)",
            3,
            "error: the command crashed its process with SIGSEGV; the same command goes",
        ),
        (
            "raise ZeroDivisionError('a\\nb')",
            70,
            "error: unexpected ZeroDivisionError: a; please report it with",
        ),
        ("sys.exit(0)", 70, "error: unexpected SystemExit: 0; please report it with the traceback in"),
        (
            "raise KeyboardInterrupt",
            70,
            "error: unexpected RuntimeError: KeyboardInterrupt without Ctrl-C; please",
        ),
        ("raise EOFError('short')", 70, "error: unexpected EOFError: short"),
    ],
)
def test_every_end_has_its_code_and_sentence(command, what, code, said):
    found, out, problems = ended(command(what))
    assert (found, said in problems) == (code, True), problems
    if code == 0:
        assert out == "[/x] :smile: [bold]\n"


@pytest.mark.parametrize(
    "what, code, said",
    [
        ("sys.exit(0)", 2, "error: calling a.py:net raised SystemExit(0), as sys.exit() does"),
        ("sys.exit()", 2, "error: calling a.py:net raised SystemExit(None), as sys.exit() does"),
        ("raise GeneratorExit", 2, "error: calling a.py:net raised GeneratorExit"),
        ("raise KeyboardInterrupt", 2, "error: calling a.py:net raised KeyboardInterrupt"),
        ("raise type('Own', (BaseException,), {})('why')", 2, "error: calling a.py:net raised Own: why"),
        ("os._exit(0)", 3, "error: calling a.py:net ended its process with exit code 0 and no result\n"),
        ("os.abort()", 3, "error: calling a.py:net crashed its process with SIGABRT\n"),
        (
            "while True: pass",
            3,
            "calling a.py:net did not end within 1 s; --user-code-timeout sets the limit\n",
        ),
        ("x = []\n  while True: x.append(b'.' * 50_000_000)", 3, "error: calling a.py:net used "),
    ],
)
def test_code_of_users_is_named(command, what, code, said):
    limits = ["--gigabytes", "0.5"] if "append" in what else ["--seconds", "1"] if "while" in what else []
    found, _, problems = ended(command(f"with user_code('calling a.py:net'):\n  {what}", *limits))
    assert (found, said in problems) == (code, True), problems


def test_the_traceback_of_an_unexpected_error_is_in_the_file_that_the_sentence_names(command, tmp_path):
    _, _, problems = ended(command("1 / 0"))
    path = Path(problems.strip().rpartition(" in ")[2])
    assert path.parent == tmp_path
    assert "ZeroDivisionError: division by zero" in path.read_text()


def test_a_traceback_goes_into_the_folder_of_the_command(command, tmp_path):
    (tmp_path / "own").mkdir()
    what = f"from compress.command.guard import keep_tracebacks_in as k\nk(Path({str(tmp_path / 'own')!r}))\n1 / 0"
    _, _, problems = ended(command(what))
    assert f"traceback in {tmp_path}/own/.pocketreel.traceback-" in problems


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("arguments", [["print('x')"], ["output().print('x' * 10**6)"], ["--help"]])
def test_a_full_device_at_standard_output_is_a_failure(command, arguments):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        code, _, problems = ended(command(*arguments, stdout=full))
    assert (code, "standard output cannot be written to: No space left on device" in problems) == (3, True)


@pytest.mark.parametrize("what", ["print('x' * 10**6)", "output().print('x' * 10**6)"])
def test_a_reader_that_went_away_is_a_failure_and_no_gate(command, what):
    reading, writing = os.pipe()
    os.close(reading)
    process = command(what, stdout=writing)
    os.close(writing)
    code, _, problems = ended(process)
    assert (code, "standard output cannot be written to: Broken pipe" in problems) == (3, True)


def test_json_stands_alone_on_standard_output(command):
    what = (
        "write = json_alone(True)\nprint('by the command')\nos.write(1, b'by a library\\n')\n"
        "subprocess.run(['echo', 'by a child'])\nwrite({'path': 'caf\\udce9'})"
    )
    code, out, problems = ended(command(what))
    assert (code, out) == (0, '{\n  "path": "caf\\udce9"\n}\n'), problems
    assert sorted(problems.splitlines()) == ["by a child", "by a library", "by the command"]


def test_every_character_can_be_printed(command):
    plain = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    code, out, problems = ended(command(r"output().print('\udc80 \u00e9 ok')", environment=plain))
    assert (code, out) == (0, "\\udc80 \\xe9 ok\n"), problems


def test_closed_streams_do_not_take_the_numbers_of_files(command, tmp_path):
    what = f"print('lost')\nPath({str(tmp_path / 'file')!r}).write_text('kept')\nos.write(1, b'lost')"
    process = command(what, stdout=None, preexec_fn=lambda: os.close(1))
    assert process.wait(60) == 0, process.stderr.read()
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    "what", ["time.sleep(60)", "while True: pass", "signal.pthread_sigmask(0, [2, 15]);time.sleep(60)"]
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_ends_within_two_seconds_of_being_asked_to(command, what, number):
    what = f"print('begun', flush=True)\n{what}"
    process = command(what)
    assert process.stdout.readline() == "begun\n"
    family = psutil.Process(process.pid).children(recursive=True)
    asked = time.monotonic()
    process.send_signal(number)
    code, _, problems = ended_soon(process)
    assert code == 130
    assert problems.startswith(f"stopped; the same command goes on: {sys.executable} ")
    assert time.monotonic() - asked < 4  # 2 s where nothing else runs
    assert not left_of(family)


def ended_soon(process):
    code = process.wait(60)
    return code, "", process.stderr.readline()


def left_of(family: list[psutil.Process]) -> list[psutil.Process]:
    """The processes that are still there after a while."""
    _, alive = psutil.wait_procs(family, timeout=10)
    return [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def test_the_work_ends_with_the_process_that_watches_it(command):
    process = command("print('begun', flush=True)\nwhile True: pass")
    assert process.stdout.readline() == "begun\n"
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) == 1
    process.kill()
    assert not left_of(family)


def test_the_watching_process_imports_nothing_large(command):
    process = command("import torch; print('begun', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "begun\n"
    held = psutil.Process(process.pid).memory_info().rss
    process.kill()
    assert held < 120e6


def test_errors_of_user_code_pass_and_everything_else_becomes_one():
    with pytest.raises(KeyError, match="x"), user_code("it"):
        raise KeyError("x")
    with (
        pytest.raises(
            UserCodeFailed, match=r"^it raised SystemExit\(3\), as sys.exit\(\) does \(.*test_guard"
        ),
        user_code("it"),
    ):
        sys.exit(3)
    with pytest.raises(UserCodeFailed, match=r"^it raised KeyboardInterrupt"), user_code("it"):
        raise KeyboardInterrupt


def test_ctrl_c_in_user_code_stays_ctrl_c():
    # Whoever runs the tests in the background may have had SIGINT ignored.
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), user_code("it"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, outside)
    assert interrupts.stop_requested()


def test_how_processes_end():
    assert how_it_ended(-9) == "was killed (SIGKILL), usually because memory ran out"
    assert how_it_ended(-40) == "crashed its process with signal 40"
    assert how_it_ended(0) == "ended its process with exit code 0 and no result"


def test_the_memory_limit_is_a_share_of_the_machine():
    assert 0 < memory_limit_bytes() <= 0.75 * psutil.virtual_memory().total


@pytest.mark.parametrize("option", ["--seconds", "--gigabytes"])
def test_what_is_not_a_number_is_refused_and_infinity_is_no_limit(command, option):
    code, _, problems = ended(command("print(1)", option, "nan"))
    assert (code, problems) == (2, f"error: {option} is nan: give a number\n")
    code, out, _ = ended(command("print(1)", option, "inf"))
    assert (code, out) == (0, "1\n")
    code, out, _ = ended(command("with user_code('counting'): print(1)", option, "1" + "0" * 400))
    assert (code, out) == (0, "1\n")
