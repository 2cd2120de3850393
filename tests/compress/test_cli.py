"""The console command `pocketreel`: names, help, and the same work as `python -m` does."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from compress import __version__
from compress.cli import NAME, SUB_COMMANDS
from tests.compress.command.test_startup import COMMANDS, ask

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "recipes" / "tiny.yaml"
SCRIPT = f"#!{sys.executable}\nimport sys\nfrom compress.cli import main\nsys.exit(main())\n"
"""As pip writes it for the entry point."""
NETWORK = """
from torch import nn

print("printed by a user's module")


def make():
    return nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
"""


def test_the_page_of_commands_lists_all_of_them():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert [name for name in SUB_COMMANDS if f"\n{NAME} {name} " not in page] == []


@pytest.fixture
def pocketreel(tmp_path):
    """Starts the console command in a folder of the user's."""
    script = tmp_path / "bin" / NAME
    script.parent.mkdir()
    script.write_text(SCRIPT)
    script.chmod(0o755)
    (tmp_path / "work").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{script.parent}{os.pathsep}{environment['PATH']}"

    def start(*arguments: object, **settings: object) -> subprocess.Popen[str]:
        settings = {
            "cwd": tmp_path / "work",
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **settings,
        }
        return subprocess.Popen([NAME, *map(str, arguments)], text=True, env=environment, **settings)

    return start


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, problems = process.communicate(timeout=300)
    return process.returncode, out, problems


def test_the_entry_point_names_a_function_that_exists():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts[NAME].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_every_sub_command_is_a_command():
    assert {row.module for row in SUB_COMMANDS.values()} <= set(COMMANDS)


def test_help_and_version(pocketreel):
    code, out, problems = ended(pocketreel("--help"))
    assert (code, problems) == (0, "")
    assert out.startswith(f"Usage: {NAME} COMMAND")
    assert all(f"\n  {name} " in out for name in SUB_COMMANDS)
    assert ended(pocketreel("--version")) == (0, f"{NAME} {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "Usage: pocketreel COMMAND"),
        (["exprot"], "error: there is no command 'exprot' (did you mean 'export'?); known are run, plan, "),
        (
            ["--verison"],
            "error: there is no option '--verison' (did you mean '--version'?); known are --help, ",
        ),
        (["qqq"], "error: there is no command 'qqq'; known are run"),
        (["run"], "error: Missing argument 'RECIPE'; see pocketreel run --help\n"),
        (
            ["run", TINY, "--fresch"],
            "error: No such option: --fresch (Possible options: --fresh); see pocketreel run",
        ),
        (
            ["run", TINY, "--device", "cpu"],
            "error: No such option: --device; it is now --train-device; see",
        ),
        (["plan", TINY, "--set", "sed=1"], "sed: unknown section"),
    ],
)
def test_what_is_wrong_is_said_with_exit_code_2(pocketreel, arguments, said):
    code, out, problems = ended(pocketreel(*arguments))
    assert (code, out) == (2, "")
    assert said in problems


@pytest.mark.parametrize("name", SUB_COMMANDS)
def test_the_help_of_a_sub_command_names_it_and_imports_nothing_large(name):
    code, said, large = ask("compress.cli", name, "--help")
    assert (code, large) == (0, "[]"), said
    assert f" {name} [OPTIONS]" in " ".join(said.split()) and "Exit codes" in said
    for option in SUB_COMMANDS[name].implied:
        assert f"{option} " not in said


def test_a_full_device_at_standard_output_is_a_failure(pocketreel):
    if not Path("/dev/full").exists():
        pytest.skip("the system has no device that is always full")
    with open("/dev/full", "w") as full:  # noqa: PTH123
        code, _, problems = ended(pocketreel("--help", stdout=full))
    assert (code, "standard output cannot be written to: No space left" in problems) == (3, True)


def test_a_plan_as_json_stands_alone_on_standard_output(pocketreel):
    code, out, problems = ended(pocketreel("plan", TINY, "--json"))
    assert code == 0, problems
    assert [step["name"] for step in json.loads(out)["steps"]][:3] == ["clips", "teacher", "student"]
    assert "Plan of tiny" in problems


def test_modules_are_found_from_the_working_directory_and_what_they_print_is_no_json(pocketreel, tmp_path):
    (tmp_path / "work" / "my_net.py").write_text(NETWORK)
    code, out, problems = ended(pocketreel("check", "my_net:make", "--shape", "1x3x4x16x16", "--json"))
    assert code == 0, problems
    assert json.loads(out)["refused"] is False
    assert "printed by a user's module" in problems


def test_a_strangers_package_in_the_working_directory_is_refused(pocketreel, tmp_path):
    (tmp_path / "work" / "models").mkdir()
    (tmp_path / "work" / "models" / "__init__.py").touch()
    code, _, problems = ended(pocketreel("run", TINY))
    assert code == 2
    assert problems.startswith("error: Pocketreel needs its own package 'models'")


def test_ctrl_c_gives_the_command_that_resumes(pocketreel):
    process = pocketreel("run", TINY, "--fresh", "--out", "my run")
    for line in process.stdout:
        if "Plan of tiny" in line:
            break
    process.send_signal(signal.SIGINT)
    code, _, problems = ended(process)
    again = shlex.join([NAME, "run", str(TINY), "--out", "my run"])
    assert (code, problems) == (130, f"stopped; resume with: {again}\n")
