"""What the fuzz tests share: how many cases they run, hostile values, damaged bytes.

`POCKETREEL_FUZZ=20 make test ARGS=tests/fuzz` runs twenty times as many cases, with other random numbers every
time; without it the cases are few and always the same.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

FACTOR = int(os.environ.get("POCKETREEL_FUZZ", "1"))


def cases(count: int) -> settings:
    """Settings for `count` cases, times the factor that the environment asks for."""
    return settings(
        max_examples=count * FACTOR,
        derandomize=FACTOR == 1,
        database=None,
        deadline=60_000,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.function_scoped_fixture,
            HealthCheck.data_too_large,
        ],
    )


TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "[/x]",
            "[bold red]",
            "../..",
            "/",
            "~",
            "a" * 300,
            "nul\0byte",
            "zeile\nzwei",
            "🎬",
            "\u202e",
            "<script>alert(1)</script>",
            "%d",
            "-x",
            "null",
            "1e999",
            "os:system",
            ":",
            "a:b:c",
            "*",
        ]
    ),
    st.text(max_size=20),
)

NUMBERS = st.one_of(
    st.sampled_from(
        [0, -1, 1, 2, 255, 2**31, 2**63, -(2**63), 10**12, 10**400, 0.0, -0.0, 0.5, 1e-300, 1e308, 1e-12]
    ),
    st.sampled_from([float("inf"), float("-inf"), float("nan")]),
    st.integers(-(10**6), 10**6),
    st.floats(),
)

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=4,
)
"""Anything that YAML can hold."""


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with some of them changed, cut off or inserted; places near the start are drawn more often."""
    result = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        reach = draw(st.sampled_from([32, 256, 4096, len(data)]))
        place = draw(st.integers(0, min(reach, len(result)) - 1)) if result else 0
        what = draw(st.sampled_from(["flip", "fill", "cut", "insert", "huge"]))
        if what == "flip":
            result[place] ^= draw(st.integers(1, 255))
        elif what == "fill":
            span = draw(st.integers(1, 16))
            result[place : place + span] = bytes([draw(st.sampled_from([0, 255]))]) * len(
                result[place : place + span]
            )
        elif what == "huge":
            result[place : place + 4] = draw(st.sampled_from([b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]))
        elif what == "insert":
            result[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif place:
            del result[place:]
        if not result:
            break
    return bytes(result)
