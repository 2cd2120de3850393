"""Networks and teachers whose code exits, crashes, hangs or exhausts memory, through the real commands.

Most are forked off a process that has imported torch (`tests.commands`); one that crashes, one that eats memory and
one that leaves a process behind start as a user's do.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import run_command_line
from tests.compress.command.processes import MARK, left

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[3]
TINY = ROOT / "tests" / "recipes" / "tiny.yaml"
NETWORK = """
import ctypes, os, subprocess, sys, threading, time
import torch
from torch import nn

class Own(BaseException):
    pass

def forever():
    while True:
        time.sleep(0.1)

def eat():
    held = []
    while True:
        held.append(b"." * 50_000_000)

def act(where):
    if where == {where!r}:
        {what}

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Linear(3, classes)

    def forward(self, clip, *more):
        act("forward")
        return self.layer(clip.mean((2, 3, 4)))

def make():
    act("factory")
    return Net(4)

def teach(spec):
    act("factory")
    return Net(len(spec.labels[0].classes))

act("import")
"""

ENDS = {
    "exit 0": ("sys.exit(0)", 2, r"raised SystemExit\(0\), as sys.exit\(\) does"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", 2, "raised KeyboardInterrupt"),
    "GeneratorExit": ("raise GeneratorExit", 2, "raised GeneratorExit"),
    "own": ("raise Own('why')", 2, "raised Own: why"),
    "_exit 0": ("os._exit(0)", 3, "ended its process with exit code 0 and no result"),
    "abort": ("os.abort()", 3, "crashed its process with SIGABRT"),
    "segfault": ("ctypes.string_at(0)", 3, "crashed its process with SIGSEGV"),
    "forever": ("forever()", 3, "did not end within 2 s; --user-code-timeout sets the limit"),
    "memory": (
        "eat()",
        3,
        r"used \d\.\d GB of memory, more than the limit of 1\.5 GB; --user-code-memory sets",
    ),
}
PLACES = {"import": "importing '{net}'", "factory": "calling {net}:make", "forward": "of Net"}


@pytest.fixture
def command(tmp_path):
    """Runs a command of ours and gives exit code and what it printed; nothing that it started is left."""
    mark = f"{tmp_path}"

    def run(module: str, *arguments: object, anew: bool = False) -> tuple[int, str]:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}", "OMP_NUM_THREADS": "1", MARK: mark}
        words, environment = [module, *map(str, arguments)], {**environment, "COLUMNS": "200"}
        if anew:
            done = subprocess.run(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=300,
                check=False,
            )
        else:
            done = run_command_line(words, env=environment, timeout=300, stderr_to_stdout=True)
        assert "Traceback" not in done.stdout
        assert not left(mark)
        return done.returncode, done.stdout

    return run


def network(folder: Path, where: str, what: str) -> Path:
    path = folder / "hostile_net.py"
    path.write_text(NETWORK.format(where=where, what=what))
    return path


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("end", ENDS)
def test_exports(command, tmp_path, where, end):
    what, code, said = ENDS[end]
    net, out = network(tmp_path, where, what), tmp_path / "out"
    limits = {"forever": ("--user-code-timeout", 2), "memory": ("--user-code-memory", 1.5)}.get(end, ())
    shape = ("--shape", "1x3x2x8x8", "--formats", "onnx", "--out", out)
    anew = (where, end) in (("factory", "abort"), ("forward", "memory"))
    found, printed = command("export.run", f"{net}:make", *shape, *limits, anew=anew)
    assert found == code, printed
    assert re.search(f"{re.escape(PLACES[where].format(net=net))} {said}", printed), printed
    assert not (out / "manifest.json").exists()


@pytest.mark.parametrize("where, end", [("import", "exit 0"), ("factory", "segfault"), ("forward", "exit 0")])
def test_checks(command, tmp_path, where, end):
    what, code, said = ENDS[end]
    net = network(tmp_path, where, what)
    found, printed = command("export.run", f"{net}:make", "--shape", "1x3x2x8x8", "--check")
    assert found == code, printed
    assert re.search(said, printed), printed


@pytest.mark.parametrize(
    "where, end",
    [
        *[("import", end) for end in ("exit 0", "KeyboardInterrupt", "_exit 0", "abort")],
        *[("factory", end) for end in ("exit 0", "own", "segfault", "forever", "memory")],
        *[("forward", end) for end in ("exit 0", "GeneratorExit", "_exit 0", "segfault", "forever")],
    ],
)
def test_teachers(command, tmp_path, where, end):
    what, code, said = ENDS[end]
    out = tmp_path / "out"
    found, printed = command("compress.run", *recipe(tmp_path, where, what), "--out", out, *limits_of(end))
    assert found == code, printed
    name = {"import": "importing 'hostile_net'", "factory": "calling factory 'hostile_net:teach'"}
    assert re.search(f"{re.escape(name.get(where, 'of Net'))}.* {said}", printed), printed
    assert not (out / "report.json").exists() and not (out / "export").exists()
    assert not (tmp_path / "cache" / "decoded").exists(), "it is tried before clips are decoded"


@pytest.mark.parametrize("where, end", [("factory", "own"), ("forward", "segfault"), ("forward", "forever")])
def test_teachers_are_tried_by_a_plan(command, tmp_path, where, end):
    what, code, said = ENDS[end]
    arguments = (*recipe(tmp_path, where, what), "--out", tmp_path / "out", *limits_of(end))
    found, printed = command("compress.run", *arguments, "--plan")
    assert found == code and re.search(said, printed), printed
    assert not (tmp_path / "cache").exists() and not (tmp_path / "out").exists()


def recipe(folder: Path, where: str, what: str) -> list[object]:
    """The arguments of a run whose teacher is the network of this file."""
    import torch

    network(folder, where, what)
    torch.save({"layer.weight": torch.zeros(8, 3), "layer.bias": torch.zeros(8)}, folder / "net.pt")
    teacher = f"teacher={{factory: 'hostile_net:teach', weights: '{folder / 'net.pt'}', inputs: [clip]}}"
    plain = ["clip.audio=null", "clip.text=null", "student.network=mobilenet3d"]
    return [TINY, "--cache", folder / "cache", *(one for s in (teacher, *plain) for one in ("--set", s))]


def limits_of(end: str) -> tuple[object, ...]:
    return {"forever": ("--user-code-timeout", 2), "memory": ("--user-code-memory", 1.5)}.get(end, ())


@pytest.mark.parametrize(
    "what",
    [
        "threading.Thread(target=forever).start()",
        "subprocess.Popen(['sleep', '1000'])",
        "subprocess.Popen(['sleep', '1000'], start_new_session=True)",
    ],
)
def test_what_a_network_leaves_running_ends_with_the_command(command, tmp_path, what):
    net = network(tmp_path, "factory", what)
    began = time.monotonic()
    shape = ("--shape", "1x3x2x8x8", "--formats", "onnx")
    anew = "start_new_session" in what
    code, printed = command("export.run", f"{net}:make", *shape, "--out", tmp_path / "out", anew=anew)
    assert code == 0, printed
    assert time.monotonic() - began < 120
    assert (tmp_path / "out" / "onnx" / "fp32" / "model.onnx").is_file()
