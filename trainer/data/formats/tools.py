"""Functions that the assistant may call, and its calls, in the form that chat templates expect."""

from collections.abc import Mapping
from typing import Any

from trainer.data.formats.unsupported import has_content
from trainer.data.formats.values import kind, read_embedded, require_unicode
from trainer.data.reading.rows import BadRow
from trainer.protocol.text import printable

NAMES_OF_ARGUMENTS = ("arguments", "parameters", "params", "args", "kwargs", "input")
"""The first is the one that is read, where it stands beside the name."""
MAX_CALLS = 1_000  # in a turn; many times as many take minutes to render
MAX_TOOLS = 1_000  # in a row

Calls = tuple[Mapping[str, Any], ...]
"""What the assistant calls, as `Message.tool_calls` has it."""


class TooManyCalls(BadRow):
    """A turn has more calls than can be rendered in a reasonable time."""


def read_tools(value: Any, place: str) -> tuple[Mapping[str, Any], ...]:
    """Return the schemas in a list, or in the JSON text of one.

    Raises:
        BadRow: it is something else.
    """
    if value is None or value == "":
        return ()
    tools = read_embedded(value, place, "a list or its JSON text") if isinstance(value, str) else value
    if not isinstance(tools, list):
        raise BadRow(f"{place} is {kind(tools)}; expected a list of objects")
    if len(tools) > MAX_TOOLS:
        raise BadRow(
            f"{place} has {len(tools):,} tools; expected at most {MAX_TOOLS:,}, so leave out some of them"
        )
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise BadRow(
                f"{place}[{index}] is {kind(tool)}; expected an object with the schema of a function"
            )
        _refuse_filled_in(tool, f"{place}[{index}]")
    require_unicode(tools, place)
    return tuple(tools)


def _refuse_filled_in(schema: Any, place: str) -> None:
    """Refuse a parameter that is null.

    The library `datasets` gives each tool the parameters of all others so, and each call their arguments.
    """
    for key, value in schema.items():
        if key == "properties" and isinstance(value, dict) and None in value.values():
            name = next(name for name, found in value.items() if found is None)
            raise BadRow(
                f'{place} has the parameter "{printable(name, limit=40)}", which is null; expected its '
                "schema or no such parameter; if the library datasets has filled it in, there and in the "
                "calls, remove what is null: jq -c 'del(.. | nulls)' FILE"
            )
        if isinstance(value, dict):
            _refuse_filled_in(value, place)


def read_tool_calls(value: Any, place: str) -> Calls:
    """Return calls as `{"type": "function", "function": {"name": …, "arguments": {…}}}`, with their ids.

    A call may lack the outer object, and its arguments may be the JSON text of an object.

    Raises:
        BadRow: it is something else.
        TooManyCalls: it is that, but far too long.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadRow(f"{place} is {kind(value)}; expected a list of calls")
    if len(value) > MAX_CALLS:
        raise TooManyCalls(
            f"{place} has {len(value):,} calls; expected at most {MAX_CALLS:,} in a turn, so split it"
        )
    calls = tuple(_read_call(call, f"{place}[{index}]") for index, call in enumerate(value))
    require_unicode(calls, place)
    return calls


def read_function_call(value: Any, place: str) -> Calls:
    """Return the one call `{"name": …, "arguments": "…"}` that older data has beside the content, if any.

    Raises:
        BadRow: it is something else.
    """
    if value is None or value == "":
        return ()
    call = _read_call(value, place)
    require_unicode(call, place)
    return (call,)


def _read_call(call: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(call, dict):
        raise BadRow(f'{place} is {kind(call)}; expected {{"function": {{"name": …, "arguments": {{…}}}}}}')
    if call.get("type", "function") != "function":
        raise BadRow(f'{place}.type is {kind(call["type"])}; expected "function"')
    function = call.get("function", call)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRow(f'{place} has no name of a function; expected {{"function": {{"name": …}}}}')
    _refuse_arguments_elsewhere(call, function, place)
    arguments = _read_arguments(function.get("arguments"), f"{place}.function.arguments")
    read = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": call["id"], **read} if isinstance(call.get("id"), str) else read


def _refuse_arguments_elsewhere(call: Mapping[str, Any], function: Mapping[str, Any], place: str) -> None:
    """Refuse a call without arguments that has them under a name of its own, where nobody would read them."""
    if function.get("arguments"):
        return
    found = {f"function.{key}": value for key, value in function.items()} if function is not call else {}
    for key, value in (found | dict(call)).items():
        if key.rpartition(".")[2] in NAMES_OF_ARGUMENTS and has_content(value):
            raise BadRow(
                f'found {place}.{key}, which would be lost; expected the arguments as "arguments" beside the '
                "name; rename the key"
            )


def _read_arguments(value: Any, place: str) -> dict[str, Any]:
    if value is None or value == "":
        return {}
    arguments = read_embedded(value, place, "an object or its JSON text") if isinstance(value, str) else value
    if not isinstance(arguments, dict):
        raise BadRow(f"{place} is {kind(value)}; expected an object or its JSON text")
    return arguments
