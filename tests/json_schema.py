"""Check a JSON document against a schema: as much of JSON Schema as ours use; unknown keys are wrong."""

from collections.abc import Iterator
from typing import Any

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}


def violations(
    value: Any, schema: dict[str, Any], definitions: dict[str, Any], place: str = "$"
) -> list[str]:
    """Return what is wrong, a sentence for each place."""
    return list(_violations(value, schema, definitions, place))


def _violations(value: Any, schema: Any, definitions: dict[str, Any], place: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    if options := schema.get("anyOf") or schema.get("oneOf"):
        found = [violations(value, option, definitions, place) for option in options]
        if all(found):
            yield f"{place}: {value!r} is none of {len(options)}: {min(found, key=len)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: {value!r} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{place}: {value!r} is not {schema['const']!r}"
    if not _is_of_type(value, schema.get("type")):
        yield f"{place}: {value!r} is no {schema['type']}"
    elif isinstance(value, dict):
        yield from _violations_of_object(value, schema, definitions, place)
    elif isinstance(value, list):
        known = schema.get("prefixItems", [])
        for number, item in enumerate(value):
            part = known[number] if number < len(known) else schema.get("items", {})
            yield from _violations(item, part, definitions, f"{place}[{number}]")


def _violations_of_object(
    value: dict[str, Any], schema: Any, definitions: dict[str, Any], place: str
) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for key in set(schema.get("required", [])) - value.keys():
        yield f"{place}.{key} is missing"
    for key, item in value.items():
        if key in properties:
            yield from _violations(item, properties[key], definitions, f"{place}.{key}")
        elif isinstance(others, dict):
            yield from _violations(item, others, definitions, f"{place}.{key}")
        elif others is not True and "type" in schema:
            yield f"{place}.{key} is not documented"


def _is_of_type(value: Any, name: str | None) -> bool:
    if name is None:
        return True
    if name in ("integer", "number"):
        return isinstance(value, int if name == "integer" else int | float) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])
