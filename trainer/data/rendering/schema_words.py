"""Find what a chat template drops of the tools' schemas: names, descriptions, values and types, at any depth.

As in `parts`, each tool is shown once more with a word of its own in every place. Types decide how a template
writes what stands beside them, so they are replaced by other types, and the text around them has to change.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.data.conversation import Conversation, Message
from trainer.data.rendering.chat_template import ShownTurns, Tokenizer, UnrenderableConversation
from trainer.data.rendering.parts import DEEPEST, MARKS, forms_of, squeezed
from trainer.protocol.text import printable

STRUCTURES_KEPT = TOOLS_KEPT = 4096
OTHER_TYPE = {
    **dict.fromkeys(("number", "integer", "boolean", "object", "array", "null"), "string"),
    "string": "boolean",
}
NO_WORDS = (
    "$schema",
    "$id",
    "$ref",
    "$comment",
)  # what other programs read; a reference has to lead somewhere
PARAMETERS_TYPE = ("parameters", "type")  # always "object"
NAMED = ("properties", "patternProperties", "$defs", "definitions")  # the keys in these are names
LONGEST_NAME, LONGEST_PATH = 80, 200  # characters in a message
SHORTEST_WORD = 3  # characters that are looked for as they are; shorter ones stand anywhere

Path = tuple[str, ...]
"""The keys that lead to a value of a tool."""
_Judged = tuple[Path, list[str] | None]
"""A value that is lost in any case (None), or lines of which each has to be shown."""


class SchemaCheck:
    """Finds lost words with one tokenizer's template; tools of the same structure are tried once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tools: dict[str, list[_Judged]] = {}
        self._structures: dict[str, frozenset[int]] = {}

    def lost(self, tools: Sequence[Mapping[str, Any]], text: str) -> str | None:
        """Return in words what is lost of the tools' schemas; None if nothing is.

        Args:
            text: what the template makes of a conversation with these tools.
        """
        text = squeezed(text).lower()
        found = {(i, path): None for i, tool in enumerate(tools) for path in self._lost_of(tool, text)}
        if not found:
            return None
        i, path = next(iter(found))
        name = printable(str(function_of(tools[i]).get("name")), limit=LONGEST_NAME)
        place = f'{printable(".".join(path), limit=LONGEST_PATH)} in the schema of the tool "{name}"'
        others = len(found) - 1
        return (
            f"{place}, and {others} more part{'s' * (others > 1)} of the tools' schemas" if others else place
        )

    def _lost_of(self, tool: Mapping[str, Any], text: str) -> Iterator[Path]:
        key = repr(tool)
        if key not in self._tools:
            if len(self._tools) >= TOOLS_KEPT:
                self._tools.clear()
            self._tools[key] = list(self._judged(tool))
        for path, lines in self._tools[key]:
            if lines is None or not all(_is_in(text, line) for line in lines):
                yield path

    def _judged(self, tool: Mapping[str, Any]) -> Iterator[_Judged]:
        marked = _MarkedTool(tool)
        structure = hashlib.sha256(repr(marked.tool).encode()).hexdigest()
        if structure not in self._structures:
            if len(self._structures) >= STRUCTURES_KEPT:
                self._structures.clear()
            self._structures[structure] = self._try(tool, marked)
        lost = self._structures[structure]
        for number, said in enumerate(marked.said):
            if number in lost:
                yield said.path, None
            elif lines := _lines_of(said.value):
                yield said.path, lines

    def _try(self, tool: Mapping[str, Any], marked: "_MarkedTool") -> frozenset[int]:
        """Return the numbers of what is lost of a tool."""
        text = self._show(marked)
        if text is None or word_of(0) not in text:
            return frozenset()  # nothing can be said of a tool that is not shown at all
        found = {mark[0] for mark in MARKS.finditer(text)}
        lost = {i for i, said in enumerate(marked.said) if said.mark and str(said.mark) not in found}
        around = _text_around_marks(text)
        types = [i for i, said in enumerate(marked.said) if not said.mark]
        for swapped in (types[::2], types[1::2]):  # only every second one, so that no neighbour's is seen
            if swapped and (other := self._show(_MarkedTool(tool, frozenset(swapped)))) is not None:
                others = _text_around_marks(other)
                unchanged = {mark for mark, context in around.items() if others.get(mark) == context}
                lost |= {i for i in swapped if marked.said[i].beside & around.keys() <= unchanged}
        return frozenset(lost)

    def _show(self, marked: "_MarkedTool") -> str | None:
        conversation = Conversation((Message("user", "?"),), tools=(marked.tool,))
        try:
            return ShownTurns(conversation, self._tokenizer).first(1).lower()
        except UnrenderableConversation:
            return None


@dataclass(frozen=True, slots=True)
class _Said:
    """A word, a number or a type of a schema."""

    path: Path
    value: Any
    mark: str | int
    """What stands in its place; empty for a type."""
    beside: set[str]
    """The marks of the schema that it belongs to."""


class _MarkedTool:
    """A copy of a tool that says a word of its own in every place; the name is the first.

    Args:
        swapped: numbers of the types that become other types.
    """

    def __init__(self, tool: Mapping[str, Any], swapped: frozenset[int] = frozenset()) -> None:
        self._swapped = swapped
        self.said: list[_Said] = []
        function = function_of(tool)
        named = {"name": function.get("name", ""), **function}
        schema = self._schema(named, (), set())
        self.tool = schema if function is tool else {**tool, "function": schema}

    def _schema(self, schema: Mapping[str, Any], path: Path, beside: set[str]) -> dict[str, Any]:
        """Mark a schema, or the function that has one.

        Args:
            beside: marks around it, to which its own are added.
        """
        properties = schema.get("properties")
        names: dict[str, str] = {}
        if isinstance(properties, Mapping):
            names = {name: self._word(name, (*path, "properties", name), set()) for name in properties}
        marked: dict[str, Any] = {}
        for key, value in schema.items():
            inner = (*path, key)
            if key in NO_WORDS or len(path) > DEEPEST:
                marked[key] = value
            elif key == "type":
                marked[key] = self._type(value, schema, inner, beside)
            elif key == "required" and isinstance(value, list):
                marked[key] = [names.get(str(name), name) for name in value]
            elif key in NAMED and isinstance(value, Mapping):
                own = names if key == "properties" else {}
                marked[key] = {
                    own.get(name, name): self._value(
                        item, (*inner, name), {own[name]} if name in own else set()
                    )
                    for name, item in value.items()
                }
            else:
                marked[key] = self._value(value, inner, beside)
        return marked

    def _value(self, value: Any, path: Path, beside: set[str]) -> Any:
        match value:
            case Mapping():
                return self._schema(value, path, beside)
            case list():
                return [self._value(item, path, beside) for item in value]
            case str() if value.strip():
                return self._word(value, path, beside)
            case bool():
                return value
            case int() | float():
                return self._note(value, path, 90_000_000_009 + 10 * len(self.said), beside)
            case _:
                return value

    def _word(self, value: str, path: Path, beside: set[str]) -> str:
        return str(self._note(value, path, word_of(len(self.said)), beside))

    def _note(self, value: Any, path: Path, mark: str | int, beside: set[str]) -> str | int:
        beside.add(str(mark))
        self.said.append(_Said(path, value, mark, beside))
        return mark

    def _type(self, value: Any, schema: Mapping[str, Any], path: Path, beside: set[str]) -> Any:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or _is_implied(value, schema) or path == PARAMETERS_TYPE:
            return self._value(value, path, beside) if isinstance(value, Mapping) else value
        if isinstance(value, str) and value not in OTHER_TYPE:
            return self._value(value, path, beside)  # no template can know it
        self.said.append(_Said(path, None, "", beside))
        if len(self.said) - 1 not in self._swapped:
            return value
        others = [OTHER_TYPE.get(str(name), name) for name in names]
        return others[0] if isinstance(value, str) else others


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a tool that has its name and schema."""
    function = tool.get("function")
    return function if isinstance(function, Mapping) else tool


def word_of(number: int) -> str:
    """Return the mark of this number."""
    return f"zq{number}zq"


def _is_implied(kind: Any, schema: Mapping[str, Any]) -> bool:
    """Return whether what else a schema has tells its type."""
    return (kind == "object" and "properties" in schema) or (kind == "array" and "items" in schema)


def _text_around_marks(text: str) -> dict[str, list[str]]:
    """Return of each mark what stands from the one before it to the one behind it, wherever it stands."""
    found = list(MARKS.finditer(text))
    starts = [0, *(mark.start() for mark in found)]
    ends = [*(mark.end() for mark in found[1:]), len(text)]
    around: dict[str, list[str]] = {}
    for mark, start, end in zip(found, starts, ends, strict=False):
        around.setdefault(mark[0], []).append(text[start:end])
    return around


def _lines_of(value: Any) -> list[str]:
    """Return the lines of a text, which some templates begin with marks of a comment.

    Numbers may be written in any way, and what is short stands anywhere.
    """
    lines = value.splitlines() if isinstance(value, str) else []
    return [line for line in lines if len(squeezed(line)) >= SHORTEST_WORD]


def _is_in(text: str, line: str) -> bool:
    return squeezed(line).lower() in text or any(form.lower() in text for form in forms_of(line))
