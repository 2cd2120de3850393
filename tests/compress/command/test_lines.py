"""The summary of an exception: its first line, and the line of user code that raised it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

from compress.command.lines import at_line, first_line, is_library, line_of
from compress.command.user_code import UserCodeFailed, user_code
from export.capture.load_network import load_network

OWN = """import json
import torch

def passes(text):
    return json.loads(text)

def ends():
    raise SystemExit(3)

def multiplies():
    return torch.ones(2, 3) @ torch.ones(2, 3)
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return runpy.run_path(str(path))


@pytest.mark.parametrize(
    ("message", "said"), [("\n  why \nmore", "why"), ("", "no message"), (" \n ", "no message"), ("a", "a")]
)
def test_the_first_line_is_the_first_that_says_something(message, said):
    assert first_line(ValueError(message)) == said


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("passes", ("{",), "own.py:5 `return json.loads(text)`"),
        ("ends", (), "own.py:8 `raise SystemExit(3)`"),
        ("multiplies", (), "own.py:11 `return torch.ones(2, 3) @ torch.ones(2, 3)`"),
    ],
)
def test_the_line_is_the_users_not_that_of_a_library_it_calls(own, name, arguments, said):
    with pytest.raises(BaseException) as raised:
        own[name](*arguments)
    # The innermost line of the user's, of which this test is one, too, but further out.
    assert line_of(raised.value) == said
    assert at_line(raised.value) == f" ({said})"


def test_a_file_below_the_working_directory_is_told_with_its_folder(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(SystemExit) as raised:
        own["ends"]()
    assert line_of(raised.value) == f"{tmp_path.name}/own.py:8 `raise SystemExit(3)`"


def test_an_error_without_a_line_says_none():
    assert line_of(ValueError("why")) is None
    assert at_line(ValueError("why")) == ""


def test_libraries_are_torch_python_and_what_stands_around_networks():
    root = Path(__file__).resolve().parents[3]
    for file in (torch.__file__, json.__file__, root / "export" / "trial.py", root / "compress" / "run.py"):
        assert is_library(str(file))
    for file in (root / "models" / "movinet.py", __file__, "/home/me/net.py"):
        assert not is_library(str(file))


def test_both_ways_to_a_users_code_name_the_same_line(own, tmp_path):
    """What it raises as an exception, and what it raises as something else."""
    expected = r"as sys.exit\(\) does \(own.py:8 `raise SystemExit\(3\)`\)$"
    with pytest.raises(UserCodeFailed, match=expected), user_code("calling own"):
        own["ends"]()
    (tmp_path / "raising.py").write_text("def make():\n    raise KeyError\n")
    expected = r"failed with KeyError: no message \(raising.py:2 `raise KeyError`\)$"
    with pytest.raises(ValueError, match=expected):
        load_network(f"{tmp_path}/raising.py:make")
