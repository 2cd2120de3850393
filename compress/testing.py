"""A fixture of pytest that fails a test for a regression.

In `conftest.py`:

    pytest_plugins = ["compress.testing"]

In a test:

    def test_the_files_are_as_good_as_before(assert_no_regression):
        assert_no_regression("out/my_recipe", baseline="baselines/main")
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compress.gating.baseline import read_baseline
from compress.gating.compare import compare
from compress.gating.measured import read_measured, run_folder_of
from compress.gating.settings import read_settings
from compress.gating.verdict import Judgement

AssertNoRegression = Callable[..., Judgement]


@pytest.fixture
def assert_no_regression() -> AssertNoRegression:
    """The function `no_regression`."""
    return no_regression


def no_regression(run: str | Path, *, baseline: str | Path, config: str | Path | None = None) -> Judgement:
    """Compares a run with a baseline as `pocketreel gate` does, and returns the outcomes.

    Raises AssertionError with every outcome that stops the change, what would decide it, and the clips that
    changed. Raises ValueError and FileNotFoundError as the command.
    """
    __tracebackhide__ = True
    settings = read_settings(None if config is None else Path(config))
    earlier, _ = read_baseline(Path(baseline))
    judgement = compare(read_measured(run_folder_of(Path(run))), earlier, settings)
    if not judgement.passed:
        raise AssertionError("\n".join([judgement.headline(), *_reasons(judgement)]))
    return judgement


def _reasons(judgement: Judgement) -> list[str]:
    lines = []
    for outcome in judgement.in_order():
        if judgement.stops(outcome):
            lines.append(f"{outcome.verdict}: {outcome.gate}, {outcome.figure}: {outcome.reason}")
            if outcome.needed is not None:
                lines.append(f"  would decide: {outcome.needed}")
            lines += [f"  {flip}" for flip in outcome.flips]
    return lines
