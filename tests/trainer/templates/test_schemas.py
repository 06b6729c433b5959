"""Of tools with schemas made by chance, the report names what the model would not see, and nothing else."""

import re
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any

from tests.support import every_case
from tests.trainer.templates.test_properties import CASES, REFUSALS, Case
from trainer.data.conversation import Conversation, Message

SCHEMAS = 4
NAMED = re.compile(
    r"""(\S+) in the schema of the tool "\w+"(?:, and (\d+) more parts? of the tools' schemas)?"""
)
ASKED, ANSWERED = Message("user", "Why?"), Message("assistant", "So.")


class RandomTool:
    """A tool in which every word is said once."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)
        self._numbers = count(1)
        self.words: dict[str, str] = {}
        """Of each, the keys that lead to it."""
        parameters = self._object("parameters")
        name, description = self._word("name"), self._word("description")
        function = {"name": name, "description": description, "parameters": parameters}
        self.tool = {"type": "function", "function": function}

    def _word(self, path: str) -> str:
        word = f"kw{next(self._numbers)}kw"
        self.words[word] = path
        return word

    def _object(self, path: str) -> dict[str, Any]:
        properties = {}
        for _ in range(self._random.randint(1, 3)):
            name = f"kw{next(self._numbers)}kw"
            inner = f"{path}.properties.{name}"
            self.words[name] = inner
            properties[name] = self._parameter(inner)
        return {"type": "object", "properties": properties, "required": list(properties)[:1]}

    def _parameter(self, path: str) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": self._random.choice(["string", "integer", "object", "array"])}
        if self._random.random() < 0.5:
            schema["description"] = self._word(f"{path}.description")
        match schema["type"]:
            case "string" if self._random.random() < 0.5:
                schema["enum"] = [self._word(f"{path}.enum")]
            case "object" if path.count("properties") < 3:
                schema |= self._object(path)
            case "array":
                schema["items"] = {"type": "string", "description": self._word(f"{path}.items.description")}
        return schema


def test_words_of_a_schema_are_shown_or_named():
    told = 0

    with every_case() as each:
        for case in CASES:
            for number in range(SCHEMAS):
                made = RandomTool(f"{case.name} {number}")
                with each.case(f"{case.name}, schema {number}"), suppress(*REFUSALS):
                    told += is_told(case, made)

    assert told, "templates that all show everything prove nothing"


def is_told(case: Case, made: RandomTool) -> bool:
    """Return whether the report names a part of a schema, which has to be one that is not shown.

    Raises:
        UnrenderableConversation, UnusableTemplate: the template does not show tools.
    """
    row = Conversation((ASKED, ANSWERED), tools=(made.tool,))
    text = case.trained(row, "assistant").text
    missing = {path for word, path in made.words.items() if word not in text}

    reported = case.renderer.all_lost_context(row, train_on="assistant")

    assert len(reported) == bool(missing), (reported, missing)
    if not missing or "the schema of the tools" in reported:
        return False
    assert (named := NAMED.fullmatch(reported[0])), reported
    assert named[1] in missing or named[1].endswith(".type")  # of which no word tells
    assert 1 + int(named[2] or 0) >= len(missing)
    return True
