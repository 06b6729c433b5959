"""Say what to do with a row that no format fits: rows inside it, columns, keys in another case. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.protocol.text import printable

NAME_SHOWN = 30
HOLD_ROWS = (
    *("data", "dataset", "rows", "row", "records", "items", "examples", "samples", "body"),
    *("train", "test", "validation"),
)
PAGE = "docs/data/formats.md"

KeySets = Sequence[tuple[str, ...]]


def way_out(row: Mapping[str, Any], known: Sequence[tuple[KeySets, tuple[str, ...]]]) -> str:
    """Return what to do with a row that has no format.

    Args:
        known: the sets of keys of each format, and how `data.fields` calls the keys of a set.
    """
    if path := _path_to_rows(row, known):
        return f"if the rows are inside, write one per line, such as with: jq -c '{path}' FILE"
    if fields := _in_other_case(row, known):
        return f"keys are told apart by case; say in config.json which is which: {_as_setting(fields)}"
    names = [printable(key, limit=NAME_SHOWN) for key, value in row.items() if isinstance(value, str)]
    question, answer = names if len(names) == len(row) == 2 else ("QUESTION", "ANSWER")
    setting = _as_setting({"prompt": question, "completion": answer})
    renamed = 'rename the keys, such as to "question" and "answer"'
    return f"{renamed}, or say in config.json which is which, such as {setting} ({PAGE})"


def _as_setting(fields: Mapping[str, str]) -> str:
    """Return `data.fields` as it stands in config.json."""
    return json.dumps({"data": {"fields": fields}}, ensure_ascii=False)


def columns_instead_of_rows(row: Mapping[str, Any]) -> str:
    """Return what to do with a row that is a whole table, column by column; nothing if it is none."""
    if len(row) < 2 or not (_are_numbered(row.values()) or _are_lists_of_texts(row.values())):
        return ""
    return (
        "; it looks like a whole table by columns; expected one row per line, as pandas writes it with "
        'to_json(FILE, orient="records", lines=True)'
    )


def _path_to_rows(row: Mapping[str, Any], known: Sequence[tuple[KeySets, tuple[str, ...]]]) -> str:
    """Return where jq finds the rows that one key holds; nothing if none does."""
    for key in HOLD_ROWS:
        value = row.get(key)
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            path = f".{key}[]" if isinstance(value, list) else f".{key}"
            if _has_format(inner, known):
                return path
            if isinstance(inner.get("row"), dict) and _has_format(inner["row"], known):
                return f"{path}.row"
    return ""


def _has_format(row: Mapping[str, Any], known: Sequence[tuple[KeySets, tuple[str, ...]]]) -> bool:
    return any(all(row.get(key) is not None for key in keys) for sets, _ in known for keys in sets)


def _in_other_case(
    row: Mapping[str, Any], known: Sequence[tuple[KeySets, tuple[str, ...]]]
) -> dict[str, str]:
    """Return what `data.fields` must be for keys such as `Question` and `Answer`."""
    given = {key.strip().lower(): key for key, value in row.items() if value is not None}
    for sets, names in known:
        for keys in sets:
            if all(key in given for key in keys):
                found = zip(names, (given[key] for key in keys), strict=True)
                return {name: printable(key, limit=NAME_SHOWN) for name, key in found}
    return {}


def _are_numbered(columns: Any) -> bool:
    """Whether these are columns as pandas writes them by default: `{"0": …, "1": …}`."""
    return all(isinstance(column, dict) and column and all(map(str.isdigit, column)) for column in columns)


def _are_lists_of_texts(columns: Any) -> bool:
    lists = [column for column in columns if isinstance(column, list) and column]
    is_even = len({len(column) for column in lists}) == 1
    return len(lists) == len(columns) and is_even and all(isinstance(column[0], str) for column in lists)
