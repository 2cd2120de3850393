"""`gates.yaml`: its defaults, and all faults at once."""

from __future__ import annotations

import pytest

from compress.gating.settings import AccuracyGate, GateSettings, fraction, read_settings
from compress.recipe.faults import RecipeError


def faults(tmp_path, text):
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        read_settings(path)
    return str(caught.value)


def test_defaults_need_no_file():
    settings = read_settings(None)
    assert [gate.kind for gate in settings.gates] == ["accuracy", "latency", "figure", "figure"]
    assert (settings.alpha, settings.power, settings.inconclusive) == (0.05, 0.8, "fail")


@pytest.mark.parametrize(("given", "excluded"), [({}, 2), ({"max_drop_pp": 1}, 1), ({"detect_pp": 3}, 3)])
def test_the_drop_that_must_be_excluded(given, excluded):
    assert AccuracyGate(**given).excluded_pp == excluded


def test_shares_are_written_in_percent():
    assert fraction("5 %") == 0.05 and fraction("0.5%") == 0.005


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("accuracy: {max_drop_pp: 1, detect_pp: 0.5}", "detect_pp must be above 0, and at least max_drop_pp"),
        ("cross_entropy: {detect: 0}", "detect must be at least max_increase"),
        ("margin: {detect: 0}", "detect must be at least max_decrease"),
        ("latency: {looks: 5}", r"gates.0.latency.looks \(line 2\).*at most 4"),
        ("latency: {device: fridge}", "device 'fridge' is unknown; allowed: host"),
        ("figure: {path: a}", "a figure needs a limit: max_increase or max_decrease"),
        ("acuracy: {}", "unknown key; did you mean 'accuracy'"),
        ("{accuracy: {}, latency: {}}", "a gate is a mapping with one kind and its settings"),
        ("{}", "a gate is a mapping with one kind and its settings"),
    ],
)
def test_faults_say_where_and_what_is_allowed(tmp_path, gate, message):
    import re

    text = faults(tmp_path, f"gates:\n  - {gate}\n")
    assert re.search(message, text), text


def test_all_faults_are_reported_at_once(tmp_path):
    text = faults(tmp_path, "alpha: 2\ngates:\n  - accuracy: {max_drop_pp: -1}\n  - {}\n")
    assert "3 faults" in text and "alpha (line 1)" in text


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match="no such file"):
        read_settings(tmp_path / "gates.yaml")


def test_a_file_without_gates_has_the_defaults(tmp_path):
    (tmp_path / "gates.yaml").write_text("inconclusive: pass\n")
    settings = read_settings(tmp_path / "gates.yaml")
    assert settings == GateSettings(inconclusive="pass") and len(settings.gates) == 4
