"""Change one setting in the text of a `config.json`, and nothing else: the layout is a person's."""

import json
import re
from typing import Any

SPACE = re.compile(r"\s*")
INDENT = 2  # where there is nothing to follow
_DECODER = json.JSONDecoder()


def with_setting(text: str, section: str, key: str, value: Any) -> str:
    """Return `text` with one more or one other value; every other character stays.

    Args:
        text: one JSON object of objects; empty for a file that is not there.
    """
    literal = json.dumps(value)
    if not text.strip():
        return json.dumps({section: {key: value}}, indent=INDENT) + "\n"
    start = _skip(text, 0)
    sections = _members(text, start)
    if section not in sections:
        return _insert(text, start, section, f'{{"{key}": {literal}}}', is_alone=not sections)
    place = sections[section][0]
    keys = _members(text, place)
    if key not in keys:
        return _insert(text, place, key, literal, is_alone=not keys)
    first, last = keys[key]
    return text[:first] + literal + text[last:]


def _members(text: str, brace: int) -> dict[str, tuple[int, int]]:
    """Return where the values of an object stand, by key: first character, and the one after the last."""
    found = {}
    place = _skip(text, brace + 1)
    while text[place] != "}":
        key, place = _DECODER.raw_decode(text, place)
        first = _skip(text, _skip(text, place) + 1)  # behind the colon
        _, place = _DECODER.raw_decode(text, first)
        found[key] = (first, place)
        place = _skip(text, place)
        if text[place] == ",":
            place = _skip(text, place + 1)
    return found


def _insert(text: str, brace: int, key: str, literal: str, *, is_alone: bool) -> str:
    """Put a member first into an object, laid out as the one that was first so far."""
    end = _skip(text, brace + 1)
    space = text[brace + 1 : end]
    if is_alone:
        return f'{text[: brace + 1]}"{key}": {literal}{text[end:]}'
    comma = f",{space}" if "\n" in space else ", "
    return f'{text[:end]}"{key}": {literal}{comma}{text[end:]}'


def _skip(text: str, place: int) -> int:
    match = SPACE.match(text, place)
    return match.end() if match else place
