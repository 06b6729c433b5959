"""Put the effective settings together: defaults < config.json < environment < --set.

Reads, never writes.
"""

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from trainer.config.schema import Settings, sections
from trainer.config.section import Section
from trainer.protocol.json_faults import fault_of
from trainer.protocol.masking import HIDDEN
from trainer.protocol.text import printable

VARIABLE_PREFIX = "TRAINING__"  # TRAINING__DAEMON__RESCAN_S=2 sets daemon.rescan_s
BOUNDS = ("gt", "ge", "lt", "le")
LARGEST_INTEGER = 2**63 - 1
KINDS = ("int", "none", "constrained-int", "literal[", "list[")  # of values, in pydantic's words
SECRETS = ("notify.apprise", "tracking.mlflow")  # may have passwords, which no message quotes
SCHEMA_KEY = "$schema"  # lets an editor complete config.json; not a setting


class BadConfig(ValueError):
    """A setting cannot be honoured. The message names place, value, expectation and way out, a line each."""


@dataclass(frozen=True)
class Effective:
    """Settings, and where each that is set explicitly came from."""

    settings: Settings
    origins: Mapping[str, str]
    """`section.key` -> place, such as `config.json` or `--set`; absent for a default."""


@dataclass(frozen=True)
class _Given:
    """One value somebody gave, with the place to name when it is wrong."""

    section: str
    key: str
    value: Any
    origin: str
    place: str


def load_settings(
    config_file: Path,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Effective:
    """Return the effective settings.

    Args:
        config_file: JSON; may be missing.
        environment: variables such as TRAINING__DAEMON__RESCAN_S; None takes the process's own.
        overrides: `section.key=value` texts, the values as JSON or as plain text.
    Raises:
        BadConfig: something was given that is not a setting, or a value it cannot have.
    """
    environment = os.environ if environment is None else environment
    return _effective(
        [*_from_file(config_file), *_from_environment(environment), *_from_overrides(overrides)]
    )


def settings_of(content: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Return settings from what `config.json` could contain, for programs that use the engine as a library.

    Raises:
        BadConfig: something was given that is not a setting, or a value it cannot have.
    """
    return _effective(_from_sections(content, "settings")).settings


def _effective(given: Sequence[_Given]) -> Effective:
    _refuse_unknown(given)
    _refuse_huge(given)
    merged: dict[str, dict[str, Any]] = {}
    winners: dict[str, _Given] = {}
    for item in given:
        merged.setdefault(item.section, {})[item.key] = item.value
        winners[f"{item.section}.{item.key}"] = item
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise BadConfig("\n".join(_explanations(error.errors(), winners))) from error
    return Effective(settings, {name: item.origin for name, item in winners.items()})


def _from_file(config_file: Path) -> list[_Given]:
    try:
        content = config_file.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadConfig(f"{config_file}: {error.strerror}; expected a readable JSON file") from error
    try:
        value = json.loads(content, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise BadConfig(f"{config_file}: {_fault(error, content)}") from error
    place = config_file.name
    if not isinstance(value, dict):
        raise BadConfig(
            f'{place}: found {_shown(value)}; expected a JSON object with sections such as "training"'
        )
    return _from_sections(value, place)


def _fault(error: Exception, content: bytes) -> str:
    expected = "expected a JSON object in UTF-8"
    if not isinstance(error, json.JSONDecodeError):
        return f"{error}; {expected}"
    place = f"line {error.lineno}, column {error.colno}"
    return f"{place}: {fault_of(error)}; {expected}{_comma_hint(content)}"


def _comma_hint(content: bytes) -> str:
    """Return what to say of the commas after the last of several items, which other languages allow."""
    without_texts = re.sub(rb'"(?:[^"\\]|\\.)*"', b'""', content)
    found = re.search(rb",\s*([}\]])", without_texts)
    return f"; a comma before {found[1].decode()} is not allowed" if found else ""


def _from_sections(content: Mapping[str, Any], place: str) -> list[_Given]:
    given = []
    for section, keys in content.items():
        if section == SCHEMA_KEY:
            continue
        _refuse_section(section, place)
        if not isinstance(keys, dict):
            raise BadConfig(f"{place}: {section} is {_shown(keys)}; expected a JSON object")
        given += [_Given(section, key, item, place, place) for key, item in keys.items()]
    return given


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f'key "{printable(key)}" appears twice')
        content[key] = value
    return content


def _from_environment(environment: Mapping[str, str]) -> list[_Given]:
    given = []
    for variable, text in sorted(environment.items()):
        if variable.startswith(VARIABLE_PREFIX):
            section, _, key = variable.removeprefix(VARIABLE_PREFIX).lower().partition("__")
            given.append(_Given(section, key, _value(text), "environment", variable))
    return given


def _from_overrides(overrides: Sequence[str]) -> list[_Given]:
    given = []
    for text in overrides:
        name, equals, value = text.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot):
            raise BadConfig(
                f"--set {printable(text)}: expected section.key=value, such as training.learning_rate=1e-4"
            )
        given.append(_Given(section, key, _value(value), "--set", f"--set {name}"))
    return given


def _value(text: str) -> Any:
    """Read a value as JSON; what is not JSON is meant as text, so that nobody must quote `tiny`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _refuse_unknown(given: Sequence[_Given]) -> None:
    known = sections()
    for item in given:
        _refuse_section(item.section, item.place)
        keys = known[item.section].model_fields
        if item.key not in keys:
            raise BadConfig(
                f'{item.place}: unknown key "{printable(item.key)}" in "{item.section}" '
                f"(value {_shown(item.value)})" + _nearest(item.key, list(keys))
            )
        if isinstance(item.value, dict) and (options := _options_of(keys[item.key])):
            _refuse_unknown_options(item, options)


def _options_of(field: FieldInfo) -> list[str]:
    """Return the keys of a setting that is an object with keys of its own; none for any other."""
    kinds = [kind for kind in get_args(field.annotation) if isinstance(kind, type)]
    return [key for kind in kinds if issubclass(kind, Section) for key in kind.model_fields]


def _refuse_unknown_options(item: _Given, options: list[str]) -> None:
    for key, value in item.value.items():
        if key not in options:
            raise BadConfig(
                f'{item.place}: unknown key "{printable(key)}" in "{item.section}.{item.key}" '
                f"(value {_shown(value)})" + _nearest(key, options)
            )


def _refuse_huge(given: Sequence[_Given]) -> None:
    """JSON has integers of any length; sums with a float, and the ledger, have not."""
    for item in given:
        if any(isinstance(value, int) and abs(value) > LARGEST_INTEGER for value in _values_in(item.value)):
            raise BadConfig(
                f"{item.place}: {item.section}.{item.key} is {_shown(item.value)}; expected integers from "
                f"-{LARGEST_INTEGER} to {LARGEST_INTEGER}"
            )


def _values_in(value: Any) -> Iterator[Any]:
    waiting = [value]  # rather than a call for each level: JSON may be nested more deeply than calls
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict | list):
            waiting += item.values() if isinstance(item, dict) else item
        else:
            yield item


def _refuse_section(section: str, place: str) -> None:
    known = list(sections())
    if section in known:
        return
    owners = [name for name, kind in sections().items() if section in kind.model_fields]
    if owners:
        raise BadConfig(f'{place}: "{section}" is at the top level; it belongs in "{owners[0]}"')
    raise BadConfig(f'{place}: unknown section "{printable(section)}"' + _nearest(section, known))


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else f"; expected one of {', '.join(known)}"


def _explanations(errors: Sequence[ErrorDetails], winners: Mapping[str, _Given]) -> list[str]:
    """Explain each value once, also one that could be this or that and is neither."""
    values: dict[tuple[object, ...], list[str]] = {}
    for details in errors:
        is_one_of_several = str(details["loc"][-1]).startswith(KINDS)
        place, expected = _explain(details, winners)
        name = details["loc"][:2] if is_one_of_several else details["loc"]
        values.setdefault(name, [place]).append(expected)
    return [f"{place}; expected {' or '.join(expected)}" for place, *expected in values.values()]


def _explain(details: ErrorDetails, winners: Mapping[str, _Given]) -> tuple[str, str]:
    """Return place and value, and what was expected."""
    section, key, *deeper = (str(part) for part in details["loc"])
    item = winners[f"{section}.{key}"]
    where = ".".join([section, key, *(part for part in deeper if not part.startswith(KINDS))])
    expected = "a JSON object" if details["type"] == "model_type" else details["msg"]
    expected = expected.removeprefix("Input should be ").removeprefix("String should have ")
    shown = HIDDEN if f"{section}.{key}" in SECRETS else _shown(details["input"])
    return f"{item.place}: {where} is {shown}", _range(section, key, expected)


def _range(section: str, key: str, expected: str) -> str:
    """Prefer the whole range over the one bound that was broken."""
    rules = sections()[section].model_fields[key].metadata
    bounds = {name: getattr(rule, name) for rule in rules for name in BOUNDS if hasattr(rule, name)}
    lower = f"({bounds['gt']}" if "gt" in bounds else f"[{bounds['ge']}" if "ge" in bounds else ""
    upper = f"{bounds['lt']})" if "lt" in bounds else f"{bounds['le']}]" if "le" in bounds else ""
    if lower and upper and "than" in expected:
        return f"a number in {lower}, {upper}"
    return f"a number {expected}" if "than" in expected else expected


def _shown(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False, default=str), limit=80)
