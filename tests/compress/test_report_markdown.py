"""User text in Markdown is shown literally by a CommonMark renderer."""

from __future__ import annotations

import pytest

from compress.report.markdown import Markdown, code, escaped, fenced


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wave", "wave"),
        ("mobilenet3d_tiny", "mobilenet3d_tiny"),
        ("_wave_", r"\_wave\_"),
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("a | b", r"a \| b"),
        ("two\nlines\r\n\n# heading", "two lines # heading"),
        ("# heading", r"\# heading"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("-3.5", "-3.5"),
        ("12.5 ms", "12.5 ms"),
        ("[text](javascript:alert(1))", r"\[text\](javascript:alert(1))"),
        ("**bold** `code` ~~gone~~", r"\*\*bold\*\* \`code\` \~\~gone\~\~"),
        ("https://example.org www.example.org", r"https\://example.org www\.example.org"),
        ("&lt;b&gt; R&D", r"\&lt;b\&gt; R&D"),
        ("back\\slash", r"back\\slash"),
        (Markdown("**kept**"), "**kept**"),
    ],
)
def test_text_is_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.b", "`a.b`"), ("a`b", "``a`b``"), ("`a", "`` `a ``"), ("a|b\nc", r"`a\|b c`")],
)
def test_code_is_a_span_of_code(text: str, expected: str) -> None:
    assert code(text) == expected


def test_a_block_of_code_ends_at_its_own_fence() -> None:
    assert fenced("a: |\n  ```\n  # out\n", language="yaml") == "````yaml\na: |\n  ```\n  # out\n````"
