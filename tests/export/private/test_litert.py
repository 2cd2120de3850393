"""Private APIs of LiteRT exist. `tests/export/verify/coverage` compares their results with files."""

from __future__ import annotations

import pytest

from export.private import litert as insides
from tests.insides import check

pytest.importorskip("ai_edge_litert.interpreter")


def test_this_litert_is_the_one_that_it_was_written_for():
    check(insides)
