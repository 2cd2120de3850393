"""`pocketreel gate`, as a user starts it, and the fixture of pytest."""

from __future__ import annotations

import json
import os
from xml.etree import ElementTree as XML

import pytest

from tests.commands import run_command_line
from tests.measured_runs import logits_of, truth_of, write_run

pytest_plugins = ["pytester"]

TRUTH = truth_of(300)
GOOD = {"onnx.w8a8": logits_of(TRUTH, range(30))}
LOST = {"onnx.w8a8": logits_of(TRUTH, range(60))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, an equal one, a worse one, and the baseline of the first."""
    folder = tmp_path_factory.mktemp("gate")
    for name, answers in (("good", GOOD), ("again", GOOD), ("lost", LOST)):
        write_run(folder / name, answers, clips=300)
    done = gate("good", "--baseline", "baseline", "--update-baseline", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "baseline written to baseline: onnx.w8a8; answers to 300 clips" in done.stdout
    return folder


def gate(*arguments, cwd, **environment):
    environment = {**os.environ, "COLUMNS": "200", **environment}
    return run_command_line(["compress.gate", *arguments], cwd=cwd, env=environment)


def test_an_equal_run_passes(folder):
    done = gate("again/report.json", "--baseline", "baseline", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("baseline of 20") and lines[0].endswith(": 300 clips")
    assert "the smallest drop of top-1 that is found with probability 0.8" in lines[1]
    assert lines[-1] == "gates: 4 pass, 0 fail, 0 inconclusive"


def test_a_regression_exits_with_1_everywhere(folder, tmp_path):
    done = gate(
        *("lost", "--baseline", "baseline", "--junit", tmp_path / "gates.xml", "--github", "--json"),
        cwd=folder,
        GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"),
    )
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["passed"] is False and len(document["outcomes"]) == 4
    (failed,) = [one for one in document["outcomes"] if one["verdict"] == "fail"]
    assert failed["figure"] == "files.onnx.w8a8.label" and len(failed["flips"]) == 30
    assert "fail: gates.0.accuracy, files.onnx.w8a8.label: top-1 90.0% -> 80.0%" in done.stderr
    assert "and 20 more clips; --json lists all" in done.stderr
    assert "::error title=files.onnx.w8a8.label%3A fail::top-1 90.0%25" in done.stderr
    assert len(list(XML.parse(tmp_path / "gates.xml").getroot().iter("failure"))) == 1
    assert (tmp_path / "summary.md").read_text().startswith("## Gates failed")


def test_settings_are_read_and_their_faults_are_reported(folder, tmp_path):
    (tmp_path / "gates.yaml").write_text("gates:\n  - accuracy: {max_drop_pp: 15}\n")
    done = gate("lost", "--baseline", "baseline", "--config", tmp_path / "gates.yaml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "gates.yaml").write_text("gates:\n  - accuracy: {max_drop: 15}\n  - speed: {}\n")
    done = gate("lost", "--baseline", "baseline", "--config", tmp_path / "gates.yaml", cwd=folder)
    assert done.returncode == 2
    assert "gates.0.accuracy.max_drop (line 2): unknown key; did you mean 'max_drop_pp'?" in done.stderr
    assert (
        "gates.1.speed (line 3): unknown key; allowed: accuracy, cross_entropy, margin, latency"
        in done.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good", "--baseline", "nowhere"], "write one from a run that you trust with --update-baseline"),
        (["nowhere", "--baseline", "baseline"], "give the folder of a finished run"),
        (["good", "--baseline", "baseline", "--github"], "GITHUB_STEP_SUMMARY is not set"),
        (
            ["good", "--baseline", "baseline", "--update-baseline", "--github"],
            "--update-baseline compares nothing: give it without --junit and --github",
        ),
        (["good", "--baseline", "good", "--update-baseline"], "files that are not a baseline"),
        (
            ["good", "--baseline", "baseline", "--junit", "good/report.json"],
            "was not written by this command",
        ),
    ],
)
def test_wrong_arguments_exit_with_2(folder, arguments, message):
    done = gate(*arguments, cwd=folder, GITHUB_STEP_SUMMARY="")
    assert done.returncode == 2 and message in done.stderr, done.stderr


def test_the_fixture_fails_a_test_with_the_reasons(folder, pytester):
    pytester.makeconftest('pytest_plugins = ["compress.testing"]')
    pytester.makepyfile(
        f"""
        def test_same(assert_no_regression):
            judgement = assert_no_regression({str(folder / "again")!r}, baseline={str(folder / "baseline")!r})
            assert judgement.passed

        def test_lost(assert_no_regression):
            assert_no_regression({str(folder / "lost")!r}, baseline={str(folder / "baseline")!r})
        """
    )
    found = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    found.assert_outcomes(passed=1, failed=1)
    found.stdout.fnmatch_lines(
        [
            "*AssertionError: 3 pass, 1 fail, 0 inconclusive",
            "*fail: gates.0.accuracy, files.onnx.w8a8.label: top-1 90.0% -> 80.0%*",
            "*0030.mp4: a -> b (was right)",
        ]
    )
