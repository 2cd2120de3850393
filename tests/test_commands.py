"""Commands forked off a warm process behave as commands that Python starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import FORKS, run_command_line, start_command_line
from tests.warm import BACKENDS, ROOT

pytestmark = pytest.mark.skipif(not FORKS, reason="processes are forked on Linux alone")

ODD = """
import json, os, signal, sys, tempfile

def out(what):
    sys.stdout.write(what)

what = sys.argv[1]
if what == "tell":
    loaded = sorted(name for name in sys.modules if "." not in name)
    told = {"folder": os.getcwd(), "arguments": sys.argv[1:], "path": sys.path, "name": __name__, "loaded": loaded}
    told |= {"mine": os.environ.get("MINE"), "input": sys.stdin.read(), "temporary": tempfile.gettempdir()}
    told |= {"descriptors": sorted(os.listdir("/dev/fd"))}
    told |= {"interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler}
    out(json.dumps(told))
elif what == "both":
    out("one ")
    sys.stdout.flush()
    sys.stderr.write("two ")
    sys.stderr.flush()
    out("three")
elif what == "exit":
    sys.exit(int(sys.argv[2]))
elif what == "raise":
    raise ValueError("why")
elif what == "kill":
    os.kill(os.getpid(), signal.SIGSEGV)
elif what == "wait":
    import time
    try:
        time.sleep(100)
    except KeyboardInterrupt:
        sys.exit(7)
elif what == "leave":
    import subprocess
    subprocess.Popen(["sleep", "1000"])
"""


@pytest.fixture
def module(tmp_path) -> Path:
    """The folder of a module that is no command of ours."""
    (tmp_path / "odd_command.py").write_text(ODD)
    return tmp_path


def both(folder: Path, *words: str, merged: bool = False) -> list[subprocess.CompletedProcess[str]]:
    """A command as it is forked, and as Python starts it."""
    environment = {**os.environ, "MINE": "mine", "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    forked = run_command_line(["odd_command", *words], cwd=folder, env=environment, stderr_to_stdout=merged)
    started = subprocess.run(
        [sys.executable, "-m", "odd_command", *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        text=True,
        check=False,
    )
    return [forked, started]


def test_it_finds_the_same_surroundings(module):
    forked, started = (json.loads(one.stdout) for one in both(module, "tell", "a b", "--c"))
    loaded, needed = (set(one.pop("loaded")) for one in (forked, started))
    assert forked == started
    assert needed <= loaded and "torch" in loaded
    assert not loaded & {*BACKENDS}, "which no command imports itself"


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("words", [("both",), ("exit", "5"), ("raise",), ("kill",)])
def test_it_ends_and_prints_as_the_other(module, words, merged):
    forked, started = both(module, *words, merged=merged)
    assert forked.returncode == started.returncode
    assert forked.stdout.splitlines()[-1:] == started.stdout.splitlines()[-1:]
    assert (forked.stderr or "").splitlines()[-1:] == (started.stderr or "").splitlines()[-1:]


@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="a background job of a shell ignores SIGINT"
)
def test_signals_reach_it(module):
    for number, code in (
        (signal.SIGINT, 7),
        (signal.SIGTERM, -signal.SIGTERM),
        (signal.SIGKILL, -signal.SIGKILL),
    ):
        process = start_command_line(["odd_command", "wait"], cwd=module)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(20) == code and not process.left


def test_what_it_leaves_behind_is_told_and_ended(module):
    with pytest.raises(AssertionError, match=r"left processes behind: .'sleep 1000'"):
        run_command_line(["odd_command", "leave"], cwd=module)


def test_a_library_that_is_hidden_is_hidden(module):
    """Where the search path has another module of a name that is loaded already, Python starts anew."""
    hidden = module / "hidden" / "torch"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('hidden')")
    environment = {**os.environ, "PYTHONPATH": f"{hidden.parent}{os.pathsep}{ROOT}", "COLUMNS": "200"}
    done = run_command_line(["compress.run", ROOT / "tests/recipes/tiny.yaml", "--plan"], env=environment)
    assert done.returncode != 0 and "hidden" in done.stderr
