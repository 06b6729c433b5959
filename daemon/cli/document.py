"""Describe what the commands print with `--json`, for people (Markdown) and for programs (JSON Schema).

python -m daemon.cli.document      writes docs/JSON.md and docs/json.schema.json
"""

import ast
import inspect
import json
import re
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from daemon.cli.json_outputs import OUTPUTS

MARKDOWN_FILE = "JSON.md"
SCHEMA_FILE = "json.schema.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

INTRODUCTION = """\
# What commands print with `--json`

Every command that shows something prints it as one JSON document on standard output with `--json`. Exit codes
are the same as without. An error is such a document, too. `training queue list` prints what
`training_queue list` prints, and so do the others.

Keys are only ever added; a program should pass over those it does not know. The same as JSON Schema is in
[json.schema.json](json.schema.json): the document of a command is `#/$defs/` and its name, such as
`json.schema.json#/$defs/training_queue list`.

This page is made from the types of the client's answers by `python -m daemon.cli.document`.
"""


class _Describing(GenerateJsonSchema):
    """Takes the meaning of each key from the docstring below it."""

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        found = super().model_schema(schema)
        for key in getattr(schema["cls"], "not_shown", ()):
            del found["properties"][key]
            found["required"] = [name for name in found["required"] if name != key]
        return _described(found, schema["cls"])

    def dataclass_schema(self, schema: Any) -> JsonSchemaValue:
        return _described(super().dataclass_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: Any) -> JsonSchemaValue:
        return _described(super().typed_dict_schema(schema), schema["cls"])


def _described(schema: JsonSchemaValue, kind: type) -> JsonSchemaValue:
    kind = getattr(kind, "described_by", kind)
    schema["title"] = kind.__name__
    schema["description"] = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
    meanings: dict[str, str] = {}
    for part in reversed([*getattr(kind, "__orig_bases__", ()), *kind.__mro__]):
        if getattr(part, "__module__", "").partition(".")[0] in ("daemon", "trainer"):
            meanings |= _meanings(part)
    fields = {field.alias: name for name, field in getattr(kind, "model_fields", {}).items() if field.alias}
    for key, facts in schema["properties"].items():
        facts.pop("title", None)
        facts.pop("default", None)
        if (name := fields.get(key, key)) in meanings:
            facts["description"] = meanings[name]
    if schema.get("additionalProperties") is False:
        del schema["additionalProperties"]  # other releases may print more
    return schema


def _meanings(kind: Any) -> dict[str, str]:
    """Return the docstring below each field of a class."""
    found = {}
    for body in ast.parse(dedent(inspect.getsource(kind))).body:
        for item, below in pairwise(getattr(body, "body", [])):
            match item, below:
                case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[key] = re.sub(r"\bNone\b", "null", " ".join(text.split()))
    return found


def json_schema() -> dict[str, Any]:
    """Return the schemas of all documents, by command, and of what they consist of."""
    adapters: list[tuple[str, Any, TypeAdapter[Any]]] = [
        (command, "serialization", TypeAdapter(kind)) for command, kind in OUTPUTS.items()
    ]
    schemas, shared = TypeAdapter.json_schemas(adapters, schema_generator=_Describing)
    commands = {command: schemas[command, "serialization"] for command in OUTPUTS}
    return {"$schema": DIALECT, "$defs": commands | dict(sorted(shared["$defs"].items()))}


def markdown() -> str:
    """Return the page that documents every document."""
    definitions = json_schema()["$defs"]
    parts = [INTRODUCTION, "## Documents\n", "| command | document |\n|---|---|"]
    parts += [f"| `{command}` | {_values(definitions[command])} |" for command in OUTPUTS]
    parts.append("\n## Parts\n")
    for name in [name for name in definitions if name not in OUTPUTS]:
        parts += _section(name, definitions[name])
    return "\n".join(parts)


def _section(name: str, facts: dict[str, Any]) -> list[str]:
    lines = [f"### {name}\n", f"{' '.join(facts.get('description', '').split())}\n"]
    if "properties" not in facts:
        return [*lines, f"{_values(facts)}\n"]
    lines.append("| key | value | meaning |\n|---|---|---|")
    for key, value in facts["properties"].items():
        meaning = value.get("description", "")
        lines.append(f"| `{key}` | {_values(value)} | {meaning} |")
    return [*lines, ""]


def _values(facts: dict[str, Any]) -> str:
    """Return in words what a value may be."""
    if "$ref" in facts:
        name = facts["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in facts or "oneOf" in facts:
        return " or ".join(map(_values, facts.get("anyOf") or facts["oneOf"]))
    if "const" in facts:
        return f"`{json.dumps(facts['const'])}`"
    if "enum" in facts:
        return ", ".join(f"`{json.dumps(value)}`" for value in facts["enum"])
    if facts.get("type") == "array":
        if "prefixItems" in facts:
            return f"a list of {' and '.join(map(_values, facts['prefixItems']))}"
        return f"a list of {_values(facts['items'])}"
    if facts.get("type") == "object" and isinstance(facts.get("additionalProperties"), dict):
        return f"an object of {_values(facts['additionalProperties'])}"
    return str(facts.get("type", "anything"))


def write(docs: Path) -> None:
    """Write both files into `docs`."""
    (docs / MARKDOWN_FILE).write_text(markdown(), encoding="utf-8")
    (docs / SCHEMA_FILE).write_text(
        json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    write(Path("docs"))
