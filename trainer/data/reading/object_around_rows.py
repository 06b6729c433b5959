"""Tell whether a text is one JSON object that holds a list of rows, such as `{"data": [{…}, …]}`. Pure.

JSON Lines whose rows hold lists of objects are told apart from it: by their line ends, and by their keys.
"""

import json
import re
from typing import Any

from trainer.data.reading.viewer_page import COLUMNS, NUMBER_OF_COLUMN, is_about_column
from trainer.protocol.row_fields import OF_ROWS

HOLD_ROWS = frozenset(
    {
        *("data", "dataset", "rows", "records", "items", "entries", "examples", "samples", "instances"),
        *("train", "training", "test", "validation"),
    }
)
PARTS_OF_A_CONVERSATION = {"role", "from"}  # a list of such objects is one row, not a list of rows
KEY = re.compile(r'\s*"([^"\\]*)"\s*:\s*')
LIST_OF_OBJECTS = re.compile(r"\[\s*\{")
FIRST_KEY_OF_LIST = re.compile(r'\[\s*\{\s*"([^"\\]*)"')
COMMA = re.compile(r"\s*,")
DECODER = json.JSONDecoder()


def first_key_of_list(text: str) -> str:
    """Return the first key of the first object of a list that a text begins with; nothing if it has none."""
    found = FIRST_KEY_OF_LIST.match(text)
    return found[1] if found else ""


def is_object_around_rows(text: str) -> bool:
    """Whether a text that begins with `{` is one object around rows, as far as it goes."""
    try:
        value, end = DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return _begins_with_rows(text)
    rest = text[end:].lstrip(" \t\r")
    if rest.startswith("\n") and rest.strip():
        return False
    is_over_lines = "\n" in text[:end]
    return any(
        _is_list_of_rows(inner) and _may_hold(key, value, is_over_lines) for key, inner in value.items()
    )


def _is_list_of_rows(value: Any) -> bool:
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return False
    return next(iter(value[0]), "") not in PARTS_OF_A_CONVERSATION


def _may_hold(key: str, keys: Any, is_over_lines: bool) -> bool:
    """Whether the list with this key is the rows, and not a part of the one row that the object is."""
    if not set(OF_ROWS).isdisjoint(set(keys) - {"metadata", "source"}):
        return False
    return key in HOLD_ROWS or (is_over_lines and len(keys) == 1)


def _begins_with_rows(text: str) -> bool:
    """Judge an object of which only the beginning is there, by what stands before its first list."""
    place, keys = 1, []
    while found := KEY.match(text, place):
        keys.append(found[1])
        value, end = _value_at(text, found.end())
        if LIST_OF_OBJECTS.match(text, found.end()) and not (value and is_about_column(found[1], value[0])):
            return _list_is_rows(text, found, keys)
        if end is None:
            return False
        if not (comma := COMMA.match(text, end)):
            return False
        place = comma.end()
    return False


def _value_at(text: str, place: int) -> tuple[Any, int | None]:
    """Return the value that begins there, and where it ends; nothing if it does not end, or is faulty."""
    try:
        return DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):
        return None, None


def _list_is_rows(text: str, found: re.Match[str], keys: list[str]) -> bool:
    """Whether the list behind the last of these keys is the rows, or describes those of a viewer."""
    is_over_lines = "\n" in text[: found.end()]
    if not is_over_lines and "\n" in text:
        return False  # a line that is faulty, not one that is cut off
    first_key = first_key_of_list(text[found.end() :])
    if keys[-1] == COLUMNS and first_key == NUMBER_OF_COLUMN:
        return True
    return first_key not in PARTS_OF_A_CONVERSATION and _may_hold(keys[-1], keys, is_over_lines)
