"""Private APIs of LiteRT's interpreter exist."""

from __future__ import annotations

import pytest

from benchmarks.private import litert as insides
from tests.insides import check

pytest.importorskip("ai_edge_litert.interpreter")


def test_this_litert_is_the_one_that_it_was_written_for():
    check(insides)


def test_both_attributes_are_there():
    """What `runner` asks of an object: classes have them not before they are made."""
    import inspect

    from ai_edge_litert.interpreter import Interpreter, SignatureRunner

    assert "self._interpreter = " in inspect.getsource(Interpreter.__init__)
    assert "self._subgraph_index = " in inspect.getsource(SignatureRunner.__init__)


def test_an_interpreter_without_them_is_named():
    with pytest.raises(ImportError, match=r"has no builtins:object\._interpreter, a private API that"):
        insides.runner(object(), object(), inputs=[], outputs=[])
