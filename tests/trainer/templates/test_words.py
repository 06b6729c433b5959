"""Whatever a row gives is shown or reported as lost, or the row is refused; each learned turn has its end.

This judge knows nothing of templates: a row whose every part says a word of its own is rendered, and the
words and the ends of turns are looked for in the tokens.
"""

import re
from dataclasses import replace
from itertools import count, groupby
from typing import Any

from tests.support import every_case
from tests.trainer.templates.families import Family
from tests.trainer.templates.test_masks import CASES, EACH_FAMILY, RENDERERS, TOKENIZERS
from trainer.data.conversation import REASONING_KEYS, Conversation, Message
from trainer.data.rendering.example import IGNORED, Example
from trainer.data.rendering.render import UnrenderableConversation, UnusableTemplate

NAMED = re.compile(r"messages\[\d+\]|the tools|refuses the conversation")


class Words:
    """Gives every part of a conversation a word that nothing else says."""

    def __init__(self) -> None:
        self._numbers = count()
        self.said: list[tuple[int, str, str]] = []
        """Of each word: which turn says it, as what."""
        self._names: dict[str, str] = {}

    def _word(self, turn: int, what: str) -> str:
        word = f"Kx{next(self._numbers)}y"
        self.said.append((turn, what, word))
        return word

    def in_place_of(self, row: Conversation) -> Conversation:
        for tool in row.tools:
            self._names[tool["function"]["name"]] = f"Fn{next(self._numbers)}y"
        tools = tuple(
            {**tool, "function": {**tool["function"], "name": self._names[tool["function"]["name"]]}}
            for tool in row.tools
        )
        messages = tuple(self._message(i, message) for i, message in enumerate(row.messages))
        return replace(row, messages=messages, tools=tools)

    def _message(self, i: int, message: Message) -> Message:
        extra = dict(message.extra)
        for key in set(REASONING_KEYS) & extra.keys():
            extra[key] = self._word(i, "reasoning")
        what = "tool result" if message.role == "tool" else "words"
        content = self._word(i, what) if message.content.strip() else message.content
        calls = tuple(self._call(i, call) for call in message.tool_calls)
        if "name" in extra:
            extra["name"] = self._names[extra["name"]]
        return replace(message, content=content, tool_calls=calls, extra=extra)

    def _call(self, i: int, call: Any) -> dict[str, Any]:
        function = call["function"]
        arguments = {key: self._value(i, value) for key, value in function["arguments"].items()}
        self.said.append((i, "tool_calls", self._names[function["name"]]))
        return {**call, "function": {"name": self._names[function["name"]], "arguments": arguments}}

    def _value(self, i: int, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._value(i, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(i, item) for item in value]
        return self._word(i, "tool_calls")


def learned_texts(family: Family, example: Example) -> list[str]:
    """Return the text of each stretch of tokens that is learned."""
    pairs = zip(example.token_ids, example.labels, strict=True)
    runs = groupby(pairs, key=lambda pair: pair[1] != IGNORED)
    ids = [[token for token, _ in run] for is_learned, run in runs if is_learned]
    return [TOKENIZERS[family.name].decode(run) for run in ids]


@EACH_FAMILY
def test_no_word_is_lost_in_silence_and_no_turn_without_its_end(family):
    """With `all`, everything is learned, so that mode has no turns to look at."""
    with every_case() as cases:
        for shape, row, train_on in CASES:
            if train_on != "all":
                with cases.case(f"{shape}, {train_on}"):
                    assert_nothing_is_lost(family, row, train_on)


def example_or_refusal(family: Family, row: Conversation, train_on: Any) -> Example | str:
    try:
        [[example]] = RENDERERS[family.name].render([row], max_length=10_000, train_on=train_on)
    except (UnrenderableConversation, UnusableTemplate) as error:
        return error.reason
    return example


def assert_nothing_is_lost(family: Family, row: Conversation, train_on: str) -> None:
    words, renderer = Words(), RENDERERS[family.name]
    marked = words.in_place_of(row)
    ways: dict[str, Any] = {"train_on": train_on}

    found = example_or_refusal(family, marked, train_on)
    if isinstance(found, str):
        assert NAMED.search(found), found
        return
    example = found

    text = TOKENIZERS[family.name].decode(example.token_ids)
    answers = [i for i, m in enumerate(row.messages) if m.role == "assistant"]
    learned = {i for i in answers[-1:] if train_on == "last_assistant"} or set(answers)
    learned = {i for i in learned if row.messages[i].is_trained}
    learned_text = "".join(texts := learned_texts(family, example))
    assert all(one.endswith(family.ends_of_turns) for one in texts), texts
    for turn, what, word in words.said:
        if turn in learned:
            assert word in learned_text, word
        elif what != "tool_calls":
            assert word not in learned_text, word
            is_reported = f"the {what} of messages[{turn}]" in renderer.lost_context(marked, **ways)
            assert (word in text) != is_reported, word
        else:
            assert word in text, word
