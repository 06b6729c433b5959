"""Values inside a row: what they are in words, and which of them are texts."""

import json
from typing import Any

from trainer.data.reading.rows import BadRow, parse_row
from trainer.protocol.text import printable


def kind(value: Any) -> str:
    """Say in a few words what a value is, safe to show."""
    match value:
        case None:
            return "missing or null"
        case str():
            return f'"{printable(value, limit=40)}"'
        case bool() | int() | float():
            return printable(str(value), limit=40)
        case list():
            return "an empty list" if not value else "a list"
        case _:
            return "an object"


def read_text(value: Any, place: str) -> str:
    """Return a text, or a list of text parts joined.

    Raises:
        BadRow: it is something else, or not Unicode.
    """
    if isinstance(value, list) and value:
        return "".join(_read_part(part, f"{place}[{i}]") for i, part in enumerate(value))
    if not isinstance(value, str):
        raise BadRow(f"{place} is {kind(value)}; expected text")
    if not value.isascii() and not _is_unicode(value):
        raise BadRow(f"{place} holds half of a surrogate pair; expected valid Unicode")
    return value


def _read_part(part: Any, place: str) -> str:
    if not isinstance(part, dict):
        raise BadRow(f'{place} is {kind(part)}; expected {{"type": "text", "text": …}}')
    if part.get("type") != "text":
        raise BadRow(
            f'{place}.type is {kind(part.get("type"))}; expected "text", the only kind that is trained'
        )
    if isinstance(part.get("text"), list):
        raise BadRow(f"{place}.text is a list; expected text")
    return read_text(part.get("text"), f"{place}.text")


def read_optional_text(value: Any, place: str) -> str:
    """Return a text; an empty one for null.

    Raises:
        BadRow: it is something else, or not Unicode.
    """
    return "" if value is None else read_text(value, place)


def read_embedded(text: str, place: str, expected: str) -> Any:
    """Return the JSON value that a text holds.

    Raises:
        BadRow: it holds none.
    """
    try:
        return parse_row(text.encode("utf-8", "backslashreplace"))
    except BadRow as error:
        what = str(error).partition("; expected")[0]
        raise BadRow(f"{place} is {kind(text)}; expected {expected} ({what})") from error


def require_unicode(value: Any, place: str) -> None:
    """Refuse half characters anywhere inside a JSON value, and one that nobody could write again.

    Raises:
        BadRow: there is one, or the value is nested too deeply.
    """
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError as error:
        raise BadRow(f"{place} is nested too deeply; expected fewer levels") from error
    if not _is_unicode(text):
        raise BadRow(f"{place} holds half of a surrogate pair; expected valid Unicode")


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
