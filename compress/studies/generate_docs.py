"""Generates the reference documentation from the code: `python -m compress.studies.generate_docs`.

Writes the JSON Schemas `recipes/recipe.schema.json` (for editors) and `docs/report.schema.json`, the key tables in
`docs/recipe.md` and `docs/report.md`, the table in `docs/students.md`, and from committed figures the page
`docs/comparison.md` and the tables of the main job in `README.md` and `docs/results.md`. A test checks that all are
current.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import typer

from compress.command import GATE_FAILED, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.terminal import output
from compress.folders.output import write_output_file

if not only_reads_arguments(__name__):
    from pydantic import TypeAdapter

    from compress.figures import exact
    from compress.gates import DEVICE_METRICS, FILE_METRICS, MODEL_METRICS, STAGE_METRICS
    from compress.gating.settings import Gate, GateSettings
    from compress.recipe import Recipe
    from compress.report import Report
    from compress.studies.comparison.measure import Effort
    from compress.studies.comparison.page import page as comparison_page
    from compress.studies.gates import RESULTS as GATE_RESULTS
    from compress.studies.gates import tables as error_rates
    from compress.studies.generated_blocks import with_block
    from compress.studies.published_sizes import published_sizes
    from compress.studies.quantization_page import quantization_page
    from compress.studies.results_page import pages

_Schema = dict[str, Any]
_Row = tuple[str, str, str, str]
"""Key, value, default and meaning."""
_LEAST_SHARED = 3
"""Minimum number of common keys for a separate table; fewer keys are repeated."""
_MOST_NAMES = 4
_TYPES = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
_DEVICE = "device"
"""Key of a single device."""
_NAMED = ("Report", "Reports", "Row", "StageRecord")
"""Suffixes of objects with a separate table in `docs/report.md`."""
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def generated(root: Path) -> dict[Path, str]:
    """All generated files with their content."""
    recipe, report = recipe_schema(), report_schema()
    files = {
        root / "recipes" / "recipe.schema.json": json.dumps(recipe, indent=2) + "\n",
        root / "docs" / "report.schema.json": json.dumps(report, indent=2) + "\n",
    }
    for name, tables in (
        ("recipe", _recipe_tables(recipe)),
        ("report", _report_tables(report)),
        ("students", published_sizes()),
        ("gates", _gate_tables()),
    ):
        page = root / "docs" / f"{name}.md"
        content = "\n".join(tables)
        files[page] = with_block(page.read_text(), "keys", f"\n{content}\n")
    simulated = json.loads((root / GATE_RESULTS).read_text(encoding="utf-8"))
    page = root / "docs" / "gates.md"
    files[page] = with_block(files[page], "error rates", "\n" + "\n".join(error_rates(simulated)) + "\n")
    files |= pages(root)
    files |= quantization_page(root)
    files[root / "docs" / "comparison.md"] = _comparison(root)
    files[root / "README.md"] = with_block(files[root / "README.md"], "picture", _picture(root))
    return files


def _comparison(root: Path) -> str:
    """The comparison page, from its stored figures."""
    stored = json.loads((root / "benchmarks" / "results" / "comparison.json").read_text(encoding="utf-8"))
    effort, networks = stored.pop("effort"), stored.pop("networks")
    return comparison_page(networks, effort=Effort(**effort), **stored) + "\n"


def _picture(root: Path) -> str:
    """The line of the README with the image of a report, if it exists."""
    return "![Report of the main job](docs/report.png)\n" if (root / "docs" / "report.png").is_file() else ""


def recipe_schema() -> _Schema:
    """JSON Schema of a recipe, for editors."""
    schema = Recipe.model_json_schema()
    schema["required"].remove("name")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Pocketreel recipe"}


def report_schema() -> _Schema:
    """JSON Schema of `report.json`."""
    schema = TypeAdapter(Report).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Pocketreel report"}


def _recipe_tables(schema: _Schema) -> Iterator[str]:
    """One table per section. For alternatives: the common keys once, then the specific keys of each."""
    defs = schema["$defs"]
    scalars = {key: node for key, node in schema["properties"].items() if not list(_objects(node, defs))}
    yield "### Top level\n"
    yield from _table(_rows({"properties": scalars, "required": []}, defs))
    described: dict[str, str] = {}
    for key, node in schema["properties"].items():
        alike = described.setdefault(json.dumps(list(_objects(node, defs))), key)
        if alike != key and list(_objects(node, defs)):
            yield f"### `{key}:`\n\n{node['description']} Its entries have the keys of `{alike}:`.\n"
            continue
        choices = [_choice(key, same, defs) for same in _alike(list(_objects(node, defs)), defs)]
        if len(choices) == 1:
            (only,) = choices
            yield f"### `{key}:`\n\n{only.summary}\n"
            yield from _table(only.rows)
            continue
        shared = _shared([choice.rows for choice in choices])
        for positions, rows in shared.items():
            names = (
                "all alternatives"
                if len(positions) == len(choices)
                else _names([choices[at].name for at in positions])
            )
            yield f"### `{key}:` common keys of {names}\n"
            yield from _table(rows)
        common = {row: positions for positions, rows in shared.items() for row in rows}
        for at, choice in enumerate(choices):
            own = [row for row in choice.rows if at not in common.get(row, ())]
            yield f"### {choice.title}\n\n{choice.summary}\n"
            yield from _table(own)


class _Choice(NamedTuple):
    """One alternative of a section: its title, name, summary and keys."""

    title: str
    name: str
    summary: str
    rows: Sequence[_Row]


def _alike(choices: list[_Schema], defs: _Schema) -> Iterable[list[_Schema]]:
    """Groups alternatives that differ only in `network`."""
    alike: dict[tuple[_Row, ...], list[_Schema]] = {}
    for choice in choices:
        alike.setdefault(tuple(row for row in _rows(choice, defs) if row[0] != "network"), []).append(choice)
    return alike.values()


def _choice(key: str, same: list[_Schema], defs: _Schema) -> _Choice:
    settings = _with_all_names(same)
    if key == "stages":
        ((verb, settings),) = settings["properties"].items()
        settings = _resolved(settings, defs)
        name, title = f"`{verb}`", f"`stages: - {verb}:`"
    else:
        name = f"`{_discriminator(same[0])}`"
        title = f"`{key}:` with {_names([f'`{_discriminator(choice)}`' for choice in same])}"
    summary = (settings.get("description") or "").partition("\n")[0]
    return _Choice(title=title, name=name, summary=summary, rows=list(_rows(settings, defs)))


def _shared(tables: Sequence[Sequence[_Row]]) -> dict[tuple[int, ...], list[_Row]]:
    """The rows that several tables share, by the indices of these tables, if there are enough of them."""
    places: dict[_Row, list[int]] = {}
    for at, rows in enumerate(tables):
        for row in rows:
            places.setdefault(row, []).append(at)
    shared: dict[tuple[int, ...], list[_Row]] = {}
    for row, positions in places.items():
        if len(positions) > 1:
            shared.setdefault(tuple(positions), []).append(row)
    return {positions: rows for positions, rows in shared.items() if len(rows) >= _LEAST_SHARED}


def _names(names: list[str]) -> str:
    """A list of names for a heading, shortened if it is long."""
    return " or ".join(names) if len(names) <= _MOST_NAMES else f"{names[0]} and {len(names) - 1} others"


def _with_all_names(same: list[_Schema]) -> _Schema:
    """The first of alternatives that differ only in `network`, with the networks of all."""
    if len(same) == 1:
        return same[0]
    names = [choice["properties"]["network"]["const"] for choice in same]
    return {**same[0], "properties": {**same[0]["properties"], "network": {"enum": names}}}


def _gate_tables() -> Iterator[str]:
    """The keys of `gates.yaml`, then those of each kind of gate."""
    schema = GateSettings.model_json_schema()
    defs = schema["$defs"]
    yield "### Top level\n"
    yield from _table(_rows(schema, defs, flat=True))
    for kind, field in Gate.model_fields.items():
        (settings,) = (one for one in get_args(field.annotation) if one is not type(None))
        node = defs[settings.__name__]
        yield f"### `{kind}:`\n\n{node['description']}\n"
        yield from _table(_rows(node, defs, flat=True))


def _report_tables(schema: _Schema) -> Iterator[str]:
    """One table per type of object, then the metrics of gates."""
    defs = schema["$defs"]
    yield "### `Report`\n"
    yield from _table(_rows(schema, defs, flat=True))
    for name, node in defs.items():
        yield f"### `{name}`\n\n{node.get('description', '').splitlines()[0]}\n"
        yield from _table(_rows(node, defs, flat=True))
    yield "### Metrics of gates\n"
    for prefix, figures in (
        ("files.<format>.<scheme>", FILE_METRICS),
        ("files.<format>.<scheme>.<device>", DEVICE_METRICS),
        ("models.<model>", MODEL_METRICS),
        ("stages.<n>", STAGE_METRICS),
    ):
        yield f"- `{prefix}.`: " + ", ".join(f"`{figure}`" for figure in figures)
    yield ""


def _table(rows: Iterable[_Row]) -> Iterator[str]:
    yield "| key | value | default | meaning |\n|---|---|---|---|"
    for key, value, default, meaning in rows:
        cells = (f"`{key}`", value, default, meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
    yield ""


def _rows(node: _Schema, defs: _Schema, *, prefix: str = "", flat: bool = False) -> Iterator[_Row]:
    """One row per key; nested keys follow as `audio.mels`, unless `flat`, or those of a single device, which the
    table of `benchmark.devices` has."""
    required = node.get("required", [])
    for name, child in node.get("properties", {}).items():
        default = "**required**" if name in required else _default(child)
        meaning = child.get("description") or _resolved(child, defs).get("description", "")
        yield f"{prefix}{name}", _kind(child, defs), default, meaning.split("\n\n")[0]
        if "discriminator" in child:
            yield from _choice_rows(f"{prefix}{name}", child, defs)
        elif not flat and name != _DEVICE:
            # Settings alone and in a list are the same object.
            for inner in {id(one): one for one in _objects(child, defs)}.values():
                yield from _rows(inner, defs, prefix=f"{prefix}{name}.")
            values = child.get("additionalProperties")
            for inner in _objects(values, defs) if isinstance(values, dict) else ():
                yield from _rows(inner, defs, prefix=f"{prefix}{name}.*.")


def _choice_rows(key: str, node: _Schema, defs: _Schema) -> Iterator[_Row]:
    """One row per set of keys that alternatives selected by name share."""
    chosen_by = node["discriminator"]["propertyName"]
    alike: dict[str, list[str]] = {}
    for choice in _objects(node, defs):
        others = [
            f"`{name}` {'required' if name in choice['required'] else _default(child)}"
            for name, child in choice["properties"].items()
            if name != chosen_by
        ]
        alike.setdefault(", ".join(others), []).append(choice["properties"][chosen_by]["const"])
    for keys, names in alike.items():
        meaning = f"other keys: {keys}" if keys else "no other keys"
        yield f"{key}.{chosen_by}", " or ".join(f"`{name}`" for name in names), "", meaning


def _kind(node: _Schema, defs: _Schema) -> str:
    """Describes the values of a key."""
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return " or ".join(
            f"`{str(word).lower() if isinstance(word, bool) else word}`" for word in node["enum"]
        )
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
        return "see its keys" if "$ref" in node else ""
    if "$ref" in node and isinstance(node["default"], dict):
        return "see its keys"
    return f"`{json.dumps(node['default'], ensure_ascii=False)}`"


def _resolved(node: _Schema, defs: _Schema) -> _Schema:
    found: _Schema = defs[node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    return found


def _objects(node: _Schema, defs: _Schema) -> Iterator[_Schema]:
    """All objects that a node allows, also as entries of a list."""
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
    """The key that distinguishes an alternative: `network: multimodal`, or the first that it requires, if any."""
    chosen = [f"{key}: {node['const']}" for key, node in choice["properties"].items() if "const" in node]
    return chosen[0] if chosen else next(iter(choice.get("required") or choice["properties"]))


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 where a file is not current.")
    ] = False,
) -> None:
    """Writes the JSON Schemas and the tables of docs/recipe.md, docs/report.md and docs/students.md from the code.

    Exit codes: 0 all files are current; 1, with --check, one is not; 2 a file is missing or not writable.
    """
    console, old = output(), 0
    with exit_codes():
        for path, content in generated(Path(__file__).resolve().parents[2]).items():
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
