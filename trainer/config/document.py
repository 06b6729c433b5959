"""Describe the settings for people (Markdown) and for editors (JSON Schema), from the schema itself.

python -m trainer.config.document      writes docs/CONFIGURATION.md and docs/config.schema.json
"""

import ast
import inspect
import json
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

from trainer.config.loader import SCHEMA_KEY
from trainer.config.schema import Settings, sections

MARKDOWN_FILE = "CONFIGURATION.md"
SCHEMA_FILE = "config.schema.json"

INTRODUCTION = """\
# Configuration

All settings can be set in `config.json` in the working directory. All of them are optional. For each setting,
the last of these sources counts:

1. the default in the tables below,
2. `config.json`: `{"training": {"learning_rate": 1e-4}}`,
3. the environment: `TRAINING__TRAINING__LEARNING_RATE=1e-4` (section and key, each after two underscores),
4. the command line: `training_daemon --set training.learning_rate=1e-4`.

`training_daemon --check-config` prints the effective settings and the source of each. An unknown key, a wrong
type or a value out of range is an error that names the place, the key, the value and what was expected.

A running job keeps the settings of `training`, `data` and `profile` with which it started, even across
restarts. A changed `config.json` takes effect at the next job. `validation`, `previews` and `monitoring`
change no weight and are also read anew when a job continues, as after a stop, a crash or a more urgent file.
An invalid `config.json` changes nothing and appears as an alert in the status. With
`"$schema": "./docs/config.schema.json"` in the file, editors complete keys and check values while you type.

This page is generated from the schema by `python -m trainer.config.document`.
"""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `config.json`."""
    schema = Settings.model_json_schema()
    for kind in sections().values():
        properties = schema["$defs"][kind.__name__]["properties"]
        for key, text in meanings(kind).items():
            properties[key] = dict(sorted({**properties[key], "description": text}.items()))
    schema["properties"] = {SCHEMA_KEY: {"type": "string"}, **schema["properties"]}
    return schema


def meanings(section: type) -> dict[str, str]:
    """Return the text under each field of a section."""
    [definition] = ast.parse(dedent(inspect.getsource(section))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in pairwise(definition.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def markdown() -> str:
    """Return the page that documents every setting."""
    schema = json_schema()
    parts = [INTRODUCTION]
    for section, reference in schema["properties"].items():
        if section == SCHEMA_KEY:
            continue
        definition = schema["$defs"][reference["$ref"].rpartition("/")[2]]
        parts.append(f"## `{section}`\n\n{definition['description']}\n")
        parts.append("| key | default | values | meaning |\n|---|---|---|---|")
        parts += [_row(key, facts) for key, facts in definition["properties"].items()]
        parts.append("")
    return "\n".join(parts)


def _row(key: str, facts: dict[str, Any]) -> str:
    meaning = " ".join(facts.get("description", "").split())
    return f"| `{key}` | `{json.dumps(facts.get('default'))}` | {_values(facts)} | {meaning} |"


def _values(facts: dict[str, Any]) -> str:
    if "anyOf" in facts:
        return " or ".join(_values(option) for option in facts["anyOf"])
    if "const" in facts:
        return f"`{json.dumps(facts['const'])}`"
    if "enum" in facts:
        return ", ".join(f"`{json.dumps(value)}`" for value in facts["enum"])
    symbols = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{symbol} {facts[name]}" for name, symbol in symbols.items() if name in facts]
    return " ".join([str(facts.get("type", "any")), *bounds])


def write(docs: Path) -> None:
    """Write both files into `docs`."""
    (docs / MARKDOWN_FILE).write_text(markdown(), encoding="utf-8")
    (docs / SCHEMA_FILE).write_text(
        json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    write(Path("docs"))
