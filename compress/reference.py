"""Writes what documents the recipe and the report from the code: `python -m compress.reference`.

JSON Schemas `recipes/recipe.schema.json` (for editors) and `docs/report.schema.json`, the key tables inside
`docs/recipe.md` and `docs/report.md`, the table of `docs/students.md`, and the figures of the main job in
`README.md` and `docs/results.md`. A test keeps all of them current.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.command import GATE_FAILED, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.terminal import output
from compress.folders.output import write_output_file

if not only_reads_arguments(__name__):
    from pydantic import TypeAdapter

    from compress.gates import DEVICE_METRICS, FILE_METRICS, MODEL_METRICS, STAGE_METRICS
    from compress.generated import with_block
    from compress.published_sizes import published_sizes
    from compress.recipe import Recipe
    from compress.report import Report
    from compress.report.figures import exact
    from compress.results_page import pages

_Schema = dict[str, Any]
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
}
_NAMED = ("Report", "Reports", "Row", "StageRecord")
"""How objects end that have a table of their own in `docs/report.md`."""
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def generated(root: Path) -> dict[Path, str]:
    """Every file that is written from the code, with the content that it has to have."""
    recipe, report = recipe_schema(), report_schema()
    files = {
        root / "recipes" / "recipe.schema.json": json.dumps(recipe, indent=2) + "\n",
        root / "docs" / "report.schema.json": json.dumps(report, indent=2) + "\n",
    }
    for name, tables in (
        ("recipe", _recipe_tables(recipe)),
        ("report", _report_tables(report)),
        ("students", published_sizes()),
    ):
        page = root / "docs" / f"{name}.md"
        content = "\n".join(tables)
        files[page] = with_block(page.read_text(), "keys", f"\n{content}\n")
    return {**files, **pages(root)}


def recipe_schema() -> _Schema:
    """JSON Schema of a recipe, as editors use it while one is written."""
    schema = Recipe.model_json_schema()
    schema["required"].remove("name")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Pocketreel recipe"}


def report_schema() -> _Schema:
    """JSON Schema of `report.json`."""
    schema = TypeAdapter(Report).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Pocketreel report"}


def _recipe_tables(schema: _Schema) -> Iterator[str]:
    """A table per section, and one per choice where a section has several."""
    defs = schema["$defs"]
    scalars = {key: node for key, node in schema["properties"].items() if not list(_objects(node, defs))}
    yield "### Top level\n"
    yield from _table({"properties": scalars, "required": []}, defs)
    for key, node in schema["properties"].items():
        choices = list(_objects(node, defs))
        # Rows of a table that share their options share a table here.
        alike: dict[tuple[Any, ...], list[_Schema]] = {}
        for choice in choices:
            rows = tuple(row for row in _rows(choice, defs, prefix="", flat=False) if row[0] != "network")
            alike.setdefault(rows, []).append(choice)
        for same in alike.values():
            settings = _with_all_names(same)
            title = f"`{key}:`"
            if key == "stages":
                (verb, settings), *_ = settings["properties"].items()
                settings, title = _resolved(settings, defs), f"`stages: - {verb}:`"
            elif len(choices) > 1:
                title += " with " + " or ".join(f"`{_discriminator(choice)}`" for choice in same)
            yield f"### {title}\n\n{settings.get('description', '').splitlines()[0]}\n"
            yield from _table(settings, defs)


def _with_all_names(same: list[_Schema]) -> _Schema:
    """The first of choices that differ in their `network` alone, with the networks of all of them."""
    if len(same) == 1:
        return same[0]
    names = [choice["properties"]["network"]["const"] for choice in same]
    return {**same[0], "properties": {**same[0]["properties"], "network": {"enum": names}}}


def _report_tables(schema: _Schema) -> Iterator[str]:
    """A table per kind of object, then the metrics that gates may name."""
    defs = schema["$defs"]
    yield "### `Report`\n"
    yield from _table(schema, defs, flat=True)
    for name, node in defs.items():
        yield f"### `{name}`\n\n{node.get('description', '').splitlines()[0]}\n"
        yield from _table(node, defs, flat=True)
    yield "### Metrics of gates\n"
    for prefix, figures in (
        ("files.<format>.<scheme>", FILE_METRICS),
        ("files.<format>.<scheme>.<device>", DEVICE_METRICS),
        ("models.<model>", MODEL_METRICS),
        ("stages.<n>", STAGE_METRICS),
    ):
        yield f"- `{prefix}.`: " + ", ".join(f"`{figure}`" for figure in figures)
    yield ""


def _table(node: _Schema, defs: _Schema, *, flat: bool = False) -> Iterator[str]:
    yield "| key | value | default | meaning |\n|---|---|---|---|"
    for key, value, default, meaning in _rows(node, defs, prefix="", flat=flat):
        cells = (f"`{key}`", value, default, meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
    yield ""


def _rows(node: _Schema, defs: _Schema, *, prefix: str, flat: bool) -> Iterator[tuple[str, str, str, str]]:
    """One row per key; keys of objects inside follow as `audio.mels`, unless `flat`."""
    required = node.get("required", [])
    for name, child in node.get("properties", {}).items():
        default = "**required**" if name in required else _default(child)
        meaning = child.get("description") or _resolved(child, defs).get("description", "")
        yield f"{prefix}{name}", _kind(child, defs), default, meaning.split("\n\n")[0]
        if "discriminator" in child:
            yield from _choice_rows(f"{prefix}{name}", child, defs)
        elif not flat:
            for inner in _objects(child, defs):
                yield from _rows(inner, defs, prefix=f"{prefix}{name}.", flat=False)


def _choice_rows(key: str, node: _Schema, defs: _Schema) -> Iterator[tuple[str, str, str, str]]:
    """One row per set of keys that parts chosen by name share."""
    chosen_by = node["discriminator"]["propertyName"]
    alike: dict[str, list[str]] = {}
    for choice in _objects(node, defs):
        keys = [
            f"`{name}` {'required' if name in choice['required'] else _default(child)}"
            for name, child in choice["properties"].items()
            if name != chosen_by
        ]
        alike.setdefault(", ".join(keys), []).append(choice["properties"][chosen_by]["const"])
    for beside, names in alike.items():
        meaning = f"beside it: {beside}" if beside else "nothing beside it"
        yield f"{key}.{chosen_by}", " or ".join(f"`{name}`" for name in names), "", meaning


def _kind(node: _Schema, defs: _Schema) -> str:
    """The values that a key takes, in words."""
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return " or ".join(f"`{word}`" for word in node["enum"])
    alternatives = node.get("anyOf") or node.get("oneOf")
    if alternatives:
        return " or ".join(dict.fromkeys(_kind(one, defs) for one in alternatives))
    if "$ref" in node:
        return f"`{node['$ref'].rpartition('/')[2]}`" if node["$ref"].endswith(_NAMED) else "mapping"
    if node.get("type") == "array":
        items = node.get("items") or node.get("prefixItems", [{}])[0]
        count = f"{node['minItems']} x " if node.get("minItems") == node.get("maxItems", 0) else ""
        return f"list of {count}{_kind(items, defs)}"
    if node.get("type") == "object":
        values = node.get("additionalProperties")
        return f"mapping to {_kind(values, defs)}" if isinstance(values, dict) else "mapping"
    limits = [f"{sign} {exact(node[key])}" for key, sign in _LIMITS.items() if key in node]
    return " ".join([_TYPES.get(node.get("type", ""), "anything"), *limits])


def _default(node: _Schema) -> str:
    if "default" not in node:
        return "each key's own" if "$ref" in node else ""
    return f"`{json.dumps(node['default'], ensure_ascii=False)}`"


def _resolved(node: _Schema, defs: _Schema) -> _Schema:
    found: _Schema = defs[node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    return found


def _objects(node: _Schema, defs: _Schema) -> Iterator[_Schema]:
    """Every object with keys of its own that may stand at a node, also as the entry of a list."""
    node = _resolved(node, defs)
    if "properties" in node:
        yield node
    for inner in (
        *node.get("anyOf", ()),
        *node.get("oneOf", ()),
        *([node["items"]] if "items" in node else ()),
    ):
        yield from _objects(inner, defs)


def _discriminator(choice: _Schema) -> str:
    """What tells this choice from its neighbours: `network: multimodal`, or the key that only it has."""
    chosen = [f"{key}: {node['const']}" for key, node in choice["properties"].items() if "const" in node]
    return chosen[0] if chosen else next(iter(choice["properties"]))


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 where a file is not current.")
    ] = False,
) -> None:
    """Writes the JSON Schemas and the tables of docs/recipe.md, docs/report.md and docs/students.md from the code.

    Exit codes: 0 every file is current now; 1, with --check, one is not; 2 a file is missing or may not be written.
    """
    console, old = output(), 0
    with exit_codes():
        for path, content in generated(Path(__file__).resolve().parent.parent).items():
            current = path.is_file() and path.read_text(encoding="utf-8") == content
            if not check:
                write_output_file(path, content)
            elif not current:
                old += 1
            console.print(f"{path}: {'current' if current else 'not current' if check else 'written'}")
    if old:
        raise typer.Exit(GATE_FAILED)


if __name__ == "__main__":
    run_command(main)
