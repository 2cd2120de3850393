"""Calls of Pocketreel's functions in the documentation fit their signatures."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("benchmarks", "compress", "export", "models")


def blocks() -> Iterator[tuple[Path, str]]:
    """The Python blocks of all pages."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for text in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            yield page, text


def calls(text: str) -> Iterator[tuple[Any, ast.Call]]:
    """Calls of functions that the block imports from Pocketreel."""
    tree = ast.parse(text)
    imported = {
        alias.asname or alias.name: getattr(importlib.import_module(node.module), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in OURS
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in imported:
            yield imported[node.func.id], node


@pytest.mark.parametrize(("page", "text"), [pytest.param(*one, id=one[0].name) for one in blocks()])
def test_calls_fit_the_signatures(page, text):
    for function, call in calls(text):
        named = {word.arg: word for word in call.keywords if word.arg}
        inspect.signature(function).bind(*call.args, **named)


def test_there_are_such_calls():
    assert {function.__name__ for _, text in blocks() for function, _ in calls(text)} >= {
        "export_network",
        "classify",
    }
