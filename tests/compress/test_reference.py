"""What is generated from the code is current, and the schemas accept and refuse what the code does."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from compress.reference import generated, recipe_schema, report_schema

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "name", ["recipes/recipe.schema.json", "docs/report.schema.json", "docs/recipe.md", "docs/report.md"]
)
def test_generated_files_are_current(name: str) -> None:
    assert (ROOT / name).read_text() == generated(ROOT)[ROOT / name], "run python -m compress.reference"


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
        {"stages": [{"prune": {}}]},
        {"export": {"formats": ["tfl"]}},
    ],
    ids=json.dumps,
)
def test_editors_mark_what_the_loader_refuses(change: dict[str, object]) -> None:
    recipe = {"data": {"source": "synthetic"}, "student": {"network": "mobilenet3d"}, **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(recipe, recipe_schema())
