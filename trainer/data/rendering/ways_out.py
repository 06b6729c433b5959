"""Find out what would let a row train that is refused. Advises nothing that was not tried with such a row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import Any

from trainer.data.conversation import Conversation
from trainer.data.rendering.chat_template import (
    IN_USE,
    OTHER_TEMPLATES,
    OtherTemplate,
    Tokenizer,
)
from trainer.data.rendering.example import TrainOn
from trainer.data.rendering.parts import PartsCheck
from trainer.data.rendering.row_changes import ROW_CHANGES, RowChange

MOST_CHANGES = 3  # of a row at once
ALWAYS_TRIED = 50  # refused rows; people see the first ones
STRUCTURES_KEPT = 1024
NO_WAY_OUT = "no other template or setting for this model shows it; use another model, or remove the row"

Judge = Callable[[Conversation, Tokenizer, TrainOn], bool]
"""Returns whether a row would train that way."""


@dataclass(frozen=True)
class _Setting:
    words: str
    kind: str
    tokenizer: Tokenizer
    train_on: TrainOn


class WithTemplate:
    """A tokenizer as it would be with another template. Leaves the one that it stands for alone."""

    def __init__(self, tokenizer: Tokenizer, other: OtherTemplate) -> None:
        self._tokenizer: Any = tokenizer
        self.chat_template = other.text
        self.eos_token = other.end_of_turn or getattr(tokenizer, "eos_token", None)
        setattr(self, IN_USE, other.in_use)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, text: list[str], **options: Any) -> Any:
        return self._tokenizer(text, **options)

    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> Any:
        return self._tokenizer.apply_chat_template(
            conversation, chat_template=self.chat_template, eos_token=self.eos_token, **options
        )


class WaysOut:
    """Finds ways out for one tokenizer's template; after the first, rows of one structure are tried once."""

    def __init__(self, tokenizer: Tokenizer, parts: PartsCheck, judge: Judge) -> None:
        self._tokenizer = tokenizer
        self._parts = parts
        self._judge = judge

    def of(self, conversation: Conversation, train_on: TrainOn) -> str:
        """Return in words what would let a refused row train."""
        known = self._parts.known_ways_out
        self._parts.num_refused += 1
        trained = [message.is_trained for message in conversation.messages]
        key = f"{train_on} {trained} {self._parts.structure_of(conversation)}"
        if key not in known or self._parts.num_refused <= ALWAYS_TRIED:
            if len(known) >= STRUCTURES_KEPT:
                known.clear()
            found = list(self._found(conversation, train_on))
            known[key] = ", or ".join(found) if found else NO_WAY_OUT
        return known[key]

    def _found(self, conversation: Conversation, train_on: TrainOn) -> Iterator[str]:
        as_it_is, *others = self._settings(train_on)
        is_found: set[str] = set()
        for setting in others:
            if setting.kind not in is_found and self._trains(conversation, setting):
                is_found.add(setting.kind)
                yield setting.words
        changes = self._first_changes(conversation, as_it_is)
        if changes:
            yield changes
        if changes or is_found:
            return
        for setting in others:
            if changes := self._first_changes(conversation, setting):
                yield f"{setting.words}, and {changes}"
                return

    def _first_changes(self, conversation: Conversation, setting: _Setting) -> str:
        useful = [change for change in ROW_CHANGES if change.of(conversation) != conversation]
        for number in range(1, MOST_CHANGES + 1):
            for changes in combinations(useful, number):
                changed = _changed(conversation, changes)
                if _answers(changed) == _answers(conversation) and self._trains(changed, setting):
                    return " and ".join(change.words for change in changes)
        return ""

    def _trains(self, conversation: Conversation, setting: _Setting) -> bool:
        return self._judge(conversation, setting.tokenizer, setting.train_on)

    def _settings(self, train_on: TrainOn) -> list[_Setting]:
        """Return the setting as it is, and then others."""
        find_others: Callable[[], Sequence[OtherTemplate]] = getattr(self._tokenizer, OTHER_TEMPLATES, tuple)
        found = [_Setting("", "", self._tokenizer, train_on)]
        for other in find_others():
            tokenizer = WithTemplate(self._tokenizer, other)
            found.append(_Setting(other.setting, "template", tokenizer, train_on))
        if train_on == "assistant":
            words = 'set data.train_on to "last_assistant"'
            found.append(_Setting(words, "turns", self._tokenizer, "last_assistant"))
        return found


def _changed(conversation: Conversation, changes: Sequence[RowChange]) -> Conversation:
    return reduce(lambda row, change: change.of(row), changes, conversation)


def _answers(conversation: Conversation) -> bool:
    return any(message.role == "assistant" for message in conversation.messages)
