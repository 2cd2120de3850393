from pathlib import Path

from export.coverage.places import place_of

TRACE = """File "{file}", line 12, in forward
    y = self.lstm(x)
"""


def test_a_place_is_relative_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        place_of(TRACE.format(file=Path.cwd() / "nets" / "mine.py")) == "nets/mine.py:12 `y = self.lstm(x)`"
    )


def test_a_place_outside_of_it_tells_nothing_about_the_machine(tmp_path):
    assert place_of(TRACE.format(file=tmp_path / "mine.py")) == "mine.py:12 `y = self.lstm(x)`"


def test_generated_code_is_no_place():
    assert place_of(None) is None
    assert place_of(TRACE.format(file="<eval_with_key>.134")) is None
