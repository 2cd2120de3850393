"""The workflows, settings and tests in docs/gates.md work as written."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree as XML

import pytest
import yaml

from compress.cli import SUB_COMMANDS
from compress.gating.settings import read_settings
from tests.commands import run_command_line
from tests.measured_runs import logits_of, truth_of, write_run

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "gates.md").read_text()


def block(language, name):
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    (found,) = (text for text in blocks if text.startswith(f"# {name}\n"))
    return found


def commands(lines):
    """The commands of Pocketreel among the lines of a script, by subcommand."""
    words = [shlex.split(line) for line in lines]
    return {line[1]: line[2:] for line in words if line[0] == "pocketreel"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The folder of a project with a run, its baseline and the settings of the page."""
    folder = tmp_path_factory.mktemp("project")
    answers = {
        "onnx.fp32": logits_of(truth_of(400), range(9)),
        "onnx.w8a8": logits_of(truth_of(400), range(12)),
    }
    write_run(folder / "out" / "my_recipe", answers, clips=400)
    (folder / "gates.yaml").write_text(block("yaml", "gates.yaml"))
    updating = next(line for line in PAGE.splitlines() if "--update-baseline  " in line)
    assert run(shlex.split(updating.partition("#")[0])[2:], folder).returncode == 0
    return folder


def run(arguments, folder, **environment):
    return run_command_line(["compress.gate", *arguments], cwd=folder, env={**os.environ, **environment})


def github():
    workflow = yaml.safe_load(block("yaml", ".github/workflows/gates.yml"))
    assert workflow[True] == "pull_request" and workflow["permissions"] == {"contents": "read"}
    return workflow["jobs"]["gates"]["steps"]


def gitlab():
    return yaml.safe_load(block("yaml", ".gitlab-ci.yml"))["gates"]


def test_the_settings_of_the_page_are_valid(project):
    kinds = [gate.kind for gate in read_settings(project / "gates.yaml").gates]
    assert kinds == ["accuracy", "accuracy", "cross_entropy", "latency", "figure", "figure", "figure"]


def test_the_workflow_of_github_passes_and_leaves_what_it_uploads(project):
    steps = github()
    found = commands(step["run"] for step in steps if "run" in step)
    assert list(found) == ["run", "gate"] and set(found) <= set(SUB_COMMANDS)
    summary = project / "summary.md"
    done = run(found["gate"], project, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 0, done.stdout + done.stderr
    assert summary.read_text().startswith("## Gates passed")
    upload = next(step for step in steps if "upload-artifact" in step.get("uses", ""))
    assert upload["if"] == "always()" and "gates.xml" in upload["with"]["path"].split()
    assert (project / "gates.xml").is_file()


def test_the_job_of_gitlab_passes_and_reports_its_tests(project):
    job = gitlab()
    found = commands(job["script"])
    assert list(found) == ["run", "gate"]
    done = run(found["gate"], project)
    assert done.returncode == 0, done.stdout + done.stderr
    document = XML.parse(project / job["artifacts"]["reports"]["junit"]).getroot()
    assert len(list(document.iter("testcase"))) == 13 and not list(document.iter("failure"))


def test_the_test_of_the_page_passes(project, pytester, monkeypatch):
    monkeypatch.chdir(project)
    pytester.makeconftest(block("python", "conftest.py"))
    path = pytester.makepyfile(test_files=block("python", "test_files.py"))
    monkeypatch.chdir(project)
    pytester.runpytest_inprocess(path, "-p", "no:cacheprovider", "-p", "no:xdist").assert_outcomes(passed=1)
