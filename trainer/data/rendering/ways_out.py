"""Search for what would let a refused row train. Advises nothing that was not tried with this very row.

A search renders a row many times, so it is made only for a message that a person is about to read.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import combinations, islice
from typing import Any, TypeVar

from trainer.data.conversation import Conversation
from trainer.data.rendering.chat_template import (
    IN_USE,
    OTHER_TEMPLATES,
    OtherTemplate,
    Refused,
    Tokenizer,
)
from trainer.data.rendering.example import TrainOn
from trainer.data.rendering.row_changes import ROW_CHANGES, RowChange

MOST_CHANGES = 3  # of a row at once
MOST_TRIALS, FEWEST_TRIALS = 40, 2  # in one search
TURNS_RENDERED = 2000  # in all trials of a search, but for the fewest
CHARACTERS_OF_TURN = 1000  # a row of longer turns counts as one of more turns
EXCERPT_TURNS = 16  # of a row that allows fewer trials; ways out are searched for with these first
ROWS_KEPT = 64
NO_WAY_OUT = "no other template or setting for this model shows it; use another model, or remove the row"

AnyRefusal = TypeVar("AnyRefusal", bound=Refused)
Judge = Callable[[Conversation, Tokenizer, TrainOn], bool]
"""Returns whether a row would train that way."""


@dataclass(frozen=True)
class _Setting:
    words: str
    kind: str
    tokenizer: Tokenizer
    train_on: TrainOn


@dataclass(frozen=True)
class _Way:
    """What may be done to let a row train."""

    setting: _Setting
    changes: tuple[RowChange, ...] = ()

    @property
    def words(self) -> str:
        of_changes = " and ".join(change.words for change in self.changes)
        return ", and ".join(filter(None, (self.setting.words, of_changes)))

    @property
    def loses(self) -> bool:
        return any(change.loses for change in self.changes)

    def changed(self, conversation: Conversation) -> Conversation:
        return reduce(lambda row, change: change.of(row), self.changes, conversation)


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
    """Searches for ways out with one tokenizer's template. Remembers what it found for the latest rows."""

    def __init__(self, tokenizer: Tokenizer, judge: Judge) -> None:
        self._tokenizer = tokenizer
        self._judge = judge
        self._known: dict[bytes, str] = {}

    def offer(self, refusal: AnyRefusal, conversation: Conversation, train_on: TrainOn) -> AnyRefusal:
        """Return the refusal of a row as one that can be asked for a way out."""
        find = partial(self.of, conversation, train_on)
        return type(refusal)(refusal.reason, refusal.way_out, find)

    def of(self, conversation: Conversation, train_on: TrainOn) -> str:
        """Return in words what would let a refused row train."""
        key = hashlib.sha256(repr((train_on, conversation)).encode()).digest()
        if key not in self._known:
            if len(self._known) >= ROWS_KEPT:
                self._known.clear()
            self._known[key] = self._search(conversation, train_on)
        return self._known[key]

    def _search(self, conversation: Conversation, train_on: TrainOn) -> str:
        settings = self._settings(train_on)
        search = _Search(conversation, settings, self._judge, trials=num_trials(conversation))
        found: list[_Way] = []
        if search.trials_left < MOST_TRIALS:
            excerpt = _excerpt(conversation)
            if excerpt and not self._judge(excerpt, self._tokenizer, train_on):
                first = _Search(excerpt, settings, self._judge, trials=MOST_TRIALS)
                if not (ways := list(first.ways())):
                    return first.why_nothing_was_found()  # nor would it let the whole row train
                found = [way for way in ways if search.lets_train(way)]
        found = found or list(search.ways())
        if not found:
            return search.why_nothing_was_found()
        return ", or ".join(way.words for way in found)

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


class _Search:
    """A search for one row.

    Args:
        settings: the one as it is, and then others.
        trials: how often the row may be rendered.
    """

    def __init__(
        self, conversation: Conversation, settings: Sequence[_Setting], judge: Judge, *, trials: int
    ) -> None:
        self._conversation = conversation
        self._as_it_is, *self._others = settings
        self._judge = judge
        self._trials = self.trials_left = trials
        self._changes = [change for change in ROW_CHANGES if change.of(conversation) != conversation]

    def ways(self) -> Iterator[_Way]:
        """Yield the first setting of each kind that lets the row train, and the fewest changes that do.

        Several changes, and changes beside another setting, are tried only if nothing less is enough, or if
        what is enough would lose something.
        """
        found: set[str] = set()
        for setting in self._others:
            if setting.kind not in found and self.lets_train(_Way(setting)):
                found.add(setting.kind)
                yield _Way(setting)
        way = self._way_with_changes(self._as_it_is, most=1 if found else MOST_CHANGES)
        if not found and (way is None or way.loses):
            is_better = partial(self._way_with_changes, without_loss=way is not None)
            yield from islice(filter(None, map(is_better, self._others)), 1)
        if way:
            yield way

    def _way_with_changes(
        self, setting: _Setting, most: int = MOST_CHANGES, *, without_loss: bool = False
    ) -> _Way | None:
        tried = [self._conversation]
        possible = [change for change in self._changes if not (without_loss and change.loses)]
        for number in range(1, most + 1):
            for changes in combinations(possible, number):
                way = _Way(setting, changes)
                if not self.trials_left:
                    return None
                if (changed := way.changed(self._conversation)) in tried:
                    continue  # such as the ids of calls that are removed then
                tried.append(changed)
                if self.lets_train(way):
                    return way
        return None

    def lets_train(self, way: _Way) -> bool:
        """Return whether the row would train that way; no if there are no trials left to find out."""
        changed = way.changed(self._conversation)
        if not self.trials_left or _answers(changed) != _answers(self._conversation):
            return False
        self.trials_left -= 1
        return self._judge(changed, way.setting.tokenizer, way.setting.train_on)

    def why_nothing_was_found(self) -> str:
        """Say that nothing lets the row train, or nothing of what was tried."""
        if self.trials_left:
            return NO_WAY_OUT
        return (
            f"none of the {self._trials} other settings and changes that were tried lets it train; "
            "use another model, or remove the row"
        )


def num_trials(conversation: Conversation) -> int:
    """Return how many trials a search may make: fewer with a long row, each of which takes longer."""
    characters = sum(len(message.content) for message in conversation.messages)
    turns = max(len(conversation.messages), characters // CHARACTERS_OF_TURN, 1)
    return max(FEWEST_TRIALS, min(MOST_TRIALS, TURNS_RENDERED // turns))


def _excerpt(conversation: Conversation) -> Conversation | None:
    """Return the first turns of a conversation up to a question; None if none is near.

    Elsewhere a cut could part calls from their results, which templates refuse for itself.
    """
    first = conversation.messages[: EXCERPT_TURNS + 1]
    questions = [i for i, message in enumerate(first) if message.role == "user" and i > 1]
    return replace(conversation, messages=first[: questions[-1]]) if questions else None


def _answers(conversation: Conversation) -> bool:
    return any(message.role == "assistant" for message in conversation.messages)
