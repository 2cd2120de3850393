"""Whole commands on hostile arguments: each ends with an exit code and a sentence, and keeps files of others.

No traceback, nothing longer than a minute, no process over 2 GB, no exit code but 0 to 3, no process left behind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.hostile import NUMBERS, TEXTS, VALUES, cases, damaged
from tests.fuzz.surroundings import COMMANDS, REFERENCES, ROOT, Surroundings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(14_400)]

Words = tuple[str, ...]
SCHEMA = json.loads((ROOT / "recipes" / "recipe.schema.json").read_text(encoding="utf-8"))
REPORT = (ROOT / "benchmarks" / "results" / "main_job.json").read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    surroundings = Surroundings(tmp_path_factory.mktemp("commands"))
    yield surroundings
    surroundings.close()


ODD = st.sampled_from(
    [
        *(
            "",
            " ",
            ".",
            "..",
            "~",
            "-",
            "--",
            "./",
            "missing",
            "missing/deeper/still",
            "notes.txt",
            "notes.txt/x",
        ),
        *(
            "folder",
            "folder/",
            "folder/new",
            "folder [bold]",
            "folder [bold]/inner",
            "[/x]",
            "[red]new[/red]",
        ),
        *(
            "café\nneu",
            "café\nneu/x",
            "日本",
            "\udce9t\udce9",
            "\u202egnp",
            "link",
            "link/x",
            "link to a file",
        ),
        *(
            "dangling",
            "loop",
            "loop/x",
            "null",
            "link.json",
            "pipe",
            "closed",
            "empty",
            "empty.json",
            "list.json",
        ),
        *(
            "null.json",
            "deep.json",
            "nan.json",
            "clip.mp4",
            "clips",
            "n" * 255,
            "n" * 256,
            "d/" * 2_200 + "x",
        ),
        *("/dev/null", "/dev/full", "/dev/null/x", "/proc/nothing", "/proc/self/mem", "/proc/self/fd/99"),
        *(
            "tiny.yaml",
            "clips.csv",
            "link.csv",
            "pipe.csv",
            "none.csv",
            "header.csv",
            "export",
            "stream",
            "package",
        ),
        *(
            "export/manifest.json",
            "export/onnx",
            "export/onnx/fp32/model.onnx",
            "page.md",
            "\x1b[31mred",
            "a b",
            "*.mp4",
        ),
        *(
            "inputs.npy",
            "words.npy",
            "pipe.npy",
            "%s",
            "{x}",
            "con:",
            "C:\\x",
            "m" * 250,
            "http://[::1/x",
            "0",
        ),
    ]
)
"""Paths of every kind: none leads out of the folder to where a command could write."""
FILES = ODD | st.sampled_from(["/dev/zero", "/dev/random", "/", "/proc/self/environ", "/etc"])
"""What a command is given to read."""
PAGES = ODD | st.sampled_from(["exports.md", "encoders.md", "cross_modal.md"])
NUMBER = st.one_of(
    st.sampled_from(
        [
            *(
                "0",
                "-1",
                "1",
                "2",
                "0.5",
                "nan",
                "inf",
                "-inf",
                "1e999",
                "1e308",
                "1e-300",
                "-0",
                "",
                "x",
                "0x10",
            ),
            *("1_0", "٣", "²", "2147483648", "9223372036854775808", "1" * 30, "9" * 5_000, "1e3", "+1", " 1"),
        ]
    ),
    NUMBERS.map(lambda number: _shown(number)),
)
LIMITS = st.tuples(
    st.sampled_from(
        ["max_pixels", "max_frames", "max_span_s", "max_samples", "max_memory_mib", "max_cpu_s", "[/x]"]
    ),
    NUMBER,
).map("=".join)
LISTS = st.lists(
    TEXTS | st.sampled_from(["onnx", "tflite", "executorch", "coreml", "ONNX", " onnx "]), max_size=3
).map(",".join)


def _shown(number: Any) -> str:
    return "1" + "0" * 400 if isinstance(number, int) and abs(number) > 10**300 else str(number)


def options(**choices: st.SearchStrategy[str]) -> st.SearchStrategy[Words]:
    """Up to two of the options, `_` for `-`, each with a value; flags have None for one."""

    def one(name: str) -> st.SearchStrategy[Words]:
        flag = "--" + name.strip("_").replace("_", "-")
        return st.tuples(st.just(flag), choices[name])

    if not choices:
        return st.just(())
    chosen = st.lists(st.sampled_from(sorted(choices)).flatmap(one), max_size=2)
    return chosen.map(lambda pairs: tuple(word for pair in pairs for word in pair))


WORDS = st.sampled_from([*[()] * 24, ("--no-such",), ("--out",), ("--set",), ("--",), ("-h",), ("x",), ("",)])
"""What may follow the arguments that are meant."""


def written(words: Sequence[str]) -> list[str]:
    """Places to which these arguments let a command write."""
    named = ("--out", "--cache", "--page", "--results")
    return [value for name, value in pairwise(words) if name in named] + [
        value for word in words for name, equals, value in [word.partition("=")] if equals and name in named
    ]


def ends(
    place: Surroundings, module: str, words: Sequence[str], *, codes: Sequence[int] = (0, 1, 2, 3)
) -> int:
    """Runs a command, which must end well; its exit code."""
    found = place.run(module, words)
    try:
        found.check(codes)
    finally:
        place.check_untouched(written(words))
    return found.code


def keys_of(node: Any, path: Words = (), *, depth: int = 6) -> Iterator[str]:
    """Every key path that the schema of recipes knows below a node; a list stands for its first entry."""
    if path:
        yield ".".join(path)
    if "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
    if depth == 0:
        return
    for name, inner in node.get("properties", {}).items():
        yield from keys_of(inner, (*path, name), depth=depth - 1)
    for inner in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from keys_of(inner, path, depth=depth - 1)
    if isinstance(node.get("items"), dict):
        yield from keys_of(node["items"], (*path, "0"), depth=depth)


@cache
def keys() -> list[str]:
    """Keys that a recipe may have, each once."""
    return sorted(set(keys_of(SCHEMA)))


def settings() -> st.SearchStrategy[str]:
    """Settings of real keys to hostile values."""
    names = st.one_of(*[st.sampled_from(keys())] * 9, TEXTS)
    values = NUMBER | NUMBER | TEXTS | FILES | VALUES.map(lambda value: json.dumps(value, ensure_ascii=False))
    return st.tuples(names, values).map("=".join)


RECIPES = st.sampled_from(
    ["tiny.yaml"] * 20 + ["naïve [x].yaml", "list.yaml", "binary.yaml", "pipe", "folder", "/dev/zero"]
)


@st.composite
def set_options(draw: st.DrawFn) -> Words:
    return tuple(word for one in draw(st.lists(settings(), max_size=3)) for word in ("--set", one))


@cases(8)
@given(data=st.data())
def test_plans(place: Surroundings, data: st.DataObject) -> None:
    more = options(
        out=ODD, cache=ODD, workers=NUMBER, device=TEXTS, user_code_timeout=NUMBER, user_code_memory=NUMBER
    )
    words = (data.draw(RECIPES), "--plan", *data.draw(set_options()), *data.draw(more), *data.draw(WORDS))
    ends(place, "compress.run", words, codes=(0, 2))
    assert not (place.work / "out").exists()


@cases(8)
@given(data=st.data())
def test_runs_that_cannot_begin(place: Surroundings, data: st.DataObject) -> None:
    """Without --plan, on data that are not there: whatever else is right, nothing is made of it."""
    source = {"source": "manifest", "manifest": data.draw(FILES)}
    more = options(out=ODD, cache=ODD, workers=NUMBER, device=TEXTS, user_code_memory=NUMBER)
    words = (
        "tiny.yaml",
        *data.draw(set_options()),
        *data.draw(more),
        *data.draw(st.sampled_from([(), ("--fresh",)])),
        *("--set", f"data={json.dumps(source)}"),
    )
    ends(place, "compress.run", words, codes=(2, 3))


SHAPES = st.one_of(
    st.sampled_from(["1x3x2x8x8"] * 4 + ["clip=1x3x2x8x8:0..1", "1x3x2x8x8:-inf..inf", "1x3x2x8x8:nan..1"]),
    st.sampled_from(["1x1", "2x3x2x8x8", "1x3x2x8x8:int64", "x=1x3x2x8x8:int64<0", "1x3x2x8x8:1..0"]),
    st.tuples(TEXTS, st.sampled_from(["1x3x2x8x8", "1x8:int", ":"])).map("=".join),
    st.text(alphabet="0123456789x=:.-intfloa<", max_size=24),
    TEXTS,
)


@st.composite
def network(draw: st.DrawFn) -> Words:
    """A network of the user's, the shapes of its inputs, and weights."""
    shapes = draw(st.lists(SHAPES, min_size=0, max_size=2)) if draw(st.booleans()) else ["1x3x2x8x8"]
    reference = draw(st.sampled_from(["net.py:Net", *REFERENCES]) | st.text(max_size=12))
    words = [reference, *(word for shape in shapes for word in ("--shape", shape))]
    if draw(st.booleans()):
        weights = [
            "weights.safetensors",
            "weights.pt",
            "others.safetensors",
            "damaged.pt",
            "damaged.safetensors",
        ]
        words += ["--weights", draw(st.sampled_from(weights) | FILES)]
    return tuple(words)


def damage(place: Surroundings, data: st.DataObject, *names: str) -> None:
    """Writes `damaged.<kind>` for one of these good files, damaged anew."""
    name = data.draw(st.sampled_from(names))
    place.write(f"damaged{Path(name).suffix}", data.draw(damaged((place.work / name).read_bytes())))


@cases(7)
@given(data=st.data())
def test_networks(place: Surroundings, data: st.DataObject) -> None:
    """Most with --check, and else in a format that there is not, into a place that there cannot be, ...: no file is
    written, since that takes seconds."""
    damage(place, data, "weights.pt", "weights.safetensors", "inputs.npy", "inputs.npz")
    inputs = st.sampled_from(["inputs.npy", "inputs.npz", "words.npy", "damaged.npy", "damaged.npz"]) | FILES
    more = options(
        calibration=inputs | st.just("random"),
        clips=inputs,
        scheme=st.sampled_from(["fp32", "fp16", "w8a8", "w8", "w4", "w2", "[/x]", ""]),
        user_code_timeout=NUMBER,
        user_code_memory=NUMBER,
        out=ODD,
    )
    wrong = st.sampled_from(
        [
            *[("--check",)] * 4,
            *(("--formats", "onnx,nix"), ("--formats", ""), ("--out", "notes.txt"), ("--out", "loop/x")),
            *(("--calibration", "words.npy", "--schemes", "w8a8"), ("--clips", "words.npy"), ("--out=link",)),
            *(("--layers",), ("--stream",)),
        ]
    )
    words = (*data.draw(network()), *data.draw(more), *data.draw(wrong), *data.draw(WORDS))
    if not {"--check", "--layers", "--stream"} & set(words):
        words += ("--schemes", "fp32", "--formats", data.draw(LISTS) + ",nix")
    elif "--check" not in words:
        words += ("--out", data.draw(st.sampled_from(["notes.txt", "link", "loop/x", "/proc/nothing"])))
    ends(place, "export.run", words, codes=(0, 2, 3))


@cases(8)
@given(data=st.data())
def test_nncf(place: Surroundings, data: st.DataObject) -> None:
    damage(place, data, "weights.pt", "inputs.npy", "inputs.npz")
    more = options(max_drop=NUMBER, user_code_timeout=NUMBER, user_code_memory=NUMBER)
    words = (
        *data.draw(network()),
        *data.draw(more),
        *("--calibration", data.draw(st.sampled_from(["words.npy", "damaged.npy", "damaged.npz"]) | FILES)),
        *("--out", data.draw(ODD)),
    )
    ends(place, "export.nncf_onnx", words, codes=(0, 2, 3))


def damaged_export(place: Surroundings, data: st.DataObject, name: str) -> None:
    """Damages the manifest of an export, or one of its files, of which the manifest may then say the truth."""
    folder = place.work / name
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx"))
    manifest = json.loads((folder / "manifest.json").read_text())
    what = data.draw(st.sampled_from(["text", "value", "file", "none"]))
    if what == "text":
        place.write(f"{name}/manifest.json", data.draw(damaged((folder / "manifest.json").read_bytes())))
    elif what == "value":
        path = data.draw(st.sampled_from(places(manifest)))
        node: Any = manifest
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = data.draw(VALUES)
        place.write(f"{name}/manifest.json", json.dumps(manifest).encode())
    elif what == "file":
        one = data.draw(st.sampled_from(files))
        content = data.draw(damaged((folder / one).read_bytes()))
        place.write(f"{name}/{one}", content)
        for row in manifest["files"]:
            for part in (row, row.get("step") or {}):
                if part.get("path") == one:
                    part |= {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        place.write(f"{name}/manifest.json", json.dumps(manifest).encode())


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value of a tree."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path] * bool(path) + [below for key, child in inner for below in places(child, (*path, key))]


@pytest.fixture
def mended(place: Surroundings) -> Iterator[None]:
    """Damaged exports are whole again after the test."""
    yield
    place.renew()


EXPORTS = st.sampled_from(
    ["export"] * 9 + ["stream", "folder", "clip.mp4", "link", "export/onnx", "", "/dev/zero"]
)
TABLES = st.sampled_from(["clips.csv", "none.csv", "header.csv", "damaged.csv", "clips"]) | FILES
COLUMNS = (
    st.tuples(st.sampled_from(["path", "split", "move", "[/x]", ""]) | TEXTS, TEXTS).map("=".join) | TEXTS
)


@pytest.mark.usefixtures("mended")
@cases(12)
@given(data=st.data())
def test_measuring(place: Surroundings, data: st.DataObject) -> None:
    place.restore("export", "stream")
    damaged_export(place, data, "export")
    damage(place, data, "clips.csv")
    more = options(
        data=TABLES,
        split=TEXTS,
        where=COLUMNS,
        exclude=COLUMNS,
        pad_s=NUMBER,
        unreadable=st.sampled_from(["skip", "refuse", "[/x]"]),
        max_unreadable_share=NUMBER,
        missing_audio=st.sampled_from(["silence", "refuse", ""]),
        limit=LIMITS | TEXTS,
        formats=LISTS,
        threads=NUMBER,
        device=TEXTS | st.sampled_from(["host", "adb"]),
        out=ODD,
        workers=NUMBER.filter(lambda text: not _is_large(text)),
        cache=ODD,
    )
    rounds = st.sampled_from(["1", "1", "1", "0", "x", "1" * 30, "nan"])
    seconds = st.sampled_from(["0", "0", "0.1", "1e-300", "-1", "x", "nan"])
    words = (
        data.draw(EXPORTS),
        *data.draw(more),
        *("--rounds", data.draw(rounds), "--max-seconds", data.draw(seconds)),
        *data.draw(WORDS),
    )
    ends(place, "benchmarks.run", words, codes=(0, 2, 3))


@pytest.mark.usefixtures("mended")
@cases(6)
@given(data=st.data())
def test_measuring_streams(place: Surroundings, data: st.DataObject) -> None:
    place.restore("export", "stream")
    damaged_export(place, data, "stream")
    more = options(formats=LISTS, threads=NUMBER, out=ODD)
    rounds = st.sampled_from(["1", "1", "1", "0", "x", "1" * 30, "nan"])
    words = (
        data.draw(st.sampled_from(["stream"] * 6 + ["export"])),
        *data.draw(more),
        *("--rounds", data.draw(rounds), "--max-seconds", data.draw(st.sampled_from(["0", "0.1", "nan"]))),
        *data.draw(WORDS),
    )
    ends(place, "benchmarks.streaming", words, codes=(0, 2, 3))


_MODELS = (
    "clip.mp4",
    "link",
    "loop",
    "pipe",
    "export/onnx",
    "export/manifest.json",
    "",
    "/dev/zero",
    "m" * 256,
)
VIDEOS = st.sampled_from(["clip.mp4"] * 5 + ["damaged.mp4", "pipe.mp4", "clips", "clips/[x].mp4"]) | FILES


@pytest.mark.usefixtures("mended")
@cases(10)
@given(data=st.data())
def test_classifying(place: Surroundings, data: st.DataObject) -> None:
    place.restore("export", "stream")
    damaged_export(place, data, "export")
    damage(place, data, "clip.mp4", "clips.csv")
    more = options(
        data=TABLES,
        split=TEXTS,
        windows=st.sampled_from(["sliding", "dynamic", "[/x]"]),
        segment_s=NUMBER,
        stride_s=NUMBER,
        overlap_s=NUMBER,
        min_s=NUMBER,
        max_s=NUMBER,
        change=NUMBER,
        aggregate=TEXTS | st.sampled_from(["mean", "max", "vote"]),
        top=NUMBER,
        text=TEXTS,
        missing_audio=st.sampled_from(["silence", "refuse", ""]),
        limit=LIMITS | TEXTS,
        out=ODD,
    )
    models = st.sampled_from(
        ["export/onnx/fp32/model.onnx"] * 9 + ["stream/onnx/fp32/model_step.onnx", *_MODELS]
    )
    words = (
        *data.draw(st.lists(VIDEOS, max_size=2)),
        *("--model", data.draw(models)),
        *data.draw(more),
        *data.draw(WORDS),
    )
    ends(place, "benchmarks.classify", words, codes=(0, 2, 3))


@pytest.mark.usefixtures("mended")
@cases(10)
@given(data=st.data())
def test_live(place: Surroundings, data: st.DataObject) -> None:
    place.restore("export", "stream")
    damaged_export(place, data, "stream")
    damage(place, data, "clip.mp4")
    more = options(threads=NUMBER, every=NUMBER, top=NUMBER, limit=LIMITS | TEXTS)
    models = st.sampled_from(
        ["stream/onnx/fp32/model_step.onnx"] * 9 + ["export/onnx/fp32/model.onnx", *_MODELS]
    )
    words = (
        data.draw(VIDEOS | NUMBER),
        *("--model", data.draw(models)),
        *data.draw(more),
        *data.draw(WORDS),
    )
    ends(place, "benchmarks.live", words, codes=(0, 2, 3))


@cases(20)
@given(data=st.data())
def test_tables(place: Surroundings, data: st.DataObject) -> None:
    """Commands that train for hours where they are not refused: a network that there is not, or a page."""
    clips = NUMBER
    module, more, wrong = data.draw(
        st.sampled_from(
            [
                (
                    "compress.studies.comparison",
                    options(rounds=NUMBER, clips=clips, seed=NUMBER, out=ODD, page=ODD, results=ODD),
                    [("--networks", "nix"), ("--networks", ""), ("--page=folder",), ("--results=missing/x",)],
                ),
                (
                    "compress.studies.comparison",
                    options(networks=LISTS, seed=NUMBER, page=ODD, results=ODD),
                    [
                        ("--rounds", "5"),
                        ("--results", "list.json"),
                        ("--page", "notes.txt"),
                        ("--page", "link.csv"),
                    ],
                ),
                (
                    "compress.studies.comparison",
                    options(seed=NUMBER, page=ODD, results=ODD),
                    [
                        ("--out", "notes.txt"),
                        ("--out", "link"),
                        ("--out", "loop/x"),
                        ("--out", "/proc/nothing"),
                    ],
                ),
                (
                    "compress.studies.student_table",
                    options(networks=LISTS, out=ODD),
                    [
                        ("--page", "notes.txt"),
                        ("--page=encoders.md",),
                        ("--page", "/dev/null"),
                        ("--page", "pipe"),
                    ],
                ),
                (
                    "compress.studies.student_table",
                    options(networks=st.just("mobilenet3d_tiny") | LISTS, page=st.just("exports.md") | PAGES),
                    [
                        ("--out", "notes.txt"),
                        ("--out", "link"),
                        ("--out", "loop/x"),
                        ("--out", "/proc/nothing"),
                    ],
                ),
                (
                    "compress.studies.encoder_table",
                    options(cache=ODD, clips=clips),
                    [
                        ("--page", "notes.txt"),
                        ("--page=exports.md",),
                        ("--page", "missing.md"),
                        ("--clips", "3"),
                    ],
                ),
                (
                    "compress.studies.encoder_table",
                    options(page=PAGES),
                    [("--cache", "notes.txt"), ("--cache", "loop/x"), ("--cache", "/proc/nothing")],
                ),
                (
                    "compress.studies.generate_docs",
                    options(),
                    [("--check", "x"), ("--chek",), ("--check=1",)],
                ),
            ]
        )
    )
    last = data.draw(st.sampled_from(wrong))
    ends(place, module, (*data.draw(more), *data.draw(WORDS), *last))


@cases(8)
@given(data=st.data())
def test_cross_modal(place: Surroundings, data: st.DataObject) -> None:
    """On data that are not there."""
    source = {"source": "manifest", "manifest": data.draw(FILES)}
    more = options(seed=NUMBER, out=ODD, cache=ODD, page=st.just("cross_modal.md") | PAGES, results=ODD)
    words = (
        data.draw(RECIPES),
        *("--page", "cross_modal.md"),
        *data.draw(set_options()),
        *data.draw(more),
        *("--set", f"data={json.dumps(source)}"),
    )
    ends(place, "compress.studies.cross_modal", words, codes=(2, 3))


@cases(12)
@given(data=st.data())
def test_results_page(place: Surroundings, data: st.DataObject) -> None:
    """The pages of the checkout change with a whole report alone."""
    report = json.loads(REPORT)
    what = data.draw(st.sampled_from(["text", "value", "value", "value", "path"]))
    if what == "text":
        place.write("given.json", data.draw(damaged(REPORT)))
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            path = data.draw(st.sampled_from(places(report)))
            node: Any = report
            for key in path[:-1]:
                node = node[key]
            if data.draw(st.booleans()) and isinstance(node, dict):
                del node[path[-1]]
            else:
                node[path[-1]] = data.draw(VALUES)
        place.write("given.json", _written(report))
    name = data.draw(FILES) if what == "path" else "given.json"
    found = place.run("compress.studies.results_page", (name, *data.draw(WORDS)))
    found.check((0, 2, 3))
    place.check_untouched(sources=found.code != 0)
    place.restore_checkout()


def _written(report: Any) -> bytes:
    return json.dumps(report).encode()


def _is_large(text: str) -> bool:
    return len(text) > 2


@pytest.mark.slow
@pytest.mark.parametrize("module", COMMANDS)
def test_as_a_user_starts_them(place: Surroundings, module: str) -> None:
    """The same in processes that import everything anew."""

    @cases(2)
    @given(st.lists(ODD | TEXTS | NUMBER, min_size=1, max_size=3))
    def run(words: list[str]) -> None:
        found = place.run_anew(module, ("--no-such", *words))
        found.check((0, 2))
        place.check_untouched(written(words))

    run()
