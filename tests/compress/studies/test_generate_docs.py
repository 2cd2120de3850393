"""Generated documentation is current, and the schemas accept and refuse what the code does."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from compress.studies.cross_modal_page import write_page
from compress.studies.generate_docs import generated, recipe_schema, report_schema
from models.published import PUBLISHED

ROOT = Path(__file__).resolve().parents[3]


def test_generated_files_are_current() -> None:
    for path, content in generated(ROOT).items():
        assert path.read_text() == content, f"{path.name}: run python -m compress.studies.generate_docs"


def test_the_tables_of_the_cross_modal_page_are_those_of_its_stored_figures(tmp_path: Path) -> None:
    page = tmp_path / "cross_modal.md"
    page.write_text((ROOT / "docs" / "cross_modal.md").read_text())
    write_page(page, json.loads((ROOT / "benchmarks" / "results" / "cross_modal.json").read_text()))
    assert page.read_text() == (ROOT / "docs" / "cross_modal.md").read_text()


def test_keys_that_tables_share_are_printed_once() -> None:
    lines = (ROOT / "docs" / "recipe.md").read_text().splitlines()
    runs = Counter(zip(lines, lines[1:], lines[2:], strict=False))
    repeated = [
        run for run, times in runs.items() if times > 1 and all(line.startswith("| `") for line in run)
    ]
    assert repeated == []


@pytest.mark.parametrize("schema", [recipe_schema(), report_schema()], ids=["recipe", "report"])
def test_schemas_are_schemas(schema: dict[str, object]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_editors_accept_the_recipes_of_the_project(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), recipe_schema())


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 1},
        {"student": {"network": "mobilenet3d", "options": {"widht": 1}}},
        {"stages": [{"distil": {}}]},
        {"stages": [{"prune": {"macs": 2}}]},
        {"export": {"formats": ["tfl"]}},
    ],
    ids=json.dumps,
)
def test_editors_mark_what_the_loader_refuses(change: dict[str, object]) -> None:
    recipe = {"data": {"source": "synthetic"}, "student": {"network": "mobilenet3d"}, **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(recipe, recipe_schema())


def _unbounded(node: Any, place: str) -> Iterator[str]:
    """The places in a JSON Schema whose values may be of any size."""
    if isinstance(node, list):
        for index, one in enumerate(node):
            yield from _unbounded(one, f"{place}.{index}")
    if not isinstance(node, dict):
        return
    kind = node.get("type") if "enum" not in node and "const" not in node else None
    keys = {
        "integer": ({"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}),
        "number": ({"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}),
        "string": ({"maxLength"},),
        "array": ({"maxItems"},),
        "object": ({"maxProperties"},) if isinstance(node.get("additionalProperties"), dict) else (),
    }
    for wanted in keys.get(kind, ()) if isinstance(kind, str) else ():
        if not wanted & set(node):
            yield f"{place} has no {' or '.join(sorted(wanted))}"
    for key, inner in node.items():
        if key not in ("default", "required", "enum", "discriminator"):
            yield from _unbounded(inner, f"{place}.{key}")


def test_every_number_text_and_list_of_a_recipe_has_a_range() -> None:
    found = list(_unbounded(recipe_schema(), ""))
    # Its keys are those of transformers; the reader of recipes bounds its size as a whole.
    assert [place for place in found if ".$defs.huggingface.properties.config." not in place] == []


def test_a_size_that_is_not_the_published_one_has_its_reason() -> None:
    lines = [line for line in (ROOT / "docs" / "students.md").read_text().splitlines() if " %)" in line]
    assert len(lines) == len(PUBLISHED)
    for line, row in zip(lines, PUBLISHED, strict=True):
        differences = [abs(float(found)) for found in re.findall(r"\(([+-][\d.]+) %\)", line)]
        assert max(differences) <= 2 or row.remark, line
